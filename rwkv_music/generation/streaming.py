"""`stream`: new notes and bar lines of all candidates while they are sampled."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from rwkv_music.generation.continuation import Continuation, as_continuation, begin
from rwkv_music.generation.prompts.prompt import Prompt
from rwkv_music.generation.request.request import Request
from rwkv_music.generation.sampling.prefix_cache import PrefixCache
from rwkv_music.model import MusicModel, Style
from rwkv_music.tokenizer import TokenType


@dataclass(frozen=True)
class NewNote:
    """A note that was just sampled. Times are ticks of the prompt, from the first new bar on."""

    candidate: int
    """Index of the candidate."""
    track: int
    """Index of the track in the prompt."""
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
    """Index of the candidate."""
    bars: int
    """Number of new bars that are complete."""
    time: int
    """Tick at which the bar ends, from the first new bar on."""


class Stream:
    """Iterator over the events of all candidates; `close` cancels generation within one token.

    Args:
        model: A model with known tokenizer settings.
        score: The prompt, as for `continue_score`.
        request: What is asked for.
        style: Initial state from `load_style`.
        prefixes: Knows what was read before; see `Session.stream`.

    Raises:
        InputError: As `continue_score`.

    Example:
        events = stream(load_model("pop"), "prompt.mid", Request(bars=4))
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

        self._prompt = Prompt(to_score(score), model.tokenizer)
        self._batch = begin(model, self._prompt, request, style=style, prefixes=prefixes)
        self._complete: set[int] = set()
        self._events = self._run()

    def __iter__(self) -> "Stream":
        return self

    def __next__(self) -> NewNote | BarEnd:
        return next(self._events)

    def close(self) -> None:
        """Stop sampling; what is complete can still be read from `results`."""
        self._events.close()

    def results(self, *, whole_bars: bool = True) -> list[Continuation]:
        """Return what each candidate has so far, as `continue_score` would.

        Args:
            whole_bars: Whether to leave out the bar that is not complete. A candidate without a
                complete bar has no tokens then.
        """
        return [
            as_continuation(self._prompt, candidate, whole_bars=whole_bars)
            for candidate in self._batch.candidates
        ]

    def _run(self) -> Generator[NewNote | BarEnd, None, None]:
        steps = self._batch.steps()
        try:
            for step in steps:
                yield from self._ended()
                for index, token in step:
                    grammar = self._batch.candidates[index].grammar
                    if grammar.last_type is TokenType.DUR:
                        yield self._note(index, token)
                    elif token == grammar.vocabulary.BAR:
                        bars = grammar.bars - self._prompt.grammar.bars - 1
                        if bars:
                            yield BarEnd(index, bars, self._to_ticks(grammar.bar_start))
            yield from self._ended()
        finally:
            steps.close()

    def _ended(self) -> Iterator[BarEnd]:
        """Report the last bar of candidates that have become complete."""
        for index, candidate in enumerate(self._batch.candidates):
            if candidate.is_complete and index not in self._complete:
                self._complete.add(index)
                bars = candidate.grammar.bars - self._prompt.grammar.bars
                yield BarEnd(index, bars, self._to_ticks(candidate.grammar.bar_end))

    def _note(self, index: int, token: int) -> NewNote:
        grammar = self._batch.candidates[index].grammar
        vocabulary = grammar.vocabulary
        steps = int(vocabulary.durations[token - vocabulary.duration.start])
        onset = self._to_ticks(grammar.time)
        return NewNote(
            index,
            self._prompt.track_order[grammar.part or 0],
            onset,
            max(1, self._to_ticks(grammar.time + steps) - onset),
            grammar.pitch,
            int(vocabulary.velocity_value(np.array([grammar.level]))[0]),
        )

    def _to_ticks(self, step: int) -> int:
        """Convert a grid step of the whole stream to ticks from the first new bar on."""
        return self._prompt.to_ticks(step - self._prompt.grammar.bar_end)


def stream(
    model: MusicModel,
    score: Any,  # noqa: ANN401 - whatever to_score takes
    request: Request | None = None,
    *,
    style: Style | None = None,
) -> Stream:
    """Continue a score and return the new notes and bar ends as an iterator.

    The notes are those of `continue_score` with the same settings.

    Args:
        model: A model with known tokenizer settings.
        score: The prompt, as for `continue_score`.
        request: What is asked for; the defaults of `Request` when None.
        style: Initial state from `load_style`.

    Raises:
        InputError: As `continue_score`.

    Example:
        >>> for event in stream(load_model("pop"), "prompt.mid", Request(bars=2)):
        ...     print(event)  # doctest: +SKIP
    """
    return Stream(model, score, request or Request(), style=style)
