"""Pieces of music as token ids, corpora of them, and the split into training and validation."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import UInt16

from rwkv_music.errors import InputError
from rwkv_music.tokenizer.bar_index import BarRows

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
