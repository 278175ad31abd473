"""Generation: read the prompt in parallel, then sample candidates token by token, in one batch.

The recurrent state has a fixed size, so that time and memory per token are constant.
"""

from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Integer
from torch import Tensor

from rwkv_music.errors import InputError
from rwkv_music.generation.request.generation_settings import SamplingSettings
from rwkv_music.generation.sampling.sampler import (
    SAMPLED,
    Choices,
    RandomStream,
    TokenSampler,
)
from rwkv_music.model import Decoder, DecoderState, ModelState
from rwkv_music.tokenizer import Grammar

PREFILL_CHUNK = 1024
MAX_TOKENS_PER_BAR = 1024
"""A longer bar is ended as soon as the grammar allows it, so that generation terminates."""


@runtime_checkable
class TokenRule(Protocol):
    """A restriction of one candidate's next tokens, on top of the grammar."""

    def restrict(self, grammar: Grammar, mask: Bool[np.ndarray, " vocab"]) -> None:
        """Clear the entries of tokens that may not come next; at least one must stay."""

    def observe(self, grammar: Grammar, token: int) -> None:
        """Take note of a token that was chosen; the grammar is still in the state before it."""


@dataclass(frozen=True)
class PrefixState:
    """What the model and the grammar know after reading the tokens of a prompt."""

    logits: Float32[np.ndarray, " V"]
    """Logits of the next token."""
    state: DecoderState
    """State of one sequence; not changed."""
    grammar: Grammar
    """Not changed."""


@dataclass
class Candidate:
    """One continuation while it is generated."""

    grammar: Grammar
    stream: RandomStream
    seed: int
    rules: Sequence[TokenRule] = ()
    tokens: list[int] = field(default_factory=list)
    token_nats: list[float] = field(default_factory=list)
    """-ln p of each token, without masks and temperature."""
    removed: list[float] = field(default_factory=list)
    """For each token, the probability of what the grammar allowed and the rules did not."""
    tokens_in_bar: int = 0
    is_complete: bool = False
    given_behind_bars: Sequence[Sequence[int]] = ()
    """Tokens that follow the first, second .. BAR of the candidate and are not sampled: what is
    given in a bar of a hole."""
    given: deque[int] = field(default_factory=deque)
    """Tokens that come next and are not sampled."""

    @property
    def nats(self) -> float:
        """Sum of -ln p over the tokens."""
        return sum(self.token_nats)

    def take(self, token: int, *, nats: float, removed: float) -> None:
        """Append a token."""
        for rule in self.rules:
            rule.observe(self.grammar, token)
        self.grammar.take(token)
        self.tokens.append(token)
        self.token_nats.append(nats)
        self.removed.append(removed)
        is_bar = token == self.grammar.vocabulary.BAR
        self.tokens_in_bar = 0 if is_bar else self.tokens_in_bar + 1
        if is_bar and self.given_behind_bars:
            run, *self.given_behind_bars = self.given_behind_bars
            self.given.extend(run)


@runtime_checkable
class Ending(Protocol):
    """Decides when a candidate is complete."""

    def restrict(self, candidate: Candidate, mask: Bool[np.ndarray, " vocab"]) -> None:
        """Clear the entries of tokens that would end the candidate too early or too late."""

    def is_complete(self, candidate: Candidate, token: int) -> bool:
        """Whether a chosen token, which is not part of the candidate, ends it."""


@dataclass(frozen=True)
class BarsBehind:
    """Ends a candidate before the BAR after its last bar, or before EOS.

    Args:
        last_bar: Number of bars, with those of the prompt.
    """

    last_bar: int

    def restrict(self, candidate: Candidate, mask: Bool[np.ndarray, " vocab"]) -> None:
        """Allow EOS only in the last bar, and only BAR in a bar that is too long."""
        vocabulary = candidate.grammar.vocabulary
        if mask[vocabulary.EOS]:
            mask[vocabulary.EOS] = candidate.grammar.bars == self.last_bar
        if candidate.tokens_in_bar > MAX_TOKENS_PER_BAR and mask[vocabulary.BAR]:
            mask[:] = False
            mask[vocabulary.BAR] = True

    def is_complete(self, candidate: Candidate, token: int) -> bool:
        """Whether the token is EOS, or the BAR behind the last bar."""
        vocabulary = candidate.grammar.vocabulary
        return token == vocabulary.EOS or (
            token == vocabulary.BAR and candidate.grammar.bars == self.last_bar
        )


