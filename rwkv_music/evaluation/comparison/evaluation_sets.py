"""Sets of music to evaluate on, and the windows of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rwkv_music.data import load_corpus, split_corpus
from rwkv_music.data.corpora.corpus_list import WeightedSource, corpora_text
from rwkv_music.data.corpora.mixture import Mixture
from rwkv_music.data.loading.completion_windows import Example
from rwkv_music.data.pieces import Ids, Piece
from rwkv_music.data.scanning import find_files
from rwkv_music.data.store.store_info import is_store
from rwkv_music.data.worker_pool import Progress
from rwkv_music.errors import InputError
from rwkv_music.evaluation.comparison.evaluation_settings import COMPLETION_BARS, PROMPT_BARS
from rwkv_music.evaluation.comparison.layouts import OF_WINDOWS, in_layout
from rwkv_music.tokenizer import BarIndex, Tokenizer

_BUILT_IN = ("bach", "folk")


@dataclass(frozen=True)
class EvaluationSet:
    """Pieces that belong together."""

    name: str
    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class EvaluationWindow:
    """Four bars of a piece, and up to eight bars that follow."""

    piece: str
    example: Example
    num_bars: int
    """Bars of the completion."""


def evaluation_sets(
    sources: Sequence[str | Path],
    tokenizer: Tokenizer,
    *,
    held_out_only: bool = False,
    progress: Progress | None = None,
) -> list[EvaluationSet]:
    """Read sets of music.

    Args:
        sources: Each is a folder of music files, all of which are used; a folder of such folders,
            each of which is a set; or a token store, "bach" or "folk", of which the pieces are used
            that a run over all of these sources together holds out.
        tokenizer: The tokenizer of the models.
        held_out_only: Use only what a run holds out of folders of music files as well.
        progress: Called for each piece that is read.

    Raises:
        InputError: If a source cannot be used.
    """
    names = [name for source in sources for name in _expanded(str(source))]
    corpora = {name: _is_corpus(name) or held_out_only for name in names}
    held_out = [name for name, is_split in corpora.items() if is_split]
    sets = {}
    if held_out:
        sets.update(_held_out(held_out, tokenizer, progress))
    for name, is_split in corpora.items():
        if not is_split:
            pieces = load_corpus(Path(name), tokenizer, progress=progress).pieces
            sets[name] = EvaluationSet(Path(name).name, pieces)
    return [sets[name] for name in names]


def windows_of(
    evaluated: EvaluationSet, layout: str, tokenizer: Tokenizer, *, most: int, full: bool = False
) -> list[EvaluationWindow]:
    """Return windows of a set in a layout, evenly spaced over its pieces.

    Args:
        evaluated: The set.
        layout: A name in `LAYOUTS`. Pieces that it does not change are left out.
        tokenizer: The tokenizer of the pieces.
        most: Number of windows, if there are so many.
        full: Whether every window needs all eight bars of completion.
    """
    positions = [
        (piece, start)
        for piece in evaluated.pieces
        for start in _starts(piece, tokenizer, full=full)
    ]
    # More than needed are drawn, because a layout leaves some pieces as they are.
    order = np.linspace(0, len(positions) - 1, min(len(positions), 4 * most)).round().astype(int)
    order = np.concatenate([order[offset::4] for offset in range(4)]) if len(order) else order
    in_this_layout: dict[str, Ids | None] = {}
    windows: list[EvaluationWindow] = []
    for index in order.tolist():
        piece, start = positions[index]
        if piece.name not in in_this_layout:
            of_piece = "as stored" if layout in OF_WINDOWS else layout
            in_this_layout[piece.name] = in_layout(piece.ids, of_piece, tokenizer.vocabulary)
        ids = in_this_layout[piece.name]
        window = None if ids is None else _window(piece.name, ids, start, tokenizer)
        if window is not None and layout in OF_WINDOWS:
            window = _changed(window, layout, tokenizer)
        if window is not None:
            windows.append(window)
        if len(windows) == most:
            break
    return windows


def _starts(piece: Piece, tokenizer: Tokenizer, *, full: bool) -> range:
    bars = tokenizer.num_bars(piece.ids)
    fewest = COMPLETION_BARS if full else 1
    return range(PROMPT_BARS, bars - fewest + 1, COMPLETION_BARS)


def _window(name: str, ids: Ids, start: int, tokenizer: Tokenizer) -> EvaluationWindow | None:
    """Return the window whose completion starts at a bar; None if nothing sounds in a half."""
    index = BarIndex(ids, tokenizer)
    stop = min(start + COMPLETION_BARS, index.num_bars)
    if start >= stop:
        return None
    window = index.window(start - PROMPT_BARS, stop, completion_bar=start)
    durations = tokenizer.vocabulary.duration
    is_note = (window.ids >= durations.start) & (window.ids < durations.stop)
    if not is_note[: window.completion_start].any() or not is_note[window.completion_start :].any():
        return None
    example = Example(ids=window.ids, completion_start=window.completion_start)
    return EvaluationWindow(name, example, stop - start)


def _changed(
    window: EvaluationWindow, layout: str, tokenizer: Tokenizer
) -> EvaluationWindow | None:
    """Return a window in another layout; None if that would be the same."""
    vocabulary = tokenizer.vocabulary
    ids = in_layout(window.example.ids, layout, vocabulary)
    if ids is None:
        return None
    bars = np.flatnonzero(ids == vocabulary.BAR)
    example = Example(ids=ids, completion_start=int(bars[PROMPT_BARS]))
    return EvaluationWindow(window.piece, example, len(bars) - PROMPT_BARS)


def _held_out(
    names: list[str], tokenizer: Tokenizer, progress: Progress | None
) -> dict[str, EvaluationSet]:
    source = corpora_text([WeightedSource(name) for name in names])
    corpus = load_corpus(source, tokenizer, progress=progress)
    _, valid = split_corpus(corpus)
    if not isinstance(corpus, Mixture):
        return {names[0]: EvaluationSet(Path(names[0]).name, tuple(valid))}
    return {
        member.source: EvaluationSet(member.name, tuple(valid[piece] for piece in own))
        for member, own in zip(corpus.sets, corpus.ranges(valid), strict=True)
    }


def _is_corpus(name: str) -> bool:
    return name in _BUILT_IN or is_store(name)


def _expanded(source: str) -> list[str]:
    """Return a source, or the folders in it if it contains folders of music and no music itself."""
    folder = Path(source)
    if _is_corpus(source) or not folder.is_dir():
        return [source]
    names = [file.name for file in find_files(folder).music]
    subfolders = sorted(path for path in folder.iterdir() if path.is_dir())
    stores = [path for path in subfolders if is_store(path)]
    if stores:
        return [str(path) for path in stores]
    if not names:
        raise InputError(f"{folder} contains no music: give a folder of music files")
    if any("/" not in name for name in names):
        return [source]
    tops = {name.split("/")[0] for name in names}
    return [str(folder / top) for top in sorted(tops)]
