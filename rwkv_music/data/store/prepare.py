"""A folder of music files becomes a token store."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from rwkv_music.data.doctor.file_report import changed_by_encoding
from rwkv_music.data.scanning import FoundFile, Shard, scan
from rwkv_music.data.store.binidx import dtype_for
from rwkv_music.data.store.store_info import SET_ASIDE_NAME, StoreInfo
from rwkv_music.data.store.store_writer import EncodedPiece, StoreWriter
from rwkv_music.data.worker_pool import Outcome, Progress, map_in_workers, seconds_for
from rwkv_music.errors import InputError
from rwkv_music.tokenizer import Tokenizer
from rwkv_music.tokenizer.bar_index import index_bars
from rwkv_music.tokenizer.compiled import VARIABLE, has_numba
from rwkv_music.worker_process import Failure

_FEWEST_FOR_NUMBA = 20_000


@dataclass
class Prepared:
    """What one call of `prepare_store` did."""

    info: StoreInfo
    """Of the whole store."""
    added: int = 0
    """Pieces that are new in it."""
    set_aside: int = 0
    """Files of this call that could not be used."""
    already_there: int = 0
    changed: list[str] = field(default_factory=list)
    """Files that are in the store as they were before they changed."""


class FileEncoder:
    """Reads files of a folder and encodes them; a worker's function.

    Args:
        folder: Which names are relative to.
        tokenizer: What to encode with.
        loops: "numpy" or "numba", unless the environment says which.
    """

    def __init__(self, folder: Path, tokenizer: Tokenizer, *, loops: str = "numpy") -> None:
        self._folder = folder
        self._settings = tokenizer.settings
        self._loops = loops

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return Tokenizer.from_settings(self._settings)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Import and warm up what reading needs, so that no file's time is spent on that."""
        import symusic

        self.__dict__.update(state)
        os.environ.setdefault(VARIABLE, self._loops)
        for ticks in (96, 480):
            score = symusic.Score(ticks)
            track = symusic.Track("", 0, False)
            track.notes.append(symusic.Note(0, ticks, 60, 64))
            track.controls.append(symusic.ControlChange(0, 64, 127))
            score.tracks.append(track)
            index_bars(self._tokenizer.encode(score), self._tokenizer.vocabulary)

    def __call__(self, file: FoundFile) -> EncodedPiece:
        """The piece in a file.

        Raises:
            InputError: If the file cannot be used.
        """
        from rwkv_music.score.files import read_score

        if file.problem:
            raise InputError(file.problem)
        loaded = read_score(self._folder / file.name)
        ids = self._tokenizer.encode(loaded.score)
        bar_index = index_bars(ids, self._tokenizer.vocabulary)
        content = ids.astype(dtype_for(self._tokenizer.vocab_size), copy=False).tobytes()
        return EncodedPiece(
            ids=content,
            bar_index=bar_index.tobytes(),
            sha256=hashlib.sha256(content).hexdigest(),
            mended=(*loaded.repairs, *changed_by_encoding(loaded.score, self._tokenizer)),
        )


def prepare_store(
    folder: str | Path,
    store: str | Path,
    *,
    tokenizer: Tokenizer | None = None,
    workers: int | None = None,
    shard: Shard | None = None,
    valid_share: float = 0.1,
    progress: Progress | None = None,
) -> Prepared:
    """Encode every music file in a folder into a token store.

    Interrupted at any moment, by whatever, the same call goes on from there. On a store that is
    finished it adds the files that are new.

    Args:
        folder: Searched with its subfolders.
        store: The folder to make, or to add to.
        tokenizer: The default one when None.
        workers: Processes; as many as there are cores by default.
        shard: Prepare only this share of the files; `merge_stores` joins the shares.
        valid_share: Share of different pieces to hold out.
        progress: Told of each file.

    Raises:
        InputError: If the folder holds no file that can be used, the store is one of other settings
            or in use, or cannot be written.

    Example:
        prepared = prepare_store("midi/", "stores/mine")
        print(prepared.info.tokens)
    """
    folder, tokenizer = Path(folder), tokenizer or Tokenizer()
    total = sum(1 for _ in scan(folder, shard))
    if not total:
        _refuse_nothing(folder, shard)
    with StoreWriter(Path(store), StoreInfo.of(tokenizer, valid_share)) as writer:
        prepared = Prepared(writer.info)
        todo = _not_yet_done(scan(folder, shard), writer, prepared)
        outcomes = map_in_workers(
            FileEncoder(folder, tokenizer, loops=_loops_for(total - len(writer.done))),
            todo,
            workers=workers,
            seconds=lambda file: seconds_for(file.name),
            in_order=True,
        )
        with closing(outcomes):
            for outcome in outcomes:
                _take_in(outcome, writer, prepared)
                if progress is not None:
                    done = prepared.added + prepared.set_aside + prepared.already_there
                    progress(done, total, outcome.item.name)
        prepared.info = writer.finish()
    if not sum(prepared.info.pieces.values()):
        listed = Path(store) / SET_ASIDE_NAME
        first = listed.read_text(encoding="utf-8").splitlines()[0]
        raise InputError(
            f"none of the {total} files in {folder} can be used ({listed} lists them); first: "
            f"{first}"
        )
    return prepared


def _loops_for(files: int) -> str:
    """Compiled loops, where they save more time than each worker takes to load them."""
    return "numba" if files >= _FEWEST_FOR_NUMBA and has_numba() else "numpy"


def _refuse_nothing(folder: Path, shard: Shard | None) -> None:
    from rwkv_music.score.files import READABLE_SUFFIXES

    part = f"'s shard {shard.number}/{shard.of}" if shard is not None else ""
    raise InputError(
        f"{folder}{part} holds no file that ends in one of {' '.join(READABLE_SUFFIXES)}: name the "
        "folder with your music"
    )


def _not_yet_done(
    files: Iterator[FoundFile], writer: StoreWriter, prepared: Prepared
) -> Iterator[FoundFile]:
    for file in files:
        state = writer.done.state(file.name, file.size, file.mtime)
        if state == "changed piece":
            prepared.changed.append(file.name)
        if state in {"done", "changed piece"}:
            prepared.already_there += 1
        else:
            yield file


def _take_in(
    outcome: Outcome[FoundFile, EncodedPiece], writer: StoreWriter, prepared: Prepared
) -> None:
    if outcome.result is not None:
        writer.add(outcome.item, outcome.result)
        prepared.added += 1
    else:
        writer.set_aside(outcome.item, outcome.failure or Failure("failed", "gave no result"))
        prepared.set_aside += 1
