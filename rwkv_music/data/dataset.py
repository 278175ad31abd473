"""Pieces, their split, and the windows of whole bars cut from them.

A window is a few prompt bars followed by the bars to be completed. It always begins with the header
in force at its first bar (tempo, time signature, parts), because `BarIndex.window` writes it there;
nothing here slices token ids.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, SupportsIndex, overload

import numpy as np
from jaxtyping import Int64, UInt16

from rwkv_music.errors import InputError
from rwkv_music.tokenizer import BarIndex, Tokenizer
from rwkv_music.tokenizer.bar_index import BarRows, index_bars

Ids = UInt16[np.ndarray, " _"]


@dataclass(frozen=True)
class Piece:
    """One piece of music as token ids."""

    name: str
    """What the user calls it: a file name or a catalogue number."""
    ids: Ids
    """The whole piece, header first."""
    group: str
    """Pieces that share a melody (or are the same) share a group and never part in a split."""
    bar_index: BarRows | None = field(default=None, repr=False, compare=False)
    """What `index_bars` finds in the ids, where that is known already, as in a token store."""


@dataclass(frozen=True)
class Corpus:
    """Pieces with the tokenizer that made them, and what was set aside."""

    name: str
    pieces: tuple[Piece, ...]
    tokenizer_settings: Mapping[str, int]
    set_aside: Mapping[str, str] = field(default_factory=dict)
    """Name of each piece that could not be used -> one sentence why, which names it."""
    valid_share: float | None = None
    """What a token store holds out, since its pieces lie split already; None for other corpora."""

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 over names and ids: two runs on the same data share it."""
        digest = hashlib.sha256()
        for piece in self.pieces:
            digest.update(piece.name.encode())
            digest.update(piece.ids.tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Example:
    """One training example: token ids and the place where the completion begins."""

    ids: Ids
    completion_start: int
    """Index in `ids` of the bar token that opens the completion."""


def split_corpus(corpus: Corpus, *, valid_share: float = 0.1) -> tuple[list[Piece], list[Piece]]:
    """Split by group into training and validation pieces.

    A group's side follows from the hash of its name alone, so that it does not change when other
    pieces are added. When chance leaves validation empty, the group with the smallest hash goes
    there.

    Args:
        corpus: What to split; at least two groups.
        valid_share: Share of groups to hold out, in (0, 1); that of a token store comes first.

    Returns:
        Training pieces and validation pieces, each in corpus order.

    Raises:
        InputError: If there are fewer than two groups, or the share is out of range.
    """
    groups = {piece.group for piece in corpus.pieces}
    if len(groups) < 2:
        raise InputError(
            f"corpus '{corpus.name}' has {len(corpus.pieces)} usable pieces in {len(groups)} "
            "groups (copies count once); training needs at least 2, one of them held out: add files"
        )
    own = corpus.valid_share
    held_out = held_out_groups(groups, valid_share=valid_share if own is None else own)
    train = [piece for piece in corpus.pieces if piece.group not in held_out]
    valid = [piece for piece in corpus.pieces if piece.group in held_out]
    return train, valid


def held_out_groups(groups: Iterable[str], *, valid_share: float = 0.1) -> set[str]:
    """The groups that a split holds out; see `split_corpus`.

    Args:
        groups: Names of groups; with fewer than two different ones nothing is held out.
        valid_share: Share of groups to hold out, in (0, 1).

    Raises:
        InputError: If the share is out of range.
    """
    if not 0 < valid_share < 1:
        raise InputError(f"valid_share must be in (0, 1), got {valid_share}")
    place = {group: _unit_hash(group) for group in groups}
    held_out = {group for group in place if is_held_out(group, valid_share)}
    if place and not held_out:
        held_out = {min(place, key=lambda group: place[group])}
    if place and len(held_out) == len(place):
        held_out.remove(max(place, key=lambda group: place[group]))
    return held_out


def is_held_out(group: str, valid_share: float) -> bool:
    """Whether the hash of a group's name puts it on the side of validation."""
    return _unit_hash(group) < valid_share


def _unit_hash(text: str) -> float:
    """A number in [0, 1) that depends on the text alone."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


class Span(NamedTuple):
    """A completion's place: the bars from `seam` up to but not including `stop` of a piece."""

    piece: int
    """Index in `Windows.pieces`."""
    seam: int
    stop: int


class Spans(Sequence[Span]):
    """Completions that tile pieces, found when they are asked for: millions take no memory.

    Args:
        bars: Bars of each piece, at least 2.
        completion_bars: Bars in a completion; fewer at a piece's end.
        offset: Bars in the first completion of a piece, `completion_bars` if 0.
    """

    def __init__(
        self, bars: Int64[np.ndarray, " pieces"], completion_bars: int, offset: int
    ) -> None:
        self._bars = bars
        self._step = completion_bars
        self._first = offset or completion_bars
        # The first bar of a piece is never completed.
        behind_first = np.maximum(bars - 1 - self._first, 0)
        self._ends = np.cumsum(1 - (-behind_first // completion_bars))

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    @overload
    def __getitem__(self, place: SupportsIndex) -> Span: ...
    @overload
    def __getitem__(self, place: slice) -> "list[Span]": ...
    def __getitem__(self, place: SupportsIndex | slice) -> "Span | list[Span]":
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        wanted = range(len(self))[place]
        piece = int(np.searchsorted(self._ends, wanted, side="right"))
        before = wanted - (int(self._ends[piece - 1]) if piece else 0)
        seam = 1 if not before else 1 + self._first + (before - 1) * self._step
        stop = 1 + self._first + before * self._step
        return Span(piece, seam, min(stop, int(self._bars[piece])))


def _with_bar_index(piece: Piece, tokenizer: Tokenizer) -> tuple[Piece, BarRows]:
    if piece.bar_index is not None:
        return piece, piece.bar_index
    return piece, index_bars(piece.ids, tokenizer.vocabulary)


class Windows:
    """All windows of whole bars that slide over a list of pieces.

    The bars of a piece, its first one excepted, are tiled with completions of `completion_bars`
    (fewer at the end). Each window is one completion and the `prompt_bars` before it (fewer near
    the piece's beginning, but at least one). Moving the tiles by an offset slides the windows; at
    every offset each bar is completed exactly once.

    Args:
        pieces: What to cut. Pieces of a single bar are passed over and named in `too_short`.
        tokenizer: The one that made the ids.
        prompt_bars: Bars given at most.
        completion_bars: Bars to complete at most.

    Raises:
        InputError: If a number is below 1, or no piece has two bars.
    """

    def __init__(
        self,
        pieces: Sequence[Piece],
        tokenizer: Tokenizer,
        *,
        prompt_bars: int,
        completion_bars: int,
    ) -> None:
        for name, value in {"prompt_bars": prompt_bars, "completion_bars": completion_bars}.items():
            if value < 1:
                raise InputError(f"{name} must be at least 1 bar, got {value}")
        self.tokenizer = tokenizer
        self.prompt_bars = prompt_bars
        self.completion_bars = completion_bars
        indexed = [_with_bar_index(piece, tokenizer) for piece in pieces]
        bars = np.array([len(bar_index) for _, bar_index in indexed], dtype=np.int64)
        self.too_short = [indexed[place][0].name for place in np.flatnonzero(bars < 2).tolist()]
        usable = [each for each in indexed if len(each[1]) >= 2]
        if not usable:
            raise InputError(
                f"none of the {len(pieces)} pieces has 2 bars, one to prompt with and one to "
                f"complete ({', '.join(self.too_short[:3]) or 'no piece given'}): add longer pieces"
            )
        self.pieces = [piece for piece, _ in usable]
        self._bar_indexes = [bar_index for _, bar_index in usable]
        self._bars = bars[bars >= 2]

    def spans(self, *, offset: int = 0) -> "Spans":
        """Where every window's completion lies, in the order of the pieces.

        Args:
            offset: Bars in the first completion of each piece, if not 0; the others follow.
        """
        return Spans(self._bars, self.completion_bars, offset)

    def example(self, span: Span) -> Example:
        """The window that completes a span."""
        start = max(0, span.seam - self.prompt_bars)
        piece = self.pieces[span.piece]
        index = BarIndex(piece.ids, self.tokenizer, self._bar_indexes[span.piece])
        window = index.window(start, span.stop, seam=span.seam)
        return Example(ids=window.ids, completion_start=window.completion_start)

    def __len__(self) -> int:
        """Number of windows at offset 0."""
        return len(self.spans())

    def __iter__(self) -> Iterator[Example]:
        """Every window at offset 0, in order: what validation reads."""
        return (self.example(span) for span in self.spans())
