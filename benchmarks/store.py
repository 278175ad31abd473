"""Measure token stores: preparing, memory while the input grows, and windows.

    python -m benchmarks.store --music FOLDER [FOLDER ...] --json benchmarks/results/store.json

The first folder is what files per second are measured on. For the table of cost, the MIDI files of
all folders are linked into a temporary folder over and over, under as many names as are wanted;
each size is prepared by a process of its own. A core's files per second are files over processor
seconds, those of the process that writes and those of its workers together.
"""

import argparse
import itertools
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import symusic

from benchmarks.measuring import (
    alternate,
    in_a_process,
    machine,
    rounded,
    time_ratio,
    write_report,
)
from rwkv_music.data import RandomWindows, Store
from rwkv_music.data.scanning import FoundFile, scan_folder
from rwkv_music.data.store.prepare import FileEncoder
from rwkv_music.tokenizer import Tokenizer

_SIZES = (1_000, 10_000, 100_000)
_LENGTHS = (1_024, 4_096)


def main() -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--music", type=Path, nargs="+", help="folders with MIDI files")
    parser.add_argument("--sizes", type=int, nargs="+", default=_SIZES)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="see in seconds that it works")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    sizes = (20, 40) if given.quick else given.sizes
    with tempfile.TemporaryDirectory() as place:
        store = Path(place) / "speed"
        report = {
            "machine": machine("symusic", "rwkv-music"),
            "settings": {
                "quick": given.quick,
                "seed": 0,
                "music": [folder.name for folder in given.music],
                "workers": given.workers,
            },
            "speed": speed(given.music[0], store, files=20 if given.quick else None),
            "windows": windows(store, number=200 if given.quick else 20_000),
            "rows": [cost(given.music, Path(place), size, given.workers) for size in sizes],
        }
    write_report(report, given.json)


def speed(folder: Path, store: Path, *, files: int | None) -> dict[str, Any]:
    """Files per second of one process: parsing alone, and all that a worker does; then a store."""
    found = list(scan_folder(folder))[:files]
    os.environ["RWKV_MUSIC_TOKENIZER"] = "numpy"
    encoder = FileEncoder(folder, Tokenizer())

    def parse() -> None:
        for file in found:
            symusic.Score(folder / file.name)

    def encode() -> None:
        for file in found:
            encoder(file)

    timings = alternate({"parse": parse, "encode": encode})
    whole = in_a_process("benchmarks.store_once", str(folder), str(store), "1")
    return {
        "files": len(found),
        "parse_files_per_second": rate(found, timings["parse"].processor_seconds),
        "encode_files_per_second": rate(found, timings["encode"].processor_seconds),
        "encode_over_parse": time_ratio(timings["encode"], timings["parse"]),
        "store": whole,
    }


def rate(files: Sequence[FoundFile], processor_seconds: Sequence[float]) -> float:
    """Files per second of processor time, at the median turn."""
    return rounded(len(files) / sorted(processor_seconds)[len(processor_seconds) // 2])


def windows(store: Path, *, number: int) -> list[dict[str, Any]]:
    """Random windows with the header in force, per second of processor time."""
    opened = Store(store)
    rows = []
    for length in _LENGTHS:
        source = RandomWindows(opened.train, opened.tokenizer, max_tokens=length, seed=0)
        tokens = sum(len(ids) for ids in itertools.islice(source, 100))
        turns = []
        for _ in range(5):
            began = time.process_time()
            tokens = sum(len(ids) for ids in itertools.islice(source, number))
            turns.append(time.process_time() - began)
        rows.append({
            "most_tokens": length,
            "windows_per_second": rounded(number / sorted(turns)[2]),
            "mean_tokens": rounded(tokens / number),
        })  # fmt: skip
    return rows


def cost(music: Sequence[Path], place: Path, size: int, workers: int) -> dict[str, Any]:
    """What so many files cost."""
    folder, store = place / f"music-{size}", place / f"store-{size}"
    for target, link in links(music, folder, size):
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)
    row = in_a_process("benchmarks.store_once", str(folder), str(store), str(workers))
    return {"size": size, **row}


def links(music: Sequence[Path], folder: Path, size: int) -> Iterator[tuple[Path, Path]]:
    """Each file, and the name under which it is to be found once more."""
    files = [path.resolve() for each in music for path in sorted(each.rglob("*.mid"))]
    for number, path in zip(range(size), itertools.cycle(files), strict=False):
        yield path, folder / f"{number // 1000:03}" / f"{number:06}-{path.name}"


if __name__ == "__main__":
    main()
