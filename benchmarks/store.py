"""Measure token stores: preparing, memory while the input grows, and windows.

    python -m benchmarks.store --music FOLDER [FOLDER ...] --json benchmarks/results/store.json

Files per second are measured on the first folder. For the table of cost, the MIDI files of all
folders are linked into a temporary folder repeatedly, under as many names as a size needs; each
size is prepared by a process of its own. Files per second and core are files divided by processor
seconds, those of the writing process and of its workers together.
"""

import argparse
import itertools
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
    with tempfile.TemporaryDirectory() as temporary:
        store = Path(temporary) / "speed"
        report = {
            "machine": machine("symusic", "rwkv-music"),
            "settings": {
                "quick": given.quick,
                "seed": 0,
                "music": [folder.name for folder in given.music],
                "workers": given.workers,
            },
            "speed": speed(given.music[0], store, files=20 if given.quick else None),
            "windows": windows(store, num_windows=200 if given.quick else 20_000),
            "rows": [cost(given.music, Path(temporary), size, given.workers) for size in sizes],
        }
    write_report(report, given.json)


def speed(folder: Path, store: Path, *, files: int | None) -> dict[str, Any]:
    """Measure files per second: parsing alone, all the work of a worker, and preparing a store."""
    scanned = list(scan_folder(folder))[:files]
    encoder = FileEncoder(folder, Tokenizer())

    def parse() -> None:
        for file in scanned:
            symusic.Score(folder / file.name)

    def encode() -> None:
        for file in scanned:
            encoder(file)

    timings = alternate({"parse": parse, "encode": encode})
    whole = in_a_process("benchmarks.store_once", str(folder), str(store), "1")
    return {
        "files": len(scanned),
        "parse_files_per_second": rate(scanned, timings["parse"].processor_seconds),
        "encode_files_per_second": rate(scanned, timings["encode"].processor_seconds),
        "encode_over_parse": time_ratio(timings["encode"], timings["parse"]),
        "store": whole,
    }


def rate(files: Sequence[FoundFile], processor_seconds: Sequence[float]) -> float:
    """Return files per second of processor time, at the median turn."""
    return rounded(len(files) / sorted(processor_seconds)[len(processor_seconds) // 2])


def windows(store: Path, *, num_windows: int) -> list[dict[str, Any]]:
    """Measure random windows per second of processor time."""
    opened = Store(store)
    rows = []
    for length in _LENGTHS:
        source = RandomWindows(opened.train, opened.tokenizer, max_tokens=length, seed=0)
        tokens = sum(len(ids) for ids in itertools.islice(source, 100))
        turns = []
        for _ in range(5):
            began = time.process_time()
            tokens = sum(len(ids) for ids in itertools.islice(source, num_windows))
            turns.append(time.process_time() - began)
        rows.append({
            "max_tokens": length,
            "windows_per_second": rounded(num_windows / sorted(turns)[2]),
            "mean_tokens": rounded(tokens / num_windows),
        })  # fmt: skip
    return rows


def cost(music: Sequence[Path], parent: Path, size: int, workers: int) -> dict[str, Any]:
    """Measure the cost of preparing a number of files."""
    folder, store = parent / f"music-{size}", parent / f"store-{size}"
    for target, link in links(music, folder, size):
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)
    row = in_a_process("benchmarks.store_once", str(folder), str(store), str(workers))
    return {"size": size, **row}


def links(music: Sequence[Path], folder: Path, size: int) -> Iterator[tuple[Path, Path]]:
    """Yield files, repeated until there are `size`, and a path of its own for each."""
    files = [path.resolve() for folder in music for path in sorted(folder.rglob("*.mid"))]
    for index, path in zip(range(size), itertools.cycle(files), strict=False):
        yield path, folder / f"{index // 1000:03}" / f"{index:06}-{path.name}"


if __name__ == "__main__":
    main()
