"""A prompt as tokens, and the conversion of new tokens into the bars behind it."""

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt16

from rwkv_music.generation.constraints.constraints import Constraints, pitch_limits
from rwkv_music.generation.constraints.rules import ConstraintRule, has_cut_bars, sounding_offsets
from rwkv_music.tokenizer import Grammar, Tokenizer

if TYPE_CHECKING:
    import symusic

_OVERHANG_QUARTERS = 0.25
"""A last note may sound this far into the next bar before that bar belongs to the prompt."""


class Prompt:
    """A score to be continued.

    Args:
        score: The prompt; not changed.
        tokenizer: The model's.

    Raises:
        InputError: If the score has no notes or cannot be written as tokens.
    """

    def __init__(self, score: "symusic.Score", tokenizer: Tokenizer) -> None:
        self.score = score
        self.tokenizer = tokenizer
        whole = tokenizer.encode(score)[:-1]
        bars, self.continuation_start = continuation_start(score, tokenizer.num_bars(whole))
        empty = [tokenizer.vocabulary.BAR] * (bars - tokenizer.num_bars(whole))
        self.ids = np.concatenate([whole, np.array(empty, dtype=np.uint16)])
        self.track_order = tokenizer.part_order(score)
        """Index of the track of each part."""
        self.grammar: Grammar = tokenizer.grammar()
        """Grammar behind the prompt."""
        self._offsets = sounding_offsets(
            tokenizer.vocabulary, self.ids.tolist(), self.grammar, len(self.track_order)
        )

    @property
    def first_bar(self) -> int:
        """`Grammar.bars` inside the first new bar."""
        return self.grammar.bars + 1

    @property
    def first_step(self) -> int:
        """Grid step at which the new bars begin."""
        return self.grammar.bar_end

    def track_of(self, part: int) -> int:
        """Return the index of a part's track."""
        return int(self.track_order[part])

    @cached_property
    def part_names(self) -> list[str]:
        """Name of each part, in the order of the tokens."""
        return [self.score.tracks[index].name for index in self.track_order]

    def rule(self, constraints: Constraints, bars: int) -> ConstraintRule:
        """Return the masks of constraints for new bars behind the prompt.

        Raises:
            InputError: If a part does not exist, or the constraints leave nothing to write.
        """
        return ConstraintRule(
            constraints,
            pitch_limits(constraints, self.grammar.programs, self.part_names),
            bars=(self.first_bar, self.first_bar + bars - 1),
            allows_cuts=has_cut_bars(self.tokenizer.vocabulary, self.ids),
            offsets=self._offsets,
        )

    def new_bars(self, tokens: UInt16[np.ndarray, " new"], *, end: int) -> "symusic.Score":
        """Return new tokens as music in the prompt's ticks, from tick 0 on.

        Args:
            tokens: The new tokens.
            end: Grid step of the whole stream at which notes end at the latest.
        """
        import symusic

        start = self.grammar.bar_end
        decoded = self.tokenizer.decode(np.concatenate([self.ids, tokens]))
        new = symusic.Score(self.score.ticks_per_quarter)
        self._add_timing(new, decoded, start)
        for track in self.score.tracks:
            new.tracks.append(symusic.Track(track.name, track.program, track.is_drum))
        for track_index, track in zip(self.track_order, decoded.tracks, strict=True):
            target = new.tracks[track_index]
            for note in track.notes:
                if note.time >= start:
                    onset = self.to_ticks(note.time - start)
                    offset = self.to_ticks(min(note.time + note.duration, end) - start)
                    duration = max(1, offset - onset)
                    target.notes.append(symusic.Note(onset, duration, note.pitch, note.velocity))
            for control in track.controls:
                if control.time >= start:
                    tick = self.to_ticks(control.time - start)
                    target.controls.append(
                        symusic.ControlChange(tick, control.number, control.value)
                    )
        return new

    def to_ticks(self, steps: int) -> int:
        """Convert grid steps to ticks of the prompt, rounded to the nearest."""
        steps_per_quarter = self.tokenizer.vocabulary.steps_per_quarter
        return round(float(steps * self.score.ticks_per_quarter / steps_per_quarter))

    def _add_timing(self, new: "symusic.Score", decoded: "symusic.Score", start: int) -> None:
        """Add the tempo and time signature at step `start`, then all later changes."""
        import symusic

        # The prompt's tempo is exact; the decoded one is rounded to the vocabulary.
        tempo = _last_event(self.score.tempos, self.continuation_start)
        new.tempos.append(symusic.Tempo(0, mspq=tempo.mspq if tempo else 500_000))
        signature = _last_event(decoded.time_signatures, start)
        numerator, denominator = (
            (signature.numerator, signature.denominator) if signature else (4, 4)
        )
        new.time_signatures.append(symusic.TimeSignature(0, numerator, denominator))
        for tempo in decoded.tempos:
            if tempo.time > start:
                tick = self.to_ticks(tempo.time - start)
                new.tempos.append(symusic.Tempo(tick, mspq=tempo.mspq))
        for signature in decoded.time_signatures:
            if signature.time > start:
                tick = self.to_ticks(signature.time - start)
                new.time_signatures.append(
                    symusic.TimeSignature(tick, signature.numerator, signature.denominator)
                )


def _last_event(events: Any, tick: int) -> Any:  # noqa: ANN401 - symusic's event lists
    """Return the last event at or before a tick; None if there is none."""
    before = [event for event in events if event.time <= tick]
    return max(before, key=lambda event: event.time) if before else None


def continuation_start(score: "symusic.Score", bars_with_onsets: int) -> tuple[int, int]:
    """Return the index of the bar at which the continuation begins, and its tick.

    It is the bar after the last onset, or after the last sound if that ends more than
    `_OVERHANG_QUARTERS` later.
    """
    from rwkv_music.score import bar_starts
    from rwkv_music.score.timing import last_offset

    starts = bar_starts(score)
    end = last_offset(score) - int(_OVERHANG_QUARTERS * score.ticks_per_quarter)
    bar = max(bars_with_onsets, int(np.searchsorted(starts, end)))
    bar = min(bar, len(starts) - 1)
    return bar, int(starts[bar])
