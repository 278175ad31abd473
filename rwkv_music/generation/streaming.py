"""`stream`: new notes and bar lines of all candidates while they are sampled."""

from collections import Counter
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from rwkv_music.generation.continuation import Continuation, as_continuation, begin
from rwkv_music.generation.hole_filling import Filling, as_filling, begin_filling
from rwkv_music.generation.prompts.hole_prompt import HolePrompt
from rwkv_music.generation.prompts.prompt import Prompt
from rwkv_music.generation.request.request import Request
from rwkv_music.generation.sampling.candidate import Candidate
from rwkv_music.generation.sampling.engine import CandidateBatch
from rwkv_music.generation.sampling.prefix_cache import PrefixCache
from rwkv_music.model import MusicModel, Style
from rwkv_music.tokenizer import TokenType

_MORE_ROUNDS = 3
"""So often silent versions of a hole are replaced."""


@dataclass(frozen=True)
class NewNote:
    """A note that was just sampled. Times are ticks of the score, from the first new bar on."""

    candidate: int
    """Its seed minus the first candidate's: 0, 1, 2 and so on."""
    track: int
    """Index of the track in the result."""
    time: int
    """Onset."""
    duration: int
    """May be shortened at the end of the last bar."""
    pitch: int
    velocity: int


@dataclass(frozen=True)
class BarEnd:
    """A candidate has completed a bar: no more notes will begin in it."""

    candidate: int
    """Its seed minus the first candidate's."""
    bars: int
    """Number of new bars that are complete."""
    time: int
    """Tick at which the bar ends, from the first new bar on."""


