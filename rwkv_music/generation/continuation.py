"""`continue_score`: a score in, several continuations out.

The prompt is sacred: its notes return untouched, and the new bars are spliced on at a bar line.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt16

from rwkv_music.errors import InputError
from rwkv_music.generation.engine import Candidate, candidate_seed, generate
from rwkv_music.generation.sampling import SamplingSettings
from rwkv_music.model import Decoder, MusicModel, Style
from rwkv_music.tokenizer import Grammar, Tokenizer

if TYPE_CHECKING:
    import symusic

_OVERHANG_QUARTERS = 0.25
"""A last note may sound this far into the next bar without making it a bar of the prompt."""


@dataclass(frozen=True)
class Continuation:
    """One continuation of a prompt."""

    score: "symusic.Score"
    """Prompt and new bars."""
    new: "symusic.Score"
    """The new bars alone; tick 0 is the seam."""
    continuation_start: int
    """Where the new bars begin in `score`."""
    nats: float
    """Sum of -ln p over the new tokens, under the bare model."""
    tokens: UInt16[np.ndarray, " tokens"]
    """The new tokens, from the BAR at the seam on."""
    seed: int
    """With this seed and one candidate, the same call makes this continuation again."""


def continue_score(
    model: MusicModel,
    score: Any,  # noqa: ANN401 - whatever to_score takes
    *,
    bars: int = 4,
    candidates: int = 3,
    temperature: float = 1.0,
    top_p: float = 0.95,
    top_k: int | None = None,
    seed: int = 0,
    precision: str = "float32",
    style: Style | None = None,
    on_bar: Callable[[int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> list[Continuation]:
    """Continue a score by whole bars.

    Args:
        model: With its tokenizer's settings, as `load_model` gives it.
        score: The prompt: a score, a path, a pretty_midi object or a music21 stream. If it ends
            inside a bar, the continuation begins at the next bar line.
        bars: Bars to add.
        candidates: Continuations to make, all in one batch.
        temperature: Below 1 is safer, above 1 is wilder, 0 takes the likeliest token each time.
        top_p: Sample from the likeliest tokens that add up to this probability.
        top_k: Sample from this many of the likeliest tokens only.
        seed: The first candidate's; the others' follow from it. A candidate does not depend on how
            many there are.
        precision: Of the model's matrices while decoding: "float32", or "bfloat16" or "int8",
            which are faster and change the model a little (see `Decoder`). With these, rounding
            may make a candidate depend on how many there are.
        style: What the model is to begin with, from `load_style`; its strength is set with
            `style.scaled`. None leaves the model as it is.
        on_bar: Told how many new bars every candidate has completed.
        should_stop: Asked at each token; True ends early, with what there is so far.

    Returns:
        The candidates, in order of their seeds.

    Raises:
        InputError: If a number is out of range, the prompt cannot be read, or the model does not
            say which tokenizer it needs.

    Example:
        >>> for piece in continue_score(load_model("bach"), "prompt.mid", bars=2):
        ...     save_score(piece.score, f"{piece.seed}.mid")  # doctest: +SKIP
    """
    from rwkv_music.score import to_score

    for name, value in (("bars", bars), ("candidates", candidates)):
        if value < 1:
            raise InputError(f"{name} must be at least 1, got {value}")
    if seed < 0:
        raise InputError(f"seed must be at least 0, got {seed}")
    settings = SamplingSettings(temperature=temperature, top_p=top_p, top_k=top_k)
    prompt = _Prompt(to_score(score), model.tokenizer)
    model.network.eval()
    generated = generate(
        Decoder(model.network, precision),
        prompt.ids,
        prompt.grammar,
        bars=bars,
        seeds=[candidate_seed(seed, place) for place in range(candidates)],
        settings=settings,
        start=None if style is None else style.state(model),
        on_bar=on_bar,
        should_stop=should_stop,
    )
    return [prompt.continued_by(candidate) for candidate in generated]


class _Prompt:
    """A prompt as tokens up to the seam, and how new tokens become music behind it."""

    def __init__(self, score: "symusic.Score", tokenizer: Tokenizer) -> None:
        self.score = score
        self.tokenizer = tokenizer
        whole = tokenizer.encode(score)[:-1]
        bars, self.continuation_start = _seam(score, tokenizer.num_bars(whole))
        empty = [tokenizer.vocabulary.BAR] * (bars - tokenizer.num_bars(whole))
        self.ids = np.concatenate([whole, np.array(empty, dtype=np.uint16)])
        self.grammar: Grammar = tokenizer.grammar()
        self.grammar.feed(self.ids)
        self._order = tokenizer.part_order(score)

    def continued_by(self, candidate: Candidate) -> Continuation:
        """The candidate's tokens as music behind the prompt."""
        from rwkv_music.score import splice

        tokens = np.array(candidate.tokens, dtype=np.uint16)
        new = self._new_bars(tokens, last_line=candidate.grammar.bar_end)
        return Continuation(
            score=splice(self.score, new, self.continuation_start),
            new=new,
            continuation_start=self.continuation_start,
            nats=candidate.nats,
            tokens=tokens,
            seed=candidate.seed,
        )

    def _new_bars(self, tokens: UInt16[np.ndarray, " new"], *, last_line: int) -> "symusic.Score":
        """The new bars at the prompt's ticks; notes end at the last bar line at the latest."""
        import symusic

        seam = self.grammar.bar_end
        decoded = self.tokenizer.decode(np.concatenate([self.ids, tokens]))
        new = symusic.Score(self.score.ticks_per_quarter)
        self._add_timing(new, decoded, seam)
        for own in self.score.tracks:
            new.tracks.append(symusic.Track(own.name, own.program, own.is_drum))
        for place, track in zip(self._order, decoded.tracks, strict=True):
            target = new.tracks[place]
            for note in track.notes:
                if note.time >= seam:
                    onset = self._ticks(note.time - seam)
                    offset = self._ticks(min(note.time + note.duration, last_line) - seam)
                    duration = max(1, offset - onset)
                    target.notes.append(symusic.Note(onset, duration, note.pitch, note.velocity))
            for control in track.controls:
                if control.time >= seam:
                    tick = self._ticks(control.time - seam)
                    target.controls.append(
                        symusic.ControlChange(tick, control.number, control.value)
                    )
        return new

    def _ticks(self, steps: int) -> int:
        """Grid steps as ticks of the prompt, to the nearest."""
        own, grid = self.score.ticks_per_quarter, self.tokenizer.vocabulary.steps_per_quarter
        return round(float(steps * own / grid))

    def _add_timing(self, new: "symusic.Score", decoded: "symusic.Score", seam: int) -> None:
        """State the tempo and signature in force at the seam, then what changes behind it."""
        import symusic

        # The prompt's own tempo is exact; the decoded one was rounded to the vocabulary's.
        micro = _in_force_at(self.score.tempos, self.continuation_start)
        new.tempos.append(symusic.Tempo(0, mspq=micro.mspq if micro else 500_000))
        sign = _in_force_at(decoded.time_signatures, seam)
        numerator, denominator = (sign.numerator, sign.denominator) if sign else (4, 4)
        new.time_signatures.append(symusic.TimeSignature(0, numerator, denominator))
        for tempo in decoded.tempos:
            if tempo.time > seam:
                tick = self._ticks(tempo.time - seam)
                new.tempos.append(symusic.Tempo(tick, mspq=tempo.mspq))
        for sign in decoded.time_signatures:
            if sign.time > seam:
                tick = self._ticks(sign.time - seam)
                new.time_signatures.append(
                    symusic.TimeSignature(tick, sign.numerator, sign.denominator)
                )


def _in_force_at(events: Any, tick: int) -> Any:  # noqa: ANN401 - symusic's event lists
    """The last event at or before a tick; None if there is none."""
    before = [event for event in events if event.time <= tick]
    return max(before, key=lambda event: event.time) if before else None


def _seam(score: "symusic.Score", bars_with_onsets: int) -> tuple[int, int]:
    """The bar at which the continuation begins, and its tick.

    It is the bar after the last onset, or after the last sound if that is later by more than an
    overhang.
    """
    from rwkv_music.score import bar_starts
    from rwkv_music.score.timing import last_offset

    lines = bar_starts(score)
    end = last_offset(score) - int(_OVERHANG_QUARTERS * score.ticks_per_quarter)
    bar = max(bars_with_onsets, int(np.searchsorted(lines, end)))
    bar = min(bar, len(lines) - 1)
    return bar, int(lines[bar])
