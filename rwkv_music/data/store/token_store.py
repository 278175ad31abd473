"""A token store opened for reading; its pieces stay on disk until they are used."""

import hashlib
import mmap
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np

from rwkv_music.data.pieces import Corpus, Piece
from rwkv_music.data.store.binidx import read_index
from rwkv_music.data.store.checksums import split_files, verify
from rwkv_music.data.store.progress_log import Record, file_records
from rwkv_music.data.store.store_info import PIECE, PROGRESS_NAME, StoreInfo
from rwkv_music.errors import InputError
from rwkv_music.tokenizer import Tokenizer
from rwkv_music.tokenizer.bar_index import BAR_ROW


class Store:
    """Pieces of a token store, per split.

    Args:
        path: Folder made by `prepare_store`.

    Raises:
        InputError: If it is not a store, is unfinished, or is damaged.

    Example:
        store = Store("stores/mine")
        store.train[0].name, store.train[0].ids
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.info = StoreInfo.read(self.path)
        if not self.info.is_finished:
            raise InputError(
                f"{self.path} is unfinished: prepare it again with the same settings, which "
                "continues from where it stopped"
            )

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer that made the store.

        Raises:
            InputError: If this version of rwkv-music makes other ids.
        """
        tokenizer = Tokenizer.from_settings(self.info.tokenizer_settings)
        self.check_tokenizer(tokenizer)
        return tokenizer

    def check_tokenizer(self, tokenizer: Tokenizer) -> None:
        """Require that a tokenizer makes the ids of this store.

        Raises:
            InputError: If its version or settings differ.
        """
        requested = StoreInfo.of(tokenizer, self.info.valid_fraction)
        self.info.check_same(requested, mine=str(self.path), theirs="the tokenizer to be used")

    @cached_property
    def train(self) -> tuple[Piece, ...]:
        """Training pieces."""
        return self._pieces("train")

    @cached_property
    def valid(self) -> tuple[Piece, ...]:
        """Held-out pieces."""
        return self._pieces("valid")

    def records(self) -> Iterator[Record]:
        """Yield the record of each file, in the order of the progress log.

        Raises:
            InputError: If the progress log is damaged.
        """
        verify(self.path, self.info, [PROGRESS_NAME])
        return file_records(self.path)

    def skipped_files(self) -> dict[str, str]:
        """Return the name of each file that cannot be used, with the reason."""
        records = self.records() if self.info.skipped else ()
        return {record["name"]: record["reason"] for record in records if "reason" in record}

    def corpus(self) -> "StoreCorpus":
        """Return all pieces, the training pieces first."""
        settings = dict(self.info.tokenizer_settings)
        pieces = (*self.train, *self.valid)
        skipped = {file: f"{file}: {reason}" for file, reason in self.skipped_files().items()}
        return StoreCorpus(str(self.path), pieces, settings, skipped, self.info.valid_fraction)

    def _pieces(self, split: str) -> tuple[Piece, ...]:
        verify(self.path, self.info, split_files(split))
        try:
            sizes, dtype = read_index(self.path / f"{split}.idx")
            ids = self._map(f"{split}.bin", dtype)
            bar_index = self._map(f"{split}.bars", BAR_ROW)
            table = np.frombuffer((self.path / f"{split}.pieces").read_bytes(), dtype=PIECE)
            joined_names = (self.path / f"{split}.names").read_bytes()
            names = joined_names.decode("utf-8", "surrogatepass").split("\0")[:-1]
        except (OSError, ValueError) as error:
            raise self._damaged(split, str(error)) from error
        if problem := self._problem(split, sizes, ids, names, table["bars"], bar_index):
            raise self._damaged(split, problem)
        ends = np.cumsum(sizes, dtype=np.int64).tolist()
        bar_ends = np.cumsum(table["bars"], dtype=np.int64).tolist()
        hashes = table["sha256"].tobytes().hex()
        return tuple(
            Piece(name, ids[start:end], hashes[digit : digit + 64], bar_index[bar:bar_end])
            for name, start, end, bar, bar_end, digit in zip(
                names, [0, *ends], ends, [0, *bar_ends], bar_ends, range(0, len(hashes), 64),
                strict=False,
            )
        )  # fmt: skip

    def _problem(
        self,
        split: str,
        sizes: np.ndarray,
        ids: np.ndarray,
        names: list[str],
        bars: np.ndarray,
        bar_index: np.ndarray,
    ) -> str:
        """Return why the files of a split do not belong together; an empty text if they do."""
        actual = (len(sizes), sizes.sum(dtype=np.int64), bars.sum(dtype=np.int64))
        num_pieces, num_tokens, num_bars = (
            counts.get(split, 0) for counts in (self.info.pieces, self.info.tokens, self.info.bars)
        )
        is_whole = len(names) == len(bars) and actual == (num_pieces, num_tokens, num_bars)
        if not is_whole or len(ids) < num_tokens or len(bar_index) < num_bars or (sizes < 0).any():
            return "its files do not belong together"
        vocab_size = Tokenizer.from_settings(self.info.tokenizer_settings).vocab_size
        if num_tokens and int(ids[:num_tokens].max()) >= vocab_size:
            return f"it contains ids of {vocab_size} or more, which the tokenizer does not have"
        if (bar_index["bar"][:num_bars] >= np.repeat(sizes, bars)).any():
            return "it contains bars behind the end of their piece"
        return ""

    def _damaged(self, split: str, problem: str) -> InputError:
        return InputError(
            f"{self.path} is damaged, split '{split}': {problem}: copy it again, or prepare it "
            "again"
        )

    def _map(self, name: str, dtype: "np.dtype[np.generic]") -> np.ndarray:
        """Return a file as a memory-mapped array."""
        path = self.path / name
        if not path.exists() or path.stat().st_size < dtype.itemsize:
            return np.zeros(0, dtype=dtype)
        with path.open("rb") as stream:
            content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        return np.frombuffer(content, dtype=dtype, count=len(content) // dtype.itemsize)


class StoreCorpus(Corpus):
    """Pieces of a store, whose names and hashes are known without reading the ids."""

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 over names and hashes of contents; runs on the same data share it."""
        digest = hashlib.sha256()
        for piece in self.pieces:
            digest.update(piece.name.encode("utf-8", "surrogatepass"))
            digest.update(bytes.fromhex(piece.group))
        return digest.hexdigest()
