"""Merge token stores into one, as if all files had been prepared together."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rwkv_music.data.scanning import FoundFile, sort_key
from rwkv_music.data.store.progress_log import Record
from rwkv_music.data.store.store_info import SPLITS, StoreInfo, is_unfinished
from rwkv_music.data.store.store_writer import EncodedPiece, StoreWriter
from rwkv_music.data.store.token_store import Store
from rwkv_music.data.worker_pool import Progress
from rwkv_music.errors import InputError, write_errors
from rwkv_music.worker_process import Failure


class _Entry(NamedTuple):
    """A file of one of the stores."""

    record: Record
    store: int
    piece: int
    """Index of the piece in its split."""


def merge_stores(
    stores: Sequence[str | Path], output: str | Path, *, progress: Progress | None = None
) -> StoreInfo:
    """Merge token stores, such as those of the shards of one folder.

    Pieces are sorted by name, as `prepare_store` sorts them: the result equals, byte for byte, the
    store of all files prepared at once. A file that several stores contain is taken once.

    Args:
        stores: Finished stores of the same tokenizer and split.
        output: Folder of the merged store.
        progress: Called for each file.

    Raises:
        InputError: If the stores do not belong together, two contain different music under one
            name, or the output cannot be written.
    """
    opened = [Store(path) for path in stores]
    for other in opened[1:]:
        opened[0].info.check_same(other.info, mine=str(opened[0].path), theirs=str(other.path))
    output = Path(output)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"{output} exists already: choose a new folder for the merged store")
    entries = _entries_of(opened)
    partial = output.with_name(f"{output.name}.partial")
    with write_errors(partial):
        _remove_partial(partial)
    first = opened[0].info
    info = StoreInfo.of(
        opened[0].tokenizer, first.valid_fraction, unfold_repeats=first.unfold_repeats
    )
    with StoreWriter(partial, info) as writer:
        for done, entry in enumerate(entries, start=1):
            _copy(entry, opened[entry.store], writer)
            if progress is not None:
                progress(done, len(entries), entry.record["name"])
        info = writer.finish()
    with write_errors(output):
        if output.exists():
            output.rmdir()
        partial.rename(output)
    return info


def _remove_partial(partial: Path) -> None:
    """Delete what an interrupted merge left, and nothing else."""
    if not partial.exists():
        return
    if not is_unfinished(partial):
        raise InputError(
            f"{partial}, where the merged store is made, exists already and was not left by an "
            "interrupted merge: move it away, or choose another folder for the merged store"
        )
    shutil.rmtree(partial)


def _entries_of(stores: Sequence[Store]) -> list[_Entry]:
    """Return every file once, in the order of `scan_folder`; pieces replace skipped files."""
    entries: dict[str, _Entry] = {}
    for store_index, store in enumerate(stores):
        next_index = dict.fromkeys(SPLITS, 0)
        for record in store.records():
            entry = _Entry(record, store_index, -1)
            if "split" in record:
                entry = entry._replace(piece=next_index[record["split"]])
                next_index[record["split"]] += 1
            name = record["name"]
            previous = entries.get(name)
            if previous is None or "reason" in previous.record:
                entries[name] = entry
            elif "split" in record and record["sha256"] != previous.record["sha256"]:
                raise InputError(
                    f"{stores[previous.store].path} and {store.path} contain different music under "
                    f"the name {name}: prepare both folders as one, from the folder above them"
                )
    return sorted(entries.values(), key=lambda entry: sort_key(entry.record["name"]))


def _copy(entry: _Entry, store: Store, writer: StoreWriter) -> None:
    record = entry.record
    file = FoundFile(record["name"], record["size"], record["mtime"])
    if "reason" in record:
        writer.skip(file, Failure(record["kind"], record["reason"], record.get("detail", "")))
        return
    piece = (store.train if record["split"] == "train" else store.valid)[entry.piece]
    assert piece.bar_index is not None
    repairs = tuple(record.get("repairs", ()))
    writer.add(
        file, EncodedPiece(piece.ids.tobytes(), piece.bar_index.tobytes(), piece.group, repairs)
    )