class Stream:
    """Iterator over the events of all candidates; `close` cancels generation within one token.

    Versions of a hole without a single note are replaced by the next seeds', a few times at most.

    Args:
        model: A model with known tokenizer settings; one that knows holes if the request has one.
        score: The prompt, or the score with the bars to write: whatever `to_score` converts.
        request: What is asked for.
        style: Initial state from `load_style`.
        prefixes: Knows what was read before; see `Session.stream`.

    Raises:
        InputError: As `continue_score` and `fill_score`.

    Example:
        events = stream(load_model(), "song.mid", Request(bars=(5, 8), parts=["Bass"]))
        for event in events:
            print(event)
        pieces = events.results()
    """

    def __init__(
        self,
        model: MusicModel,
        score: Any,  # noqa: ANN401 - whatever to_score takes
        request: Request,
        *,
        style: Style | None = None,
        prefixes: PrefixCache | None = None,
    ) -> None:
        from rwkv_music.score import to_score

        self._request = request
        self._prompt = _prompt_of(model, to_score(score), request)
        self._begin = partial(_begin, model, self._prompt, style=style, prefixes=prefixes)
        self._batch = self._begin(request)
        self._candidates = list(self._batch.candidates)
        self._num_notes = Counter[int]()
        """Notes so far of the candidates, by seed."""
        self._events = self._run()

    def __iter__(self) -> "Stream":
        return self

    def __next__(self) -> NewNote | BarEnd:
        return next(self._events)

    def close(self) -> None:
        """Stop sampling; what is complete can still be read from `results`."""
        self._events.close()

    def results(self, *, whole_bars: bool = True) -> list[Continuation | Filling]:
        """Return what each candidate has so far, as `continue_score` or `fill_score` would.

        Args:
            whole_bars: Whether to leave out the bar that is not complete, as for holes always. A
                candidate without a complete bar has `num_bars` 0 then.
        """
        prompt = self._prompt
        if isinstance(prompt, Prompt):
            return [
                as_continuation(prompt, candidate, whole_bars=whole_bars)
                for candidate in self._candidates
            ]
        newest = self._candidates[-len(self._batch.candidates) :]
        kept = [
            candidate
            for candidate in self._candidates
            if candidate in newest or not self._is_silent(candidate)
        ]
        return [as_filling(prompt, candidate, self._request.keep) for candidate in kept]

    def _run(self) -> Generator[NewNote | BarEnd, None, None]:
        yield from self._run_batch()
        for _ in range(_MORE_ROUNDS if isinstance(self._prompt, HolePrompt) else 0):
            num_silent = sum(map(self._is_silent, self._batch.candidates))
            if not num_silent:
                return
            next_seed = self._candidates[-1].seed + 1
            self._batch = self._begin(replace(self._request, candidates=num_silent, seed=next_seed))
            self._candidates += self._batch.candidates
            yield from self._run_batch()

    def _run_batch(self) -> Generator[NewNote | BarEnd, None, None]:
        steps = self._batch.steps()
        reported: set[int] = set()
        try:
            for step in steps:
                yield from self._ended(reported)
                for index, token in step:
                    candidate = self._batch.candidates[index]
                    if candidate.newest_is_given:
                        continue
                    if candidate.grammar.last_type is TokenType.DUR:
                        self._num_notes[candidate.seed] += 1
                        yield self._note(candidate, token)
                    elif token == candidate.grammar.vocabulary.BAR:
                        yield from self._bar_end(candidate, candidate.grammar.bar_start, 0)
            yield from self._ended(reported)
        finally:
            steps.close()

    def _ended(self, reported: set[int]) -> Iterator[BarEnd]:
        """Report the last bar of candidates that have become complete."""
        for candidate in self._batch.candidates:
            if candidate.is_complete and candidate.seed not in reported:
                reported.add(candidate.seed)
                yield from self._bar_end(candidate, candidate.grammar.bar_end, 1)

    def _bar_end(self, candidate: Candidate, step: int, begun: int) -> Iterator[BarEnd]:
        bars = candidate.grammar.bars - self._prompt.first_bar + begun
        if bars:
            yield BarEnd(self._number(candidate), bars, self._to_ticks(step))

    def _is_silent(self, candidate: Candidate) -> bool:
        return candidate.is_complete and not self._num_notes[candidate.seed]

    def _number(self, candidate: Candidate) -> int:
        return candidate.seed - self._request.seed

    def _note(self, candidate: Candidate, token: int) -> NewNote:
        grammar = candidate.grammar
        vocabulary = grammar.vocabulary
        steps = int(vocabulary.durations[token - vocabulary.duration.start])
        onset = self._to_ticks(grammar.time)
        return NewNote(
            self._number(candidate),
            self._prompt.track_of(grammar.part or 0),
            onset,
            max(1, self._to_ticks(grammar.time + steps) - onset),
            grammar.pitch,
            int(vocabulary.velocity_value(np.array([grammar.level]))[0]),
        )

    def _to_ticks(self, step: int) -> int:
        """Convert a grid step of the grammar to ticks from the first new bar on."""
        return self._prompt.to_ticks(step - self._prompt.first_step)


def _prompt_of(model: MusicModel, score: Any, request: Request) -> Prompt | HolePrompt:  # noqa: ANN401 - symusic.Score is no class
    if not request.is_hole:
        return Prompt(score, model.tokenizer)
    return HolePrompt.of(
        score,
        model.tokenizer,
        bars=request.bars,
        parts=request.parts,
        controls=request.controls,
    )


def _begin(
    model: MusicModel,
    prompt: Prompt | HolePrompt,
    request: Request,
    *,
    style: Style | None,
    prefixes: PrefixCache | None,
) -> CandidateBatch:
    if isinstance(prompt, Prompt):
        return begin(model, prompt, request, style=style, prefixes=prefixes)
    return begin_filling(model, prompt, request, style=style, prefixes=prefixes)


def stream(
    model: MusicModel,
    score: Any,  # noqa: ANN401 - whatever to_score takes
    request: Request | None = None,
    *,
    style: Style | None = None,
) -> Stream:
    """Write music and return the new notes and bar ends as an iterator.

    The notes are those of `continue_score` or `fill_score` with the same settings.

    Args:
        model: A model with known tokenizer settings.
        score: The score, as for `continue_score` and `fill_score`.
        request: What is asked for; the defaults of `Request` when None.
        style: Initial state from `load_style`.

    Raises:
        InputError: As `continue_score` and `fill_score`.

    Example:
        >>> for event in stream(load_model("pop"), "prompt.mid", Request(bars=2)):
        ...     print(event)  # doctest: +SKIP
    """
    return Stream(model, score, request or Request(), style=style)
