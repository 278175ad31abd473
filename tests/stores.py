"""Folders of tunes and the expected content of their stores."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.music import tune

KINDS = ("bin", "idx", "bars", "pieces", "names")
TABLES = tuple(f"{side}.{kind}" for side in ("train", "valid") for kind in KINDS)


def write_tunes(folder: Path, number: int, *, first: int = 0) -> Path:
    """Short MIDI files in two folders; every fifth tune has a copy under another name."""
    for seed in range(first, first + number):
        path = folder / ("b" if seed % 3 else "a b") / f"{seed}.mid"
        path.parent.mkdir(parents=True, exist_ok=True)
        content = tune(bars=1 + seed % 5, seed=seed, program=seed % 7).dumps_midi()
        path.write_bytes(content)
        if seed % 5 == 0:
            (path.parent / f"copy of {seed}.midi").write_bytes(content)
    return folder


def tables_of(store: Path) -> dict[str, bytes]:
    """Everything of a store that must not depend on how it came about."""
    return {name: (store / name).read_bytes() for name in TABLES}


@dataclass
class Binidx:
    """A reader of `.bin` and `.idx`, written from the description of the format alone."""

    documents: list[np.ndarray]
    document_index: list[int]
    flat: np.ndarray

    @classmethod
    def open(cls, prefix: Path) -> "Binidx":
        index = prefix.with_suffix(".idx").read_bytes()
        tokens = prefix.with_suffix(".bin").read_bytes()
        assert index[:9] == b"MMIDIDX\x00\x00"
        assert int.from_bytes(index[9:17], "little") == 1
        dtype = {8: np.uint16, 4: np.int32}[index[17]]
        count = int.from_bytes(index[18:26], "little")
        documents = int.from_bytes(index[26:34], "little")
        sizes_end = 34 + 4 * count
        pointers_end = sizes_end + 8 * count
        assert len(index) == pointers_end + 8 * documents
        sizes = np.frombuffer(index[34:sizes_end], np.int32).tolist()
        pointers = np.frombuffer(index[sizes_end:pointers_end], np.int64).tolist()
        return cls(
            [np.frombuffer(tokens, dtype, size, start)
             for size, start in zip(sizes, pointers, strict=True)],
            np.frombuffer(index[pointers_end:], np.int64).tolist(),
            np.frombuffer(tokens, dtype),
        )  # fmt: skip
