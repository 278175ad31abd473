"""Masks of `Constraints` over the grammar, which never lead into a dead end.

A position is offered only if a note can begin there, and a part only if a pitch is left for it.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Int64

from rwkv_music.generation.constraints.constraints import Constraints, PitchLimits
from rwkv_music.generation.constraints.native_constraints import (
    ConstraintsStruct,
    constraints_structure,
)
from rwkv_music.tokenizer import Grammar, TokenType
from rwkv_music.tokenizer.native_arguments import address_of
from rwkv_music.tokenizer.vocabulary import Vocabulary

_POSITIONS = (TokenType.BEAT, TokenType.SUBBEAT)
_NO_EVENT_NEXT = (
    TokenType.PITCH, TokenType.DRUM, TokenType.VEL, TokenType.NUM
)  # fmt: skip

Mask = Bool[np.ndarray, " vocab"]
Offsets = Int64[np.ndarray, "parts pitches"]


class ConstraintRule:
    """Masks of one candidate.

    Args:
        constraints: What the user asked for.
        limits: Result of `pitch_limits` for the parts.
        bars: First new bar and last one, as `Grammar.bars` counts them inside.
        allows_cuts: Whether the context has bars that end before their signature says so.
        offsets: Grid step at which the newest note of each part and pitch ends.
    """

    def __init__(
        self,
        constraints: Constraints,
        limits: PitchLimits,
        *,
        bars: tuple[int, int],
        allows_cuts: bool,
        offsets: Offsets,
    ) -> None:
        self._constraints = constraints
        self._limits = limits
        self._first_bar, self._last_bar = bars
        self._allows_cuts = allows_cuts or not constraints.keep_whole_bars
        self._offsets = offsets.copy()
        self._onsets = np.full_like(offsets, -1)
        self._segments_for = (-1, (0, 0))
        self._segments: list[tuple[int, Bool[np.ndarray, "parts pitches"]]] = []

    def to_native(self) -> ConstraintsStruct:
        """Return the rule for the native library, which changes the offsets and onsets in place."""
        constraints, limits = self._constraints, self._limits
        return constraints_structure(
            limits,
            keep_tempo=constraints.keep_tempo,
            keep_time_signature=constraints.keep_time_signature,
            allows_cuts=self._allows_cuts,
            no_restrikes=constraints.no_restrikes,
            no_doubled_notes=constraints.no_doubled_notes,
            max_polyphony=constraints.max_polyphony or 0,
            first_bar=self._first_bar,
            last_bar=self._last_bar,
            offsets=address_of(self._offsets),
            onsets=address_of(self._onsets),
        )

    def observe(self, grammar: Grammar, token: int) -> None:
        """Note when the pitches of each part end."""
        if grammar.last_type is TokenType.VEL and grammar.part is not None:
            duration = int(grammar.vocabulary.durations[token - grammar.vocabulary.duration.start])
            end = grammar.time + duration
            self._offsets[grammar.part, grammar.pitch] = max(
                end, self._offsets[grammar.part, grammar.pitch]
            )
            self._onsets[grammar.part, grammar.pitch] = grammar.time

    def restrict(self, grammar: Grammar, mask: Mask) -> None:
        """Clear the tokens that the constraints exclude."""
        vocabulary, last = grammar.vocabulary, grammar.last_type
        if last in _NO_EVENT_NEXT:
            return
        self._restrict_timing(grammar, mask)
        if last is TokenType.TEMPO and self._constraints.keep_tempo:
            return
        if mask[vocabulary.BAR] and last in _POSITIONS and not self._allows_cuts:
            mask[vocabulary.BAR] = False
        pitches = self._pitches_now(grammar)
        if grammar.part is not None:
            is_drum = self._limits.is_drum[grammar.part]
            mask[_span(vocabulary.drum if is_drum else vocabulary.pitch)] &= pitches[grammar.part]
        if last is not TokenType.PART:
            can_play = np.asarray(pitches.any(axis=1))
            offered = mask[_span(vocabulary.part)]
            offered[: len(can_play)] &= can_play
            # Later in the same segment as many pitches are left, or more.
            if len(self._segments) > 1 or not can_play[list(grammar.sounding_parts)].any():
                self._restrict_positions(grammar, mask)

    def _restrict_timing(self, grammar: Grammar, mask: Mask) -> None:
        vocabulary = grammar.vocabulary
        if self._constraints.keep_tempo:
            mask[_span(vocabulary.tempo)] = False
        # Behind a bar that was cut a signature must follow.
        must_change = grammar.was_cut and grammar.last_type is TokenType.BAR
        if self._constraints.keep_time_signature and not must_change:
            mask[_span(vocabulary.numerator)] = False

    def _restrict_positions(self, grammar: Grammar, mask: Mask) -> None:
        """Offer the positions of the bar at which some part can begin a note."""
        beats, subbeats = _span(grammar.vocabulary.beat), _span(grammar.vocabulary.subbeat)
        steps = self._playable_steps(grammar)
        if steps.all():
            return
        grid = grammar.vocabulary.steps_per_quarter
        by_beat = np.zeros((-(-len(steps) // grid), grid), dtype=bool)
        by_beat.ravel()[: len(steps)] = steps
        mask[beats][: len(by_beat)] &= by_beat.any(axis=1)
        here = (grammar.time - grammar.bar_start) // grid
        mask[subbeats] &= by_beat[here] if here < len(by_beat) else False

    def _playable_steps(self, grammar: Grammar) -> Bool[np.ndarray, " steps"]:
        """Return at which grid steps of the bar some part can begin a note."""
        parts = list(grammar.sounding_parts)
        steps = np.zeros(grammar.bar_end - grammar.bar_start, dtype=bool)
        ends = [start for start, _ in self._bar_segments(grammar)] + [grammar.bar_end]
        for (_, pitches), (start, stop) in zip(
            self._bar_segments(grammar), pairwise(ends), strict=True
        ):
            earliest = min(
                (self._first_free_step(part, pitches[part]) for part in parts), default=stop
            )
            first = max(start, earliest) - grammar.bar_start
            steps[max(first, 0) : stop - grammar.bar_start] = True
        return steps

    def _first_free_step(self, part: int, pitches: Bool[np.ndarray, " pitches"]) -> int:
        """Return the grid step from which a part can begin a note of some pitches."""
        never = np.iinfo(np.int64).max
        if not pitches.any():
            return never
        offsets = self._offsets[part]
        # With restrikes allowed, a note may begin at any step but that of its own onset.
        earliest = int(offsets[pitches].min()) if self._constraints.no_restrikes else 0
        most = self._constraints.max_polyphony
        if most is not None:
            earliest = max(earliest, int(np.partition(offsets, -most)[-most]))
        return earliest

    def _pitches_now(self, grammar: Grammar) -> Bool[np.ndarray, "parts pitches"]:
        """Return the pitches that each part may begin at the current position."""
        now, constraints = grammar.time, self._constraints
        segments = self._bar_segments(grammar)
        allowed = segments[0][1]
        if len(segments) > 1:
            allowed = next(pitches for start, pitches in reversed(segments) if start <= now)
        if constraints.no_restrikes or constraints.max_polyphony is not None:
            sounding = self._offsets > now
            if constraints.no_restrikes:  # doubled notes are restrikes too
                allowed = allowed & ~sounding
            if constraints.max_polyphony is not None:
                is_free = sounding.sum(axis=1) < constraints.max_polyphony
                allowed = allowed & is_free[:, None]
        if constraints.no_doubled_notes and not constraints.no_restrikes:
            allowed = allowed & (self._onsets != now)
        return np.asarray(allowed)

    def _bar_segments(
        self, grammar: Grammar
    ) -> list[tuple[int, Bool[np.ndarray, "parts pitches"]]]:
        """Return where in the current bar the allowed pitches change, and the pitches from there.

        The first segment begins with the bar.
        """
        current = (grammar.bars, grammar.signature)  # a signature may follow the BAR
        if self._segments_for != current:
            self._segments = self._segments_of_bar(grammar)
            self._segments_for = current
        return self._segments

    def _segments_of_bar(
        self, grammar: Grammar
    ) -> list[tuple[int, Bool[np.ndarray, "parts pitches"]]]:
        limits, start = self._limits, grammar.bar_start
        numerator, denominator = grammar.signature
        beat = 4 * grammar.vocabulary.steps_per_quarter // denominator
        if limits.triad is not None and limits.tonic is not None and grammar.bars == self._last_bar:
            last_beat = start + (numerator - 1) * beat
            segments = [(last_beat, self._with(limits.tonic))]
            return [(start, self._with(limits.triad)), *segments] if numerator > 1 else segments
        if not limits.chords:
            return [(start, limits.base)]
        bar = grammar.bars - self._first_bar
        if not limits.chord_is_beat:
            return [(start, self._with(limits.chords[bar % len(limits.chords)]))]
        return [
            (
                start + index * beat,
                self._with(limits.chords[(bar * numerator + index) % len(limits.chords)]),
            )
            for index in range(numerator)
        ]

    def _with(self, pitches: Bool[np.ndarray, " pitches"]) -> Bool[np.ndarray, "parts pitches"]:
        """Return the pitches of each part that are also in a chord; drums keep theirs."""
        return np.asarray(self._limits.base & (pitches | self._limits.is_drum[:, None]))


def sounding_offsets(
    vocabulary: Vocabulary, ids: Sequence[int], grammar: Grammar, num_parts: int
) -> Offsets:
    """Return the grid step at which the newest note of each part and pitch ends.

    Args:
        vocabulary: Of the tokens.
        ids: The tokens of a prompt.
        grammar: Grammar before them; advanced past them.
        num_parts: Number of parts.
    """
    offsets = np.zeros((num_parts, 128), dtype=np.int64)
    durations = vocabulary.durations.tolist()
    first, stop = vocabulary.duration.start, vocabulary.duration.stop
    for token in ids:
        if first <= token < stop:
            part = grammar.part or 0
            end = grammar.time + durations[token - first]
            offsets[part, grammar.pitch] = max(offsets[part, grammar.pitch], end)
        grammar.take(token)
    return offsets


def has_cut_bars(vocabulary: Vocabulary, ids: np.ndarray) -> bool:
    """Return whether a bar of a stream ends before its time signature says so."""
    types = vocabulary.types_of(ids)
    is_bar = types[1:] == TokenType.BAR
    return bool((is_bar & np.isin(types[:-1], _POSITIONS)).any())


def _span(ids: range) -> slice:
    return slice(ids.start, ids.stop)