@dataclass(frozen=True)
class EndOfHole:
    """Ends a candidate before EOS, which the grammar allows in the last bar of a hole."""

    def restrict(self, candidate: Candidate, mask: Bool[np.ndarray, " vocab"]) -> None:
        """End a bar that is too long."""
        vocabulary = candidate.grammar.vocabulary
        ends = [vocabulary.BAR, vocabulary.EOS]
        if candidate.tokens_in_bar > MAX_TOKENS_PER_BAR and mask[ends].any():
            can_end = mask[ends]
            mask[:] = False
            mask[ends] = can_end

    def is_complete(self, candidate: Candidate, token: int) -> bool:
        """Whether the token is EOS."""
        return token == candidate.grammar.vocabulary.EOS


def prefill(
    decoder: Decoder, ids: Integer[np.ndarray, " tokens"], start: ModelState | None = None
) -> tuple[Float[Tensor, "1 V"], DecoderState]:
    """Read a prompt of any length in chunks.

    Args:
        decoder: Decoder of the model.
        ids: The prompt.
        start: State of one sequence before the prompt, such as a style's; zeros when None.

    Returns:
        Logits of the token after the prompt, and the state.

    Raises:
        InputError: If the prompt has no tokens.
    """
    if not len(ids):
        raise InputError("the prompt has no tokens: it needs at least a header")
    state = decoder.new_state() if start is None else DecoderState.from_model_state(start)
    return read_tokens(decoder, ids, state), state


def read_tokens(
    decoder: Decoder, ids: Integer[np.ndarray, " tokens"], state: DecoderState
) -> Float[Tensor, "1 V"]:
    """Read tokens in chunks; the state is changed in place. Return the logits after them."""
    tokens = torch.from_numpy(ids.astype(np.int64)).unsqueeze(0)
    for chunk in tokens.split(PREFILL_CHUNK, dim=1):
        logits = decoder.prefill(chunk, state)
    return logits


def as_array(logits: Float[Tensor, "B V"]) -> Float32[np.ndarray, "B V"]:
    """Return logits as a float32 array on the CPU."""
    array: Float32[np.ndarray, "B V"] = logits.float().cpu().numpy()
    return array


class CandidateBatch:
    """Candidates that are sampled together, one token each per step.

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
        self._decoder = decoder
        self._ending = ending
        self._first = first
        self._on_bar_line = on_bar_line
        self._active = list(range(len(self.candidates)))
        streams = [candidate.stream for candidate in self.candidates]
        self._sampler = TokenSampler(settings, streams, len(prefix.logits))
        self._logits = np.repeat(prefix.logits[None], len(self._active), axis=0)
        self._state = prefix.state.select([0] * len(self._active))

    @torch.inference_mode()
    def steps(self) -> Generator[list[tuple[int, int]], None, None]:
        """Yield pairs of a candidate's index and its new token, until all are complete.

        Closing the iterator cancels generation; the candidates keep the tokens so far.
        """
        first = self._first
        while self._active:
            if first is None:
                chosen = self._choose()
            else:
                chosen = self._sampler.sample(self._logits, [first] * len(self._active))
                first = None
            kept_rows = [row for row in range(len(self._active)) if self._extend(row, chosen)]
            if len(kept_rows) < len(self._active):
                self._active = [self._active[row] for row in kept_rows]
                self._state = self._state.select(kept_rows)
                self._sampler = self._sampler.select(kept_rows)
            if kept_rows:
                tokens = [chosen.tokens[row] for row in kept_rows]
                yield list(zip(self._active, tokens, strict=True))
                self._logits = as_array(self._decoder.step(torch.tensor(tokens), self._state))

    def _choose(self) -> Choices:
        """Choose the next token of each candidate."""
        legal, allowed = self._sampler.legal, self._sampler.allowed
        given = [SAMPLED] * len(self._active)
        for row, index in enumerate(self._active):
            candidate = self.candidates[index]
            if candidate.given:
                given[row] = candidate.given[0]
                continue
            mask = candidate.grammar.allowed()
            self._ending.restrict(candidate, mask)
            legal[row] = mask
            for rule in candidate.rules:
                rule.restrict(candidate.grammar, mask)
            allowed[row] = mask
        return self._sampler.sample(self._logits, given)

    def _extend(self, row: int, chosen: Choices) -> bool:
        """Append a candidate's token; return False if the token ends the candidate instead."""
        candidate, token = self.candidates[self._active[row]], chosen.tokens[row]
        if candidate.given:
            candidate.take(candidate.given.popleft(), nats=0.0, removed=0.0)
            return True
        if candidate.tokens or self._first is None:
            candidate.is_complete = self._ending.is_complete(candidate, token)
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
            self._logits[row].copy(), self._state.select([row]), candidate.grammar.copy()
        )
