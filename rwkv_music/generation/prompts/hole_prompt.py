"""A request to write bars and parts of a score, as the tokens of a hole."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Int64, UInt16

from rwkv_music.errors import InputError
from rwkv_music.generation.constraints.constraints import Constraints, pitch_limits
from rwkv_music.generation.constraints.rules import ConstraintRule
from rwkv_music.generation.prompts.prompt import continuation_start
from rwkv_music.generation.request.controls import Controls
from rwkv_music.generation.request.part_choice import PartChoice, choose_parts
from rwkv_music.tokenizer import BarIndex, Tokenizer
from rwkv_music.tokenizer.encode import events_of
from rwkv_music.tokenizer.events import EventType
from rwkv_music.tokenizer.hole_grammar import HoleGrammar
from rwkv_music.tokenizer.holes import cut_hole
from rwkv_music.tokenizer.holes.control_levels import ControlLevels, Notes
from rwkv_music.tokenizer.holes.edge import bar_ends, earliest_ends
from rwkv_music.tokenizer.holes.empty_parts import with_empty_parts
from rwkv_music.tokenizer.holes.write import HoleRuns, hole_runs
from rwkv_music.tokenizer.parts import parts_of
from rwkv_music.tokenizer.quantize import Grid
from rwkv_music.tokenizer.reader import read_whole
from rwkv_music.tokenizer.tokenizer import settings_text
from rwkv_music.tokenizer.vocabulary import DRUM_PROGRAM, MAX_HOLE_BARS, Vocabulary
from rwkv_music.tokenizer.writer import write_events

if TYPE_CHECKING:
    import symusic

CONTEXT_BARS = 16
"""Bars around a hole that a model reads, as in training."""
SUFFIX_BARS = 6
"""So many of them at most lie behind the hole, as long as there are others in front of it."""


@dataclass(frozen=True)
class HolePrompt:
    """What to write in a score, and what a model reads before."""

    score: "symusic.Score"
    parts: dict[int, PartChoice]
    """Index of each part to write, among those of the tokens, and its track."""
    lines: list[int]
    """Ticks of the bar lines of the hole, the first and the last one included."""
    runs: HoleRuns
    grammar: HoleGrammar
    """Behind what is given in the first bar."""
    part_names: list[str]
    """Name of each part of the tokens."""
    offsets: Int64[np.ndarray, "parts pitches"]
    """Grid step of the hole at which the newest note of each part and pitch in front of it ends."""
    edges: list[int]
    """Grid step at which notes that begin in each bar of the hole end at the latest; empty if the
    grammar says so."""
    bar_steps: list[int]
    """Grid step at which each bar of the hole begins, counted from the first one."""

    @property
    def start(self) -> int:
        """Tick at which the hole begins."""
        return self.lines[0]

    @property
    def end(self) -> int:
        """Tick at which it ends."""
        return self.lines[-1]

    @property
    def num_bars(self) -> int:
        """Number of its bars."""
        return len(self.runs.given)

    @property
    def first_bar(self) -> int:
        """`Grammar.bars` inside the first bar."""
        return self.grammar.bars

    @property
    def first_step(self) -> int:
        """Grid step of the grammar at which the hole begins."""
        return self.grammar.bar_start

    def to_ticks(self, step: int) -> int:
        """Convert grid steps to ticks from the hole's beginning, rounded to the nearest."""
        steps_per_quarter = self.grammar.vocabulary.steps_per_quarter
        tick = round(float(step * self.score.ticks_per_quarter / steps_per_quarter))
        return min(tick, self.end - self.start)

    def track_of(self, part: int) -> int:
        """Return the index of a part's track in the result."""
        new = [index for index, choice in sorted(self.parts.items()) if choice.track is None]
        track = self.parts[part].track
        return len(self.score.tracks) + new.index(part) if track is None else track

    def whole_stream(self, tokens: Sequence[int]) -> UInt16[np.ndarray, " tokens"]:
        """Return the whole stream behind the sampled tokens of some bars, the others left empty.

        Args:
            tokens: From the first one behind `ids` on, up to the end of a bar.
        """
        vocabulary = self.grammar.vocabulary
        begun = 1 + list(tokens).count(vocabulary.BAR)
        rest = [token for run in self.runs.given[begun:] for token in run.tolist()]
        return np.array([*self.ids, *tokens, *rest, vocabulary.EOS], dtype=np.uint16)

    def up_to(self, step: int) -> "HolePrompt":
        """Return the same request, for the bars in front of a grid step of the hole only."""
        tick = self.start + self.to_ticks(step)
        nearest = min(range(len(self.lines)), key=lambda line: abs(self.lines[line] - tick))
        return replace(self, lines=self.lines[: nearest + 1])

    def rule(self, constraints: Constraints) -> ConstraintRule:
        """Return the masks of constraints for the hole.

        Raises:
            InputError: If a part does not exist, or the constraints leave nothing to write.
        """
        programs = self.grammar.programs
        limits = pitch_limits(constraints, programs, self.part_names, list(self.parts))
        first = self.grammar.bars
        last = first + len(self.runs.given) - 1
        return ConstraintRule(
            constraints, limits, bars=(first, last), allows_cuts=True, offsets=self.offsets
        )

    @property
    def ids(self) -> UInt16[np.ndarray, " tokens"]:
        """The tokens to read before sampling."""
        return np.concatenate([self.runs.opening, self.runs.given[0]])

    @property
    def given_behind_bars(self) -> list[list[int]]:
        """Tokens that are given behind the BAR of the second bar, of the third and so on."""
        return [run[1:].tolist() for run in self.runs.given[1:]]

    @classmethod
    def of(
        cls,
        score: "symusic.Score",
        tokenizer: Tokenizer,
        *,
        bars: int | tuple[int, int],
        parts: Sequence[str | int] | None = None,
        controls: Controls | None = None,
    ) -> "HolePrompt":
        """Return the prompt of a request.

        Args:
            score: The score.
            tokenizer: Of the model.
            bars: First and last bar to write, counted from 1, both included; or the number of bars
                to add behind the end.
            parts: Parts to write; see `choose_parts`.
            controls: What the new music should be like.

        Raises:
            InputError: If the bars or parts cannot be written, or nothing is left as context.
        """
        if isinstance(bars, int):
            lines, bars = _bar_lines_behind(score, bars, tokenizer)
        else:
            lines = _bar_lines(score, bars)
        _check_length(*bars)
        choices = choose_parts(score, parts)
        ids, index_of, names = _tokens_of(score, choices, tokenizer, len(lines) - 1)
        index = BarIndex(ids, tokenizer)
        start, end = lines[bars[0] - 1], lines[bars[1]]
        first, last = _token_bars(score, ids, tokenizer, start, end)
        cells = np.zeros((last - first, index.num_parts), dtype=bool)
        cells[:, index_of] = True
        if cells.all() and first == 0 and last == index.num_bars:
            raise InputError(
                f"bars {bars[0]} to {bars[1]} are all that there is, in all parts: leave a bar or "
                "a part as context"
            )
        context = _context(first, last, index.num_bars)
        hole = cut_hole(index, first, cells, first=context[0], last=context[1])
        chosen = dict(zip(index_of, choices, strict=True))
        if controls is not None:
            hole = hole.with_controls(_levels(controls, score, chosen, tokenizer))
        runs = hole_runs(hole, tokenizer.vocabulary)
        grammar = tokenizer.grammar()
        grammar.feed(np.concatenate([runs.opening, runs.given[0]]))
        fill = read_whole(hole.fill, tokenizer.vocabulary)
        ends = bar_ends(fill, tokenizer.vocabulary)[1]
        grammar.end_hole_at(int(ends[-1]))
        offsets = _offsets_behind(hole.prefix, index.num_parts, tokenizer.vocabulary)
        hole_lines = lines[bars[0] - 1 : bars[1] + 1]
        edges = earliest_ends(ends)
        is_known = bool((edges == np.minimum(ends, ends[-1])).all())
        needed = [] if is_known else edges.tolist()
        bar_steps = fill.values.times[fill.values.types == EventType.BAR].tolist()
        return cls(
            score,
            chosen,
            hole_lines,
            runs,
            grammar,
            names,
            offsets,
            needed,
            bar_steps,
        )


