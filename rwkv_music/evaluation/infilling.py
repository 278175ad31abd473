"""How well a model fills holes: beside continuing only, copying, and a fragment of other music.

A task is a window of a piece with a hole in its middle. Every method writes the parts of the hole;
the figures compare what it wrote with what stood there.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Int64

from rwkv_music.data.loading.completion_windows import Example
from rwkv_music.data.pieces import Piece
from rwkv_music.errors import InputError
from rwkv_music.evaluation.infilling_figures import HoleFigures, compare
from rwkv_music.evaluation.likelihood import model_nats
from rwkv_music.generation import continue_score, fill_score
from rwkv_music.model import MusicModel
from rwkv_music.score import bar_starts, take_bars
from rwkv_music.tokenizer import BarIndex, Tokenizer, TokenType
from rwkv_music.tokenizer.holes import cut_hole, write_hole

if TYPE_CHECKING:
    import symusic

CONTEXT_BARS = 4
"""Bars in front of a hole and behind it."""
MODEL, CONTINUATION, COPY, RANDOM = "model", "continuation only", "bars before", "other piece"
METHODS = (MODEL, CONTINUATION, COPY, RANDOM)


class PartNotes(NamedTuple):
    """Notes of one track in a hole, in ticks from its beginning."""

    onsets: Int64[np.ndarray, " notes"]
    durations: Int64[np.ndarray, " notes"]
    pitches: Int64[np.ndarray, " notes"]
    velocities: Int64[np.ndarray, " notes"]


@dataclass(frozen=True)
class HoleTask:
    """A window of a piece, and which bars and tracks of it are to be written."""

    score: "symusic.Score"
    bars: tuple[int, int]
    """First and last bar of the hole, counted from 1."""
    tracks: tuple[int, ...]

    @property
    def span(self) -> tuple[int, int]:
        """Ticks at which the hole begins and ends."""
        lines = bar_starts(self.score)
        return int(lines[self.bars[0] - 1]), int(lines[self.bars[1]])

    def truth(self) -> dict[int, PartNotes]:
        """Return what stands in the hole."""
        return {track: notes_in(self.score, track, *self.span) for track in self.tracks}


def hole_tasks(
    pieces: Sequence[Piece], tokenizer: Tokenizer, *, bars: int, one_part: bool, number: int
) -> list[HoleTask]:
    """Return tasks evenly spaced over pieces: a window of each, from its middle.

    Args:
        pieces: Held-out pieces.
        tokenizer: Of their ids.
        bars: Bars of each hole.
        one_part: Whether only one part is to be written, in turn the first, the second and so on;
            else all parts are.
        number: Tasks at most.

    Raises:
        InputError: If no piece is long enough.
    """
    length = bars + 2 * CONTEXT_BARS
    tasks: list[HoleTask] = []
    step = max(1, len(pieces) // number)
    for piece in pieces[::step]:
        index = BarIndex(piece.ids, tokenizer)
        if index.num_bars < length or len(tasks) == number:
            continue
        start = (index.num_bars - length) // 2
        score = tokenizer.decode(index.window(start, start + length).ids)
        hole = (CONTEXT_BARS + 1, CONTEXT_BARS + bars)
        if len(bar_starts(score)) <= length - CONTEXT_BARS or (one_part and len(score.tracks) < 2):
            continue
        tracks = tuple(range(len(score.tracks)))
        if one_part:
            tracks = (len(tasks) % len(tracks),)
        task = HoleTask(score, hole, tracks)
        if any(len(notes.onsets) for notes in task.truth().values()):
            tasks.append(task)
    if not tasks:
        raise InputError(f"no piece has {length} bars with notes in the middle: add longer pieces")
    return tasks


def notes_in(score: "symusic.Score", track: int, start: int, end: int) -> PartNotes:
    """Return the notes of a track that begin in [start, end), cut at its end."""
    table = score.tracks[track].notes.numpy() if track < len(score.tracks) else {}
    if not table or not len(table["time"]):
        nothing = np.zeros(0, dtype=np.int64)
        return PartNotes(nothing, nothing, nothing, nothing)
    time = table["time"].astype(np.int64)
    own = (time >= start) & (time < end)
    durations = np.minimum(table["duration"][own], end - time[own])
    columns = (time[own] - start, durations, table["pitch"][own], table["velocity"][own])
    return PartNotes(*(column.astype(np.int64) for column in columns))


def evaluate_holes(
    model: MusicModel,
    tasks: Sequence[HoleTask],
    *,
    methods: Sequence[str] = METHODS,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """Return the mean figures of each method, in JSON values.

    Args:
        model: A model that was trained with holes; it also judges what follows.
        tasks: The holes.
        methods: Of `METHODS`.
        seed: Seed of the first task; the others count up from it.
    """
    results: dict[str, list[HoleFigures]] = {method: [] for method in methods}
    for index, task in enumerate(tasks):
        other = tasks[(index + 1) % len(tasks)]
        for method in methods:
            written = _written(method, model, task, other, seed + index)
            span = task.span[1] - task.span[0]
            nats_behind = nats_per_note_behind(model, with_notes(task, written), task.bars[1])
            figures = compare(
                task.truth(),
                written,
                span,
                task.score.ticks_per_quarter,
                nats_behind,
                drums=[i for i, track in enumerate(task.score.tracks) if track.is_drum],
            )
            results[method].append(figures)
    means = {method: HoleFigures.mean(rows).as_dict() for method, rows in results.items() if rows}
    means["truth"] = {
        "nats_per_note_of_hole": nats_per_note_of_holes(model, tasks),
        "nats_per_note_behind": float(
            np.mean([nats_per_note_behind(model, task.score, task.bars[1]) for task in tasks])
        ),
    }
    return means


def _written(
    method: str, model: MusicModel, task: HoleTask, other: HoleTask, seed: int
) -> dict[int, PartNotes]:
    """Return what a method writes into a hole."""
    start, end = task.span
    if method == MODEL:
        parts = list(task.tracks)
        (piece,) = fill_score(
            model, task.score, bars=task.bars, parts=parts, candidates=1, seed=seed
        )
        return {track: notes_in(piece.score, track, start, end) for track in task.tracks}
    if method == CONTINUATION:
        prompt = take_bars(task.score, 0, task.bars[0] - 1)
        bars = task.bars[1] - task.bars[0] + 1
        (longer,) = continue_score(model, prompt, bars=bars, candidates=1, seed=seed)
        behind = longer.continuation_start
        length = end - start
        return {
            track: notes_in(longer.score, track, behind, behind + length) for track in task.tracks
        }
    if method == COPY:
        length = end - start
        return {
            track: notes_in(task.score, track, max(0, start - length), start)
            for track in task.tracks
        }
    if method == RANDOM:
        others = list(other.truth().values())
        return {track: others[i % len(others)] for i, track in enumerate(task.tracks)}
    raise InputError(f"method must be one of {METHODS}, got '{method}'")


def with_notes(task: HoleTask, written: dict[int, PartNotes]) -> "symusic.Score":
    """Return the window with other notes in the hole."""
    import symusic

    score = task.score.copy()
    start, end = task.span
    for index, notes in written.items():
        track = score.tracks[index]
        kept = [note for note in track.notes if not start <= note.time < end]
        for onset, duration, pitch, velocity in zip(*(c.tolist() for c in notes), strict=True):
            length = max(1, min(duration, end - start - onset))
            if onset < end - start:
                kept.append(symusic.Note(start + onset, length, pitch, velocity))
        track.notes = symusic.core.NoteTickList(kept)
    return score


def nats_per_note_behind(model: MusicModel, score: "symusic.Score", bar: int) -> float:
    """Return the nats a note of the bars behind a bar, given all that is in front of them."""
    tokenizer = model.tokenizer
    ids = tokenizer.encode(score)
    index = BarIndex(ids, tokenizer)
    if index.num_bars <= bar:
        return float("nan")
    window = index.window(0, index.num_bars, completion_bar=bar)
    return _nats_per_note(model, [Example(window.ids, window.completion_start)])


def nats_per_note_of_holes(model: MusicModel, tasks: Sequence[HoleTask]) -> float:
    """Return the nats a note of what stands in the holes, given what is around it."""
    return _nats_per_note(model, list(_hole_examples(model.tokenizer, tasks)))


def _hole_examples(tokenizer: Tokenizer, tasks: Sequence[HoleTask]) -> Iterator[Example]:
    for task in tasks:
        index = BarIndex(tokenizer.encode(task.score), tokenizer)
        order = tokenizer.part_order(task.score)
        first, last = task.bars[0] - 1, min(task.bars[1], index.num_bars)
        cells = np.zeros((last - first, index.num_parts), dtype=bool)
        cells[:, [order.index(track) for track in task.tracks if track in order]] = True
        hole = cut_hole(index, first, cells, first=0, last=index.num_bars)
        stream = write_hole(hole, tokenizer.vocabulary)
        yield Example(stream.ids, int(stream.scored.argmax()), stream.scored)


def _nats_per_note(model: MusicModel, examples: Sequence[Example]) -> float:
    nats = notes = 0.0
    types_of: Callable[[np.ndarray], np.ndarray] = model.tokenizer.vocabulary.types_of
    for targets, own, scored in model_nats(model, examples):
        nats += float(own[scored].sum())
        notes += int((types_of(targets[scored]) == TokenType.DUR).sum())
    return nats / notes if notes else float("nan")
