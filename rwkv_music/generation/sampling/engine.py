"""Generation: sample candidates token by token, in one batch, behind what was read.

The recurrent state has a fixed size, so that time and memory per token are constant.
"""

from collections.abc import Callable, Generator, Sequence
from functools import partial

import numpy as np
import torch

from rwkv_music.generation.request.generation_settings import SamplingSettings
from rwkv_music.generation.sampling.candidate import Candidate
from rwkv_music.generation.sampling.endings import Ending
from rwkv_music.generation.sampling.native_steps import NativeSteps, can_run_natively
from rwkv_music.generation.sampling.prefill import PrefixState
from rwkv_music.generation.sampling.sampler import SAMPLED, Choices
from rwkv_music.generation.sampling.steps import PythonSteps, Steps
from rwkv_music.model import Decoder


class CandidateBatch:
    """Candidates that are sampled together, one token each per step.

    The native library takes a step in one call where it can (`can_run_natively`).

    Args:
        decoder: Decoder of the model.
        prefix: What was read; not changed.
        candidates: One per sequence, each with its own copy of the prefix's grammar.
        ending: Decides when a candidate is complete.
        settings: Temperature, top-p, top-k.
        first: Token that every candidate begins with; sampled like the others when None.
        on_bar_line: Called when a candidate's next token is a BAR or its end, with a function that
            returns what was read so far.
    """

    def __init__(
        self,
        decoder: Decoder,
        prefix: PrefixState,
        candidates: Sequence[Candidate],
        ending: Ending,
        settings: SamplingSettings,
        *,
        first: int | None = None,
        on_bar_line: Callable[[Candidate, Callable[[], PrefixState]], None] | None = None,
    ) -> None:
        self.candidates = list(candidates)
        self._first = first
        self._on_bar_line = on_bar_line
        self._active = list(range(len(self.candidates)))
        logits = np.repeat(prefix.logits[None], len(self._active), axis=0)
        state = prefix.state.select([0] * len(self._active))
        parts = (decoder, settings, self.candidates, ending, logits, state)
        self._steps: Steps
        if can_run_natively(decoder, self.candidates, ending):
            self._steps = NativeSteps(*parts, stops_at_bars=on_bar_line is not None)
        else:
            self._steps = PythonSteps(*parts)

    @torch.inference_mode()
    def steps(self) -> Generator[list[tuple[int, int]], None, None]:
        """Yield pairs of a candidate's index and its new token, until all are complete.

        Closing the iterator cancels generation; the candidates keep the tokens so far.
        """
        while self._active:
            chosen = self._steps.choose(self._given_tokens())
            self._first = None
            kept_rows = [row for row in range(len(self._active)) if self._extend(row, chosen)]
            tokens = [chosen.tokens[row] for row in kept_rows]
            if len(kept_rows) < len(self._active):
                self._active = [self._active[row] for row in kept_rows]
                self._steps.keep(kept_rows)
            if kept_rows:
                yield list(zip(self._active, tokens, strict=True))
                self._steps.read()

    def _given_tokens(self) -> list[int]:
        """Return the next token of each candidate where it is not to be sampled."""
        if self._first is not None:
            return [self._first] * len(self._active)
        given = [SAMPLED] * len(self._active)
        for row, index in enumerate(self._active):
            if self.candidates[index].given:
                given[row] = self.candidates[index].given[0]
        return given

    def _extend(self, row: int, chosen: Choices) -> bool:
        """Append a candidate's token; return False if the token ends the candidate instead."""
        candidate, token = self.candidates[self._active[row]], chosen.tokens[row]
        candidate.newest_is_given = bool(candidate.given)
        if candidate.given:
            candidate.take(candidate.given.popleft(), nats=0.0, removed=0.0)
            return True
        candidate.is_complete = chosen.is_ended[row]
        if self._on_bar_line and (
            candidate.is_complete or token == candidate.grammar.vocabulary.BAR
        ):
            self._on_bar_line(candidate, partial(self._prefix_state, row))
        if not candidate.is_complete:
            candidate.take(token, nats=chosen.nats[row], removed=chosen.removed[row])
        return not candidate.is_complete

    def _prefix_state(self, row: int) -> PrefixState:
        """Return what a sequence has read so far."""
        candidate = self.candidates[self._active[row]]
        return PrefixState(
            self._steps.logits[row].copy(),
            self._steps.state.select([row]),
            candidate.grammar.copy(),
        )
