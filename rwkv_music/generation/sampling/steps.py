"""What happens to all candidates of a batch in one step; `PythonSteps` is the reference."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float32

from rwkv_music.generation.request.generation_settings import SamplingSettings
from rwkv_music.generation.sampling.candidate import Candidate
from rwkv_music.generation.sampling.endings import Ending
from rwkv_music.generation.sampling.prefill import as_array
from rwkv_music.generation.sampling.sampler import SAMPLED, Choices, TokenSampler
from rwkv_music.model import Decoder, DecoderState


class Steps(Protocol):
    """Chooses the next tokens of candidates and reads them."""

    logits: Float32[np.ndarray, "B V"]
    """Of the next tokens, as long as the chosen ones are not read."""
    state: DecoderState
    """Of the decoder, as long as the chosen tokens are not read."""

    def choose(self, given: Sequence[int]) -> Choices:
        """Choose a token of each candidate.

        Args:
            given: Token of each candidate that is not to be sampled, else `SAMPLED`.
        """

    def keep(self, rows: Sequence[int]) -> None:
        """Continue with some of the candidates only."""

    def read(self) -> None:
        """Read the chosen tokens, unless `choose` has done so."""


class PythonSteps:
    """Steps on any device, with any rules.

    Args:
        decoder: Decoder of the model.
        settings: Temperature, top-p, top-k.
        candidates: The candidates; their grammars are not changed.
        ending: Decides when a candidate is complete.
        logits: Logits of the first token of each.
        state: State of each; changed in place.
    """

    def __init__(
        self,
        decoder: Decoder,
        settings: SamplingSettings,
        candidates: Sequence[Candidate],
        ending: Ending,
        logits: Float32[np.ndarray, "B V"],
        state: DecoderState,
    ) -> None:
        self.logits, self.state = logits, state
        self._decoder = decoder
        self._ending = ending
        self._candidates = list(candidates)
        self._tokens: list[int] = []
        streams = [candidate.stream for candidate in candidates]
        self._sampler = TokenSampler(settings, streams, logits.shape[1])

    def choose(self, given: Sequence[int]) -> Choices:
        """Choose a token of each candidate; see `Steps`."""
        for row, candidate in enumerate(self._candidates):
            if given[row] == SAMPLED:
                self._write_masks(row, candidate)
        chosen = self._sampler.sample(self.logits, given)
        for row, (candidate, token) in enumerate(zip(self._candidates, chosen.tokens, strict=True)):
            is_sampled = given[row] == SAMPLED
            chosen.is_ended[row] = is_sampled and self._ending.is_complete(candidate, token)
            if not chosen.is_ended[row]:
                for rule in candidate.rules:
                    rule.observe(candidate.grammar, token)
        self._tokens = chosen.tokens
        return chosen

    def keep(self, rows: Sequence[int]) -> None:
        """Continue with some of the candidates only."""
        self._candidates = [self._candidates[row] for row in rows]
        self._tokens = [self._tokens[row] for row in rows]
        self._sampler = self._sampler.select(rows)
        self.state = self.state.select(rows)

    def read(self) -> None:
        """Read the chosen tokens."""
        self.logits = as_array(self._decoder.step(torch.tensor(self._tokens), self.state))

    def _write_masks(self, row: int, candidate: Candidate) -> None:
        mask = candidate.grammar.allowed()
        self._ending.restrict(candidate, mask)
        self._sampler.legal[row] = mask
        for rule in candidate.rules:
            rule.restrict(candidate.grammar, mask)
        self._sampler.allowed[row] = mask
