"""A token store, opened for reading: pieces that stay on the disk until they are used."""

import hashlib
import mmap
from functools import cached_property
from pathlib import Path

import numpy as np

from rwkv_music.data.pieces import Corpus, Piece
from rwkv_music.data.store.binidx import read_index
from rwkv_music.data.store.progress_log import files_in
from rwkv_music.data.store.store_info import JOURNAL_NAME, PIECE, StoreInfo
from rwkv_music.errors import InputError
from rwkv_music.tokenizer import Tokenizer
from rwkv_music.tokenizer.bar_index import BAR_ROW


class Store:
    """Pieces of a token store, by side.

    Args:
        path: The folder that `prepare` made.

    Raises:
        InputError: If it is no store, is not finished, or is damaged.

    Example:
        store = Store("stores/mine")
        store.train[0].name, store.train[0].ids
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.info = StoreInfo.read(self.path)
        if not self.info.is_finished:
            raise InputError(
                f"{self.path} is not finished: run its rwkv-music prepare again, it goes on from "
                "where it stopped"
            )

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The one that made it.

        Raises:
            InputError: If this version of rwkv-music writes other ids.
        """
        tokenizer = Tokenizer.from_settings(self.info.tokenizer_settings)
        self.check_tokenizer(tokenizer)
        return tokenizer

    def check_tokenizer(self, tokenizer: Tokenizer) -> None:
        """Refuse a tokenizer whose ids mean something else.

        Raises:
            InputError: If it is of another version or has other settings.
        """
        asked = StoreInfo.of(tokenizer, self.info.valid_share)
        self.info.check_same(asked, mine=str(self.path), theirs="the tokenizer to be used")

    @cached_property
    def train(self) -> tuple[Piece, ...]:
        """Pieces to train on."""
        return self._pieces("train")

    @cached_property
    def valid(self) -> tuple[Piece, ...]:
        """Pieces held out."""
        return self._pieces("valid")

    def set_aside(self) -> dict[str, str]:
        """Name of each file that could not be used -> the reason."""
        lines = files_in(self.path / JOURNAL_NAME) if self.info.set_aside else ()
        return {line["name"]: line["reason"] for line in lines if "reason" in line}

    def corpus(self) -> "StoredCorpus":
        """All pieces, those to train on first."""
        settings = dict(self.info.tokenizer_settings)
        name = str(self.path)
        pieces = (*self.train, *self.valid)
        told = {file: f"{file}: {reason}" for file, reason in self.set_aside().items()}
        return StoredCorpus(name, pieces, settings, told, self.info.valid_share)

    def _pieces(self, side: str) -> tuple[Piece, ...]:
        sizes, dtype = read_index(self.path / f"{side}.idx")
        ids = self._mapped(f"{side}.bin", dtype)
        table = np.frombuffer((self.path / f"{side}.pieces").read_bytes(), dtype=PIECE)
        bar_index = self._mapped(f"{side}.bars", BAR_ROW)
        names = (self.path / f"{side}.names").read_bytes().decode("utf-8", "surrogatepass")
        named = names.split("\0")[:-1]
        counted = (len(sizes), sizes.sum(dtype=np.int64), table["bars"].sum(dtype=np.int64))
        told = tuple(
            counts.get(side, 0) for counts in (self.info.pieces, self.info.tokens, self.info.bars)
        )
        is_whole = len(named) == len(table) == len(sizes) and counted == told
        if not is_whole or len(ids) < told[1] or len(bar_index) < told[2]:
            raise InputError(
                f"{self.path} is damaged, the files of its side '{side}' do not fit together: "
                "copy it again, or prepare it again"
            )
        ends = np.cumsum(sizes, dtype=np.int64).tolist()
        bar_ends = np.cumsum(table["bars"], dtype=np.int64).tolist()
        hashes = table["sha256"].tobytes().hex()
        return tuple(
            Piece(name, ids[begin:end], hashes[place : place + 64], bar_index[bar:bar_end])
            for name, begin, end, bar, bar_end, place in zip(
                named, [0, *ends], ends, [0, *bar_ends], bar_ends, range(0, len(hashes), 64),
                strict=False,
            )
        )  # fmt: skip

    def _mapped(self, name: str, dtype: "np.dtype[np.generic]") -> np.ndarray:
        """A file as an array of which only what is used is read."""
        path = self.path / name
        if not path.exists() or path.stat().st_size < dtype.itemsize:
            return np.zeros(0, dtype=dtype)
        with path.open("rb") as stream:
            content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        return np.frombuffer(content, dtype=dtype, count=len(content) // dtype.itemsize)


class StoredCorpus(Corpus):
    """The pieces of a store; their names and contents are known without reading them."""

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 over names and the hashes of contents: two runs on the same data share it."""
        digest = hashlib.sha256()
        for piece in self.pieces:
            digest.update(piece.name.encode("utf-8", "surrogatepass"))
            digest.update(bytes.fromhex(piece.group))
        return digest.hexdigest()
