"""Write parts through many bars, a few at a time."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rwkv_music.generation.hole_filling import Filling
from rwkv_music.generation.request.part_choice import choose_parts
from rwkv_music.generation.request.request import Request
from rwkv_music.generation.streaming import Stream
from rwkv_music.tokenizer.vocabulary import MAX_HOLE_BARS

if TYPE_CHECKING:
    import symusic


@dataclass(frozen=True)
class Accompaniment:
    """A score with parts that were written through many bars."""

    score: "symusic.Score"
    start: int
    """Tick at which the new music begins."""
    end: int
    """Tick at which it ends."""
    tracks: set[int]
    """Indices of the tracks that were written."""
    nats: float
    """Sum of -ln p over the sampled tokens."""
    seed: int


def accompaniments(
    begin: "Callable[[symusic.Score, Request], Stream]",
    score: "symusic.Score",
    parts: Sequence[str | int],
    bars: tuple[int, int],
    request: Request,
    should_stop: Callable[[], bool],
) -> Iterator[Accompaniment]:
    """Yield one version per candidate of a request; incomplete ones have a complete bar at least.

    Args:
        begin: Begins a stream.
        score: The score.
        parts: Parts to write.
        bars: First and last bar, counted from 1.
        request: How to sample.
        should_stop: Called after each event; True ends generation.

    Raises:
        InputError: As `fill_score`.
    """
    choices = choose_parts(score, parts)
    existing = [choice.track for choice in choices if choice.track is not None]
    added = range(len(score.tracks), len(score.tracks) + len(choices) - len(existing))
    tracks = [*existing, *added]
    for seed in request.seeds:
        own, pieces, written = score, list[Filling](), parts
        for chunk in _chunks(*bars):
            single = replace(request, bars=chunk, parts=written, candidates=1, seed=seed)
            piece = _version(begin(own, single), should_stop)
            if piece is None:
                break
            pieces.append(piece)
            own, written = piece.score, tracks
            if not piece.is_complete:
                break
        if pieces:
            nats = sum(piece.nats for piece in pieces)
            start, end = pieces[0].continuation_start, pieces[-1].end
            yield Accompaniment(own, start, end, set(tracks), nats, seed)


def _version(events: Stream, should_stop: Callable[[], bool]) -> Filling | None:
    """Return what a stream of one candidate wrote; None without a complete bar."""
    for _ in events:
        if should_stop():
            events.close()
    piece = events.results()[-1]
    return piece if isinstance(piece, Filling) and piece.num_bars else None


def _chunks(first: int, last: int) -> Iterator[tuple[int, int]]:
    for bar in range(first, last + 1, MAX_HOLE_BARS):
        yield bar, min(last, bar + MAX_HOLE_BARS - 1)
