"""Pieces, their split, and the windows of whole bars cut from them.

A window is a few prompt bars followed by the bars to be completed. It always begins with the header
in force at its first bar (tempo, time signature, parts), because `BarIndex.window` writes it there;
nothing here slices token ids.
"""

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt16

from rwkv_music.errors import InputError
from rwkv_music.tokenizer import BarIndex, Tokenizer

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


@dataclass(frozen=True)
class Corpus:
    """Pieces with the tokenizer that made them, and what was set aside."""

    name: str
    pieces: tuple[Piece, ...]
    tokenizer_settings: Mapping[str, int]
    set_aside: Mapping[str, str] = field(default_factory=dict)
    """Name of each piece that could not be used -> one sentence why."""

    @cached_property
    def num_tokens(self) -> int:
        """Tokens in all pieces."""
        return sum(len(piece.ids) for piece in self.pieces)

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
        valid_share: Share of groups to hold out, in (0, 1).

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
    held_out = held_out_groups(groups, valid_share=valid_share)
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
    held_out = {group for group, position in place.items() if position < valid_share}
    if place and not held_out:
        held_out = {min(place, key=lambda group: place[group])}
    if place and len(held_out) == len(place):
        held_out.remove(max(place, key=lambda group: place[group]))
    return held_out


def _unit_hash(text: str) -> float:
    """A number in [0, 1) that depends on the text alone."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


class Span(NamedTuple):
    """A completion's place: the bars from `seam` up to but not including `stop` of a piece."""

    piece: int
    """Index in `Windows.pieces`."""
    seam: int
    stop: int


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
        indexes = [(piece, BarIndex(piece.ids, tokenizer)) for piece in pieces]
        self.too_short = [piece.name for piece, index in indexes if index.num_bars < 2]
        usable = [(piece, index) for piece, index in indexes if index.num_bars >= 2]
        if not usable:
            raise InputError(
                f"none of the {len(pieces)} pieces has 2 bars, one to prompt with and one to "
                f"complete ({', '.join(self.too_short[:3]) or 'no piece given'}): add longer pieces"
            )
        self.pieces = [piece for piece, _ in usable]
        self._indexes = [index for _, index in usable]

    def spans(self, *, offset: int = 0) -> list[Span]:
        """Where every window's completion lies, in the order of the pieces.

        Args:
            offset: Bars in the first completion of each piece, if not 0; the others follow.
        """
        found = []
        for piece, index in enumerate(self._indexes):
            cuts = {1, *range(1 + offset, index.num_bars, self.completion_bars), index.num_bars}
            places = sorted(cut for cut in cuts if cut <= index.num_bars)
            found += [Span(piece, *ends) for ends in itertools.pairwise(places)]
        return found

    def example(self, span: Span) -> Example:
        """The window that completes a span."""
        start = max(0, span.seam - self.prompt_bars)
        window = self._indexes[span.piece].window(start, span.stop, seam=span.seam)
        return Example(ids=window.ids, completion_start=window.completion_start)

    def __len__(self) -> int:
        """Number of windows at offset 0."""
        return len(self.spans())

    def __iter__(self) -> Iterator[Example]:
        """Every window at offset 0, in order: what validation reads."""
        return (self.example(span) for span in self.spans())
