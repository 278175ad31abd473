"""Several token stores become one, as if all files had been prepared together."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from rwkv_music.data.scanning import FoundFile, in_order
from rwkv_music.data.store.progress_log import Line, files_in
from rwkv_music.data.store.store_info import JOURNAL_NAME, StoreInfo, is_unfinished
from rwkv_music.data.store.store_writer import EncodedPiece, StoreWriter
from rwkv_music.data.store.token_store import Store
from rwkv_music.data.worker_pool import Progress
from rwkv_music.errors import InputError
from rwkv_music.worker_process import Failure


class _Entry(NamedTuple):
    """A file of one of the stores."""

    line: Line
    store: int
    place: int
    """Of the piece on its side."""


def merge_stores(
    stores: Sequence[str | Path], output: str | Path, *, progress: Progress | None = None
) -> StoreInfo:
    """Join token stores, as the shards of one folder.

    Pieces are sorted by name, as `prepare` does it: the result is the same, byte for byte, as that
    of preparing all files at once. A file that several stores hold is taken once.

    Args:
        stores: Finished stores of the same tokenizer and split.
        output: The folder to make.
        progress: Told of each file.

    Raises:
        InputError: If the stores do not belong together, two hold different music under one name,
            or the place cannot be written to.
    """
    opened = [Store(path) for path in stores]
    for other in opened[1:]:
        opened[0].info.check_same(other.info, mine=str(opened[0].path), theirs=str(other.path))
    output = Path(output)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"{output} is there already: name a new folder for the merged store")
    entries = _joined(opened)
    partial = output.with_name(f"{output.name}.partial")
    with _replacing(partial):
        _remove_left_over(partial)
    with StoreWriter(partial, StoreInfo.of(opened[0].tokenizer, opened[0].info.valid_share)) as out:
        for done, entry in enumerate(entries, start=1):
            _copy(entry, opened[entry.store], out)
            if progress is not None:
                progress(done, len(entries), entry.line["name"])
        info = out.finish()
    with _replacing(output):
        if output.exists():
            output.rmdir()
        partial.rename(output)
    return info


@contextmanager
def _replacing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{path} cannot be written to ({error.strerror}): choose another place"
        ) from error


def _remove_left_over(partial: Path) -> None:
    """Delete what an interrupted merge left, and nothing that may be anybody's work."""
    if not partial.exists():
        return
    if not is_unfinished(partial):
        raise InputError(
            f"{partial}, where the merged store is made, is there already and is not what an "
            "interrupted merge left: move it away, or name another folder for the merged store"
        )
    shutil.rmtree(partial)


def _joined(stores: Sequence[Store]) -> list[_Entry]:
    """Every file once, in the order of `scan`; a piece comes before a file that was set aside."""
    found: dict[str, _Entry] = {}
    for number, store in enumerate(stores):
        places = {"train": 0, "valid": 0}
        for line in files_in(store.path / JOURNAL_NAME):
            entry = _Entry(line, number, -1)
            if "side" in line:
                entry = entry._replace(place=places[line["side"]])
                places[line["side"]] += 1
            before = found.get(line["name"])
            if before is None or "reason" in before.line:
                found[line["name"]] = entry
            elif "side" in line and line["sha256"] != before.line["sha256"]:
                raise InputError(
                    f"{stores[before.store].path} and {store.path} hold different music under the "
                    f"name {line['name']}: prepare both folders as one, from the folder above them"
                )
    return sorted(found.values(), key=lambda entry: in_order(entry.line["name"]))


def _copy(entry: _Entry, store: Store, out: StoreWriter) -> None:
    line = entry.line
    file = FoundFile(line["name"], line["size"], line["mtime"])
    if "reason" in line:
        out.set_aside(file, Failure(line["kind"], line["reason"], line.get("detail", "")))
        return
    piece = (store.train if line["side"] == "train" else store.valid)[entry.place]
    assert piece.bar_index is not None
    encoded = EncodedPiece(
        piece.ids.tobytes(), piece.bar_index.tobytes(), piece.group, tuple(line.get("mended", ()))
    )
    out.add(file, encoded)