def _bar_lines(score: "symusic.Score", bars: tuple[int, int]) -> list[int]:
    """Return the bar lines of a score that has the bars of a hole."""
    from rwkv_music.score import bar_starts

    lines: list[int] = bar_starts(score).tolist()
    first, last = bars
    num_bars = len(lines) - 1
    if not 1 <= first <= last <= num_bars:
        raise InputError(
            f"bars {first} to {last} are not in this score of {num_bars} bars: choose two of 1 to "
            f"{num_bars}, the smaller one first, or continue the score"
        )
    return lines


def _bar_lines_behind(
    score: "symusic.Score", num_bars: int, tokenizer: Tokenizer
) -> tuple[list[int], tuple[int, int]]:
    """Return the bar lines of a score and of bars behind its end, and which bars these are."""
    from rwkv_music.score import bar_starts
    from rwkv_music.score.timing import signatures

    with_onsets = tokenizer.num_bars(tokenizer.encode(score)[:-1])
    first, start = continuation_start(score, with_onsets)
    current = [sign for sign in signatures(score) if sign.tick < max(1, start)][-1]
    length = current.bar_ticks(score.ticks_per_quarter)
    behind = [start + length * bar for bar in range(1, num_bars + 1)]
    return [*bar_starts(score)[: first + 1].tolist(), *behind], (first + 1, first + num_bars)


