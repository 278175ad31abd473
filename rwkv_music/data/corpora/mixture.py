"""A mixture: several corpora to train on together, each with a weight."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np

from rwkv_music.data.corpora.about import CorpusAbout, read_about
from rwkv_music.data.corpora.corpus_list import WeightedSource
from rwkv_music.data.corpora.near_duplicate_cache import near_duplicate_groups
from rwkv_music.data.pieces import Corpus, Piece, held_out_groups
from rwkv_music.data.union_find import UnionFind
from rwkv_music.data.worker_pool import Progress
from rwkv_music.errors import InputError
from rwkv_music.tokenizer import Tokenizer


@dataclass(frozen=True)
class MixtureSet:
    """One corpus of a mixture."""

    name: str
    """Name in figures and in front of the names of its pieces; unique in the mixture."""
    source: str
    """"bach", "folk", or the path of the folder or store."""
    weight: float
    num_pieces: int
    content_hash: str
    about: CorpusAbout


@dataclass(frozen=True)
class Mixture(Corpus):
    """Pieces of several corpora, set after set; each name begins with that of its set.

    Pieces that are the same music form one group, within a set and across sets.
    """

    sets: tuple[MixtureSet, ...] = ()

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 over the contents of the sets and over the groups of the pieces."""
        digest = hashlib.sha256()
        for member in self.sets:
            digest.update(f"{member.name}\0{member.content_hash}\0".encode())
        for piece in self.pieces:
            digest.update(f"{piece.group}\0".encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    def held_out_groups(self, valid_fraction: float) -> set[str]:
        """Return the groups to hold out: of each set the fraction, and at least one group.

        Raises:
            InputError: If nothing of a set is left to train on.
        """
        held_out: set[str] = set()
        for pieces in self._pieces_by_set():
            held_out |= held_out_groups(
                {piece.group for piece in pieces}, valid_fraction=valid_fraction
            )
        for member, pieces in zip(self.sets, self._pieces_by_set(), strict=True):
            if all(piece.group in held_out for piece in pieces):
                raise InputError(
                    f"no piece of '{member.source}' is left to train on, since each is held out or "
                    "the same music as one that is: add files, or leave this corpus out"
                )
        return held_out

    def ranges(self, pieces: Sequence[Piece]) -> list[range]:
        """Return which of some pieces belong to each set.

        Args:
            pieces: Pieces of this mixture, in its order; some may be missing.

        Returns:
            For each set the range of its indices in `pieces`.
        """
        sets = np.array([self._set_index[piece.name] for piece in pieces], dtype=np.int64)
        bounds = np.searchsorted(sets, np.arange(len(self.sets) + 1)).tolist()
        return [range(first, stop) for first, stop in pairwise(bounds)]

    @cached_property
    def weights(self) -> list[float]:
        """Weight of each set."""
        return [member.weight for member in self.sets]

    @cached_property
    def _set_index(self) -> dict[str, int]:
        return {
            piece.name: index
            for index, pieces in enumerate(self._pieces_by_set())
            for piece in pieces
        }

    def _pieces_by_set(self) -> Iterator[tuple[Piece, ...]]:
        first = 0
        for member in self.sets:
            yield self.pieces[first : first + member.num_pieces]
            first += member.num_pieces


def mix_corpora(
    sources: Sequence[WeightedSource],
    corpora: Sequence[Corpus],
    tokenizer: Tokenizer,
    *,
    progress: Progress | None = None,
) -> Mixture:
    """Return the mixture of some corpora.

    Args:
        sources: Name and weight of each corpus.
        corpora: The corpora, encoded by the same tokenizer.
        tokenizer: That tokenizer.
        progress: Called while pieces are compared, unless the result is cached.

    Raises:
        InputError: If an `about.json` cannot be read.
    """
    names = _set_names([entry.source for entry in sources])
    abouts = [read_about(entry.source) for entry in sources]
    groups = _groups(corpora, abouts, tokenizer, progress)
    pieces = [
        replace(piece, name=f"{name}/{piece.name}", group=groups[piece.group])
        for name, corpus in zip(names, corpora, strict=True)
        for piece in corpus.pieces
    ]
    skipped = {
        f"{name}/{file}": reason
        for name, corpus in zip(names, corpora, strict=True)
        for file, reason in corpus.skipped.items()
    }
    sets = [
        MixtureSet(name, entry.source, entry.weight, len(corpus.pieces), corpus.content_hash, about)
        for name, entry, corpus, about in zip(names, sources, corpora, abouts, strict=True)
    ]
    title = " + ".join(names)
    return Mixture(title, tuple(pieces), tokenizer.settings, skipped, sets=tuple(sets))


def _groups(
    corpora: Sequence[Corpus],
    abouts: Sequence[CorpusAbout],
    tokenizer: Tokenizer,
    progress: Progress | None,
) -> Mapping[str, str]:
    """Return group of a piece in its corpus -> its group in the mixture."""
    pieces = [piece for corpus in corpora for piece in corpus.pieces]
    groups = UnionFind(piece.group for piece in pieces)
    hashes = [corpus.content_hash for corpus in corpora]
    for first, second in near_duplicate_groups(pieces, hashes, tokenizer, progress=progress):
        groups.union(first, second)
    for corpus, about in zip(corpora, abouts, strict=True):
        group_of_work: dict[str, str] = {}
        for piece in corpus.pieces:
            if (work := about.works.get(piece.name)) is not None:
                groups.union(group_of_work.setdefault(work, piece.group), piece.group)
    return {piece.group: groups.find(piece.group) for piece in pieces}


def _set_names(sources: Sequence[str]) -> list[str]:
    """Return the last part of each path, or the whole path where those are not unique."""
    short = [Path(source).name or source for source in sources]
    return [
        name if short.count(name) == 1 else source
        for name, source in zip(short, sources, strict=True)
    ]
