"""`continue_score`: add bars to a score, in several versions.

The prompt's notes are returned unchanged; the new bars begin at a bar line.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt16

from rwkv_music.generation.engine import (
    BarsBehind,
    Batch,
    Candidate,
    PrefixState,
    as_array,
    candidate_seed,
    prefill,
)
from rwkv_music.generation.generation_settings import ContinuationSettings, SamplingSettings
from rwkv_music.generation.sampling import RandomStream
from rwkv_music.model import MusicModel, Style
from rwkv_music.tokenizer import Grammar, Tokenizer

if TYPE_CHECKING:
    import symusic

_OVERHANG_QUARTERS = 0.25
"""A last note may sound this far into the next bar before that bar belongs to the prompt."""


@dataclass(frozen=True)
class Continuation:
    """One continuation of a prompt."""

    score: "symusic.Score"
    """The prompt followed by the new bars."""
    new: "symusic.Score"
    """The new bars alone, beginning at tick 0."""
    continuation_start: int
    """Tick at which the new bars begin in `score`."""
    nats: float
    """Sum of -ln p over the new tokens, without mask and temperature."""
    tokens: UInt16[np.ndarray, " tokens"]
    """The new tokens, beginning with BAR."""
    seed: int
    """The same call with this seed and `candidates=1` reproduces this continuation."""


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
        model: A model with known tokenizer settings, such as `load_model` returns.
        score: The prompt: a score, a path, a pretty_midi object or a music21 stream. If it ends
            inside a bar, the continuation begins at the next bar line.
        bars: Number of bars to add.
        candidates: Number of continuations, generated in one batch.
        temperature: Logits are divided by it; 0 takes the most likely token each time.
        top_p: Sample from the most likely tokens that add up to this probability.
        top_k: Sample from this many of the most likely tokens; from all when None.
        seed: Seed of the first candidate; the others count up from it. A candidate does not depend
            on the number of candidates.
        precision: Precision of the model's matrices while decoding: "float32", or the faster
            "bfloat16" and "int8", which change the logits slightly (see `Decoder`). Their rounding
            may make a candidate depend on the number of candidates.
        style: Initial state from `load_style`; `style.scaled` sets its strength.
        on_bar: Called after each step with the number of new bars that every candidate has
            completed.
        should_stop: Called after each token; True ends generation with the tokens so far.

    Returns:
        The candidates, in order of their seeds.

    Raises:
        InputError: If a number is out of range, the prompt cannot be read, or the model's tokenizer
            is unknown.

    Example:
        >>> for piece in continue_score(load_model("bach"), "prompt.mid", bars=2):
        ...     save_score(piece.score, f"{piece.seed}.mid")  # doctest: +SKIP
    """
    from rwkv_music.score import to_score

    ContinuationSettings(bars=bars, candidates=candidates, seed=seed)
    settings = SamplingSettings(temperature=temperature, top_p=top_p, top_k=top_k)
    prompt = _Prompt(to_score(score), model.tokenizer)
    model.network.eval()
    decoder = model.decoder(precision)
    logits, state = prefill(decoder, prompt.ids, None if style is None else style.state(model))
    batch = Batch(
        decoder,
        PrefixState(as_array(logits)[0], state, prompt.grammar),
        [
            Candidate(
                prompt.grammar.copy(),
                RandomStream(candidate_seed(seed, index)),
                candidate_seed(seed, index),
            )
            for index in range(candidates)
        ],
        BarsBehind(prompt.grammar.bars + bars),
        settings,
        first=prompt.grammar.vocabulary.BAR,
    )
    for _ in batch.steps():
        if on_bar is not None:
            on_bar(min(each.grammar.bars for each in batch.candidates) - prompt.grammar.bars - 1)
        if should_stop is not None and should_stop():
            break
    return [prompt.continued_by(candidate) for candidate in batch.candidates]


class _Prompt:
    """A prompt as tokens, and the conversion of new tokens into the bars after it."""

    def __init__(self, score: "symusic.Score", tokenizer: Tokenizer) -> None:
        self.score = score
        self.tokenizer = tokenizer
        whole = tokenizer.encode(score)[:-1]
        bars, self.continuation_start = _continuation_start(score, tokenizer.num_bars(whole))
        empty = [tokenizer.vocabulary.BAR] * (bars - tokenizer.num_bars(whole))
        self.ids = np.concatenate([whole, np.array(empty, dtype=np.uint16)])
        self.grammar: Grammar = tokenizer.grammar()
        self.grammar.feed(self.ids, check=False)
        self._track_order = tokenizer.part_order(score)

    def continued_by(self, candidate: Candidate) -> Continuation:
        """Return the prompt continued by a candidate's tokens."""
        from rwkv_music.score import splice

        tokens = np.array(candidate.tokens, dtype=np.uint16)
        new = self._new_bars(tokens, end=candidate.grammar.bar_end)
        return Continuation(
            score=splice(self.score, new, self.continuation_start),
            new=new,
            continuation_start=self.continuation_start,
            nats=candidate.nats,
            tokens=tokens,
            seed=candidate.seed,
        )

    def _new_bars(self, tokens: UInt16[np.ndarray, " new"], *, end: int) -> "symusic.Score":
        """Return the new bars in the prompt's ticks; notes end at step `end` at the latest."""
        import symusic

        start = self.grammar.bar_end
        decoded = self.tokenizer.decode(np.concatenate([self.ids, tokens]))
        new = symusic.Score(self.score.ticks_per_quarter)
        self._add_timing(new, decoded, start)
        for track in self.score.tracks:
            new.tracks.append(symusic.Track(track.name, track.program, track.is_drum))
        for track_index, track in zip(self._track_order, decoded.tracks, strict=True):
            target = new.tracks[track_index]
            for note in track.notes:
                if note.time >= start:
                    onset = self._ticks(note.time - start)
                    offset = self._ticks(min(note.time + note.duration, end) - start)
                    duration = max(1, offset - onset)
                    target.notes.append(symusic.Note(onset, duration, note.pitch, note.velocity))
            for control in track.controls:
                if control.time >= start:
                    tick = self._ticks(control.time - start)
                    target.controls.append(
                        symusic.ControlChange(tick, control.number, control.value)
                    )
        return new

    def _ticks(self, steps: int) -> int:
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
                tick = self._ticks(tempo.time - start)
                new.tempos.append(symusic.Tempo(tick, mspq=tempo.mspq))
        for signature in decoded.time_signatures:
            if signature.time > start:
                tick = self._ticks(signature.time - start)
                new.time_signatures.append(
                    symusic.TimeSignature(tick, signature.numerator, signature.denominator)
                )


def _last_event(events: Any, tick: int) -> Any:  # noqa: ANN401 - symusic's event lists
    """Return the last event at or before a tick; None if there is none."""
    before = [event for event in events if event.time <= tick]
    return max(before, key=lambda event: event.time) if before else None


def _continuation_start(score: "symusic.Score", bars_with_onsets: int) -> tuple[int, int]:
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