def _check_length(first: int, last: int) -> None:
    if last - first >= MAX_HOLE_BARS:
        raise InputError(
            f"bars {first} to {last} are {last - first + 1} bars, at most {MAX_HOLE_BARS} can be "
            "written at once: write them in several steps"
        )


class _Tokens(NamedTuple):
    """A score as tokens of all its bars."""

    ids: UInt16[np.ndarray, " tokens"]
    index_of: list[int]
    """Index of the part of each choice."""
    names: list[str]
    """Name of each part."""


def _tokens_of(
    score: "symusic.Score", choices: Sequence[PartChoice], tokenizer: Tokenizer, num_bars: int
) -> _Tokens:
    """Return the score as tokens, with parts for the chosen tracks that are silent or new."""
    vocabulary = tokenizer.vocabulary
    parts = parts_of(score, vocabulary.max_parts)
    part_of = {track: index for index, part in enumerate(parts) for track in part.tracks}
    new = [choice for choice in choices if choice.track not in part_of]
    programs = [DRUM_PROGRAM if choice.is_drum else choice.program for choice in new]
    table, moved, added = with_empty_parts(
        events_of(score, vocabulary), programs, vocabulary.max_parts
    )
    ids = write_events(table, vocabulary)[:-1]
    silent_bars = max(num_bars - tokenizer.num_bars(ids), 0)
    ids = np.append(ids, np.full(silent_bars, vocabulary.BAR, dtype=np.uint16))
    index_of = [
        added[new.index(choice)] if choice in new else moved[part_of[choice.track or 0]]
        for choice in choices
    ]
    name_of = {moved[index]: score.tracks[part.tracks[0]].name for index, part in enumerate(parts)}
    name_of |= {index: choice.name for index, choice in zip(index_of, choices, strict=True)}
    return _Tokens(ids, index_of, [name_of[index] for index in range(len(name_of))])


def _levels(
    controls: Controls, score: "symusic.Score", parts: dict[int, PartChoice], tokenizer: Tokenizer
) -> ControlLevels:
    """Return the levels of controls by the index of each part among the tokens."""
    if not tokenizer.vocabulary.has_controls:
        raise InputError(
            f"the tokenizer ({settings_text(tokenizer.settings)}) has no control tokens: use a "
            "model with the default settings, or constraints"
        )
    levels: ControlLevels = {}
    for part, own in controls.levels().items():
        if part is None:
            levels[None] = own
            continue
        (choice,) = choose_parts(score, [part])
        matches = [index for index, written in parts.items() if written == choice]
        if not matches:
            raise InputError(
                f"part '{part}' has controls but is not to be written: add it to parts"
            )
        levels[matches[0]] = own
    return levels


def _offsets_behind(
    prefix: UInt16[np.ndarray, " tokens"], num_parts: int, vocabulary: Vocabulary
) -> Int64[np.ndarray, "parts pitches"]:
    """Return how long the notes in front of a hole sound into it, by part and pitch."""
    offsets = np.zeros((num_parts, 128), dtype=np.int64)
    if len(prefix):
        table = read_whole(prefix, vocabulary)
        notes = Notes.of(table, vocabulary)
        ends = notes.onsets + notes.durations - bar_ends(table, vocabulary)[1][-1]
        np.maximum.at(offsets, (notes.parts, notes.pitches), ends)
    return offsets


def _token_bars(
    score: "symusic.Score",
    ids: UInt16[np.ndarray, " tokens"],
    tokenizer: Tokenizer,
    start: int,
    end: int,
) -> tuple[int, int]:
    """Return the bars of the tokens that begin at two bar lines of the score.

    A bar shorter than a grid step is none in the tokens.
    """
    grid = Grid(score.ticks_per_quarter, tokenizer.vocabulary.steps_per_quarter)
    table = read_whole(ids, tokenizer.vocabulary)
    times = table.values.times[table.values.types == EventType.BAR]
    first, last = times.searchsorted([grid.round_one(start), grid.round_one(end)]).tolist()
    if first == last:
        raise InputError(
            f"the bars at tick {start} are shorter than a step of the tokenizer's grid: choose "
            "more bars"
        )
    return first, last


def _context(first: int, last: int, num_bars: int) -> tuple[int, int]:
    """Return the first bar of the context, and the bar behind its last one."""
    room = CONTEXT_BARS
    behind = min(num_bars - last, max(SUFFIX_BARS, room - first))
    return max(0, first - (room - behind)), last + behind
