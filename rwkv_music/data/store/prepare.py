"""Prepare a token store from a folder of music files."""

import hashlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from rwkv_music.data.doctor.file_report import changed_by_encoding
from rwkv_music.data.file_reading import seconds_for
from rwkv_music.data.scanning import FoundFile, Shard, scan_folder
from rwkv_music.data.store.binidx import dtype_for
from rwkv_music.data.store.store_info import SKIPPED_NAME, StoreInfo
from rwkv_music.data.store.store_writer import EncodedPiece, StoreWriter
from rwkv_music.data.worker_pool import Progress, TaskResult, map_in_workers
from rwkv_music.errors import InputError
from rwkv_music.tokenizer import Tokenizer
from rwkv_music.tokenizer.bar_index import index_bars
from rwkv_music.worker_process import Failure


@dataclass
class PrepareResult:
    """Result of one call of `prepare_store`."""

    info: StoreInfo
    """Content of store.json, about the whole store."""
    added: int = 0
    """Pieces that this call added."""
    skipped: int = 0
    """Files of this call that cannot be used."""
    unchanged: int = 0
    """Files that were in the store before."""
    changed: list[str] = field(default_factory=list)
    """Names of files that have changed since; the store keeps their earlier content."""


class FileEncoder:
    """Reads and encodes files of a folder; called in a worker process.

    Args:
        folder: Folder that names are relative to.
        tokenizer: Tokenizer to encode with.
        unfold_repeats: Whether repeats of notation files are played.
    """

    def __init__(self, folder: Path, tokenizer: Tokenizer, *, unfold_repeats: bool = False) -> None:
        self._folder, self._unfold_repeats = folder, unfold_repeats
        self._settings = tokenizer.settings

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return Tokenizer.from_settings(self._settings)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Import and warm up what reading needs, so that it does not count as time of a file."""
        import symusic

        self.__dict__.update(state)
        for ticks in (96, 480):
            score = symusic.Score(ticks)
            track = symusic.Track("", 0, False)
            track.notes.append(symusic.Note(0, ticks, 60, 64))
            track.controls.append(symusic.ControlChange(0, 64, 127))
            score.tracks.append(track)
            index_bars(self._tokenizer.encode(score), self._tokenizer.vocabulary)

    def __call__(self, file: FoundFile) -> EncodedPiece:
        """Return the encoded piece of a file.

        Raises:
            InputError: If the file cannot be used.
        """
        from rwkv_music.score.files import read_score

        if file.problem:
            raise InputError(file.problem)
        loaded = read_score(self._folder / file.name, unfold_repeats=self._unfold_repeats)
        ids = self._tokenizer.encode(loaded.score)
        bar_index = index_bars(ids, self._tokenizer.vocabulary)
        content = ids.astype(dtype_for(self._tokenizer.vocab_size), copy=False).tobytes()
        return EncodedPiece(
            ids=content,
            bar_index=bar_index.tobytes(),
            sha256=hashlib.sha256(content).hexdigest(),
            repairs=(*loaded.repairs, *changed_by_encoding(loaded.score, self._tokenizer)),
        )


def prepare_store(
    folder: str | Path,
    store: str | Path,
    *,
    tokenizer: Tokenizer | None = None,
    workers: int | None = None,
    shard: Shard | None = None,
    valid_fraction: float = 0.1,
    unfold_repeats: bool = False,
    progress: Progress | None = None,
) -> PrepareResult:
    """Encode every music file of a folder into a token store.

    After an interruption of any kind, the same call continues from where it stopped. On a finished
    store it adds the new files.

    Args:
        folder: Folder of music files, searched with its subfolders.
        store: Folder of the store, new or existing.
        tokenizer: The default tokenizer when None.
        workers: Number of processes; one per core when None.
        shard: Shard of the files to prepare; `merge_stores` joins the shards.
        valid_fraction: Fraction of different pieces to hold out, in (0, 1).
        unfold_repeats: Play the repeats, endings and jumps of notation files; a store has either
            all of its files unfolded or none.
        progress: Called for each file.

    Raises:
        InputError: If no file of the folder can be used, or the store has other settings, is in
            use, or cannot be written.

    Example:
        result = prepare_store("midi/", "stores/mine")
        print(result.info.tokens)
    """
    folder, tokenizer = Path(folder), tokenizer or Tokenizer()
    total = sum(1 for _ in scan_folder(folder, shard))
    if not total:
        raise _no_music_error(folder, shard)
    info = StoreInfo.of(tokenizer, valid_fraction, unfold_repeats=unfold_repeats)
    with StoreWriter(Path(store), info) as writer:
        result = PrepareResult(writer.info)
        results = map_in_workers(
            FileEncoder(folder, tokenizer, unfold_repeats=unfold_repeats),
            _files_to_do(scan_folder(folder, shard), writer, result),
            workers=workers,
            seconds=lambda file: seconds_for(file.name, file.size),
            in_order=True,
        )
        with closing(results):
            for task in results:
                _store_task(task, writer, result)
                if progress is not None:
                    done = result.added + result.skipped + result.unchanged
                    progress(done, total, task.item.name)
        result.info = writer.finish()
    if not sum(result.info.pieces.values()):
        skipped = Path(store) / SKIPPED_NAME
        first = skipped.read_text(encoding="utf-8").splitlines()[0]
        raise InputError(
            f"none of the {total} files in {folder} can be used ({skipped} lists them); first: "
            f"{first}"
        )
    return result


def _no_music_error(folder: Path, shard: Shard | None) -> InputError:
    from rwkv_music.score.files import READABLE_SUFFIXES

    part = f" (shard {shard.index}/{shard.count})" if shard is not None else ""
    return InputError(
        f"{folder}{part} contains no file that ends in one of {' '.join(READABLE_SUFFIXES)}: give "
        "the folder of your music"
    )


def _files_to_do(
    files: Iterator[FoundFile], writer: StoreWriter, result: PrepareResult
) -> Iterator[FoundFile]:
    for file in files:
        state = writer.done.state(file.name, file.size, file.mtime)
        if state == "changed piece":
            result.changed.append(file.name)
        if state in {"done", "changed piece"}:
            result.unchanged += 1
        else:
            yield file


def _store_task(
    task: TaskResult[FoundFile, EncodedPiece], writer: StoreWriter, result: PrepareResult
) -> None:
    if task.result is not None:
        writer.add(task.item, task.result)
        result.added += 1
    else:
        writer.skip(task.item, task.failure or Failure("failed", "gave no result"))
        result.skipped += 1
