"""Pieces of music as token ids, corpora of them, and the split into training and validation."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import UInt16

from rwkv_music.data.split_settings import SplitSettings
from rwkv_music.errors import InputError
from rwkv_music.tokenizer.bar_index import BarRows

Ids = UInt16[np.ndarray, " _"]


@dataclass(frozen=True)
class Piece:
    """One piece of music as token ids."""

    name: str
    """File name or catalogue number."""
    ids: Ids
    """The whole piece, header first."""
    group: str
    """Pieces of one group (the same melody, or the same music) are in the same split."""
    bar_index: BarRows | None = field(default=None, repr=False, compare=False)
    """Result of `index_bars` where it is known already, as in a token store."""


@dataclass(frozen=True)
class Corpus:
    """Pieces with the settings of their tokenizer, and the files that were skipped."""

    name: str
    pieces: tuple[Piece, ...]
    tokenizer_settings: Mapping[str, int]
    skipped: Mapping[str, str] = field(default_factory=dict)
    """Name of each piece that cannot be used -> a sentence with the reason and the name."""
    valid_fraction: float | None = None
    """Held-out fraction of a token store, whose pieces are already split; otherwise None."""

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 over names and ids; runs on the same data share it."""
        digest = hashlib.sha256()
        for piece in self.pieces:
            digest.update(piece.name.encode("utf-8", "surrogatepass"))
            digest.update(piece.ids.tobytes())
        return digest.hexdigest()

    def held_out_groups(self, valid_fraction: float) -> set[str]:
        """Return the groups that a split holds out; see `split_corpus`."""
        if self.valid_fraction is not None:
            valid_fraction = self.valid_fraction
        groups = {piece.group for piece in self.pieces}
        return held_out_groups(groups, valid_fraction=valid_fraction)


def split_corpus(corpus: Corpus, *, valid_fraction: float = 0.1) -> tuple[list[Piece], list[Piece]]:
    """Split a corpus by group into training and validation pieces.

    The split of a group depends on the hash of its name alone, so that it does not change when
    other pieces are added. If no group is held out by chance, the one with the smallest hash is.

    Args:
        corpus: A corpus of at least two groups.
        valid_fraction: Fraction of groups to hold out, in (0, 1). A token store has its own.

    Returns:
        Training pieces and validation pieces, each in the order of the corpus.

    Raises:
        InputError: If there are fewer than two groups, or the fraction is out of range.
    """
    groups = {piece.group for piece in corpus.pieces}
    if len(groups) < 2:
        raise InputError(
            f"corpus '{corpus.name}' has {len(corpus.pieces)} usable pieces in {len(groups)} "
            "groups (copies count once); training needs at least 2, one of them held out: add files"
        )
    held_out = corpus.held_out_groups(valid_fraction)
    train = [piece for piece in corpus.pieces if piece.group not in held_out]
    valid = [piece for piece in corpus.pieces if piece.group in held_out]
    return train, valid


def held_out_groups(groups: Iterable[str], *, valid_fraction: float = 0.1) -> set[str]:
    """Return the groups that a split holds out; see `split_corpus`.

    Args:
        groups: Names of groups; nothing is held out of fewer than two different ones.
        valid_fraction: Fraction of groups to hold out, in (0, 1).

    Raises:
        InputError: If the fraction is out of range.
    """
    SplitSettings(valid_fraction=valid_fraction)  # checks the range
    hashes = {group: _unit_hash(group) for group in groups}
    held_out = {group for group in hashes if is_held_out(group, valid_fraction)}
    if hashes and not held_out:
        held_out = {min(hashes, key=lambda group: hashes[group])}
    if hashes and len(held_out) == len(hashes):
        held_out.remove(max(hashes, key=lambda group: hashes[group]))
    return held_out


def is_held_out(group: str, valid_fraction: float) -> bool:
    """Return whether the hash of a group's name selects it for validation."""
    return _unit_hash(group) < valid_fraction


def _unit_hash(text: str) -> float:
    """Return a number in [0, 1) that depends on the text alone."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
