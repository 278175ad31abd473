"""Token by token: the prompt is read at once, then each candidate grows by recurrent steps.

The state has one size whatever its past, so that time and memory per token are constant.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Integer
from torch import Tensor

from rwkv_music.errors import InputError
from rwkv_music.generation.sampling import SamplingSettings, sample_tokens
from rwkv_music.model import Decoder, DecoderState, ModelState
from rwkv_music.tokenizer import Grammar

PREFILL_CHUNK = 1024
MAX_TOKENS_PER_BAR = 1024
"""A bar longer than this is closed as soon as the grammar allows it, so that nothing hangs."""


@dataclass
class Candidate:
    """One continuation while it grows."""

    grammar: Grammar
    generator: torch.Generator
    seed: int
    tokens: list[int] = field(default_factory=list)
    nats: float = 0.0
    tokens_in_bar: int = 0


def prefill(
    decoder: Decoder, ids: Integer[np.ndarray, " tokens"], start: ModelState | None = None
) -> tuple[Float[Tensor, "1 V"], DecoderState]:
    """Read a prompt of any length in chunks.

    Args:
        decoder: Of the model.
        ids: The prompt.
        start: The state before it, of one sequence: a style's, or nothing when None.

    Returns:
        Logits of the token after it, and the state.

    Raises:
        InputError: If the prompt has no tokens.
    """
    if not len(ids):
        raise InputError("the prompt has no tokens: give one with at least a header")
    tokens = torch.from_numpy(ids.astype(np.int64)).unsqueeze(0)
    state = decoder.new_state() if start is None else DecoderState.from_model_state(start)
    for chunk in tokens.split(PREFILL_CHUNK, dim=1):
        logits = decoder.prefill(chunk, state)
    return logits, state


def candidate_seed(seed: int, place: int) -> int:
    """The seed of candidate number `place`; the first one has the seed itself."""
    return seed + place


@torch.inference_mode()
def generate(
    decoder: Decoder,
    prompt: Integer[np.ndarray, " tokens"],
    grammar: Grammar,
    *,
    bars: int,
    seeds: Sequence[int],
    settings: SamplingSettings,
    start: ModelState | None = None,
    on_bar: Callable[[int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> list[Candidate]:
    """Continue a prompt by whole bars, several candidates at once.

    Each candidate gets the first BAR as given, and ends where the BAR after its last bar, or EOS,
    would come: that token is not part of it. Its nats are those of the bare model, without mask and
    temperature.

    Args:
        decoder: Of the model.
        prompt: Token ids up to the seam.
        grammar: The state after the prompt; it is not changed.
        bars: Bars to add.
        seeds: One per candidate.
        settings: How to sample.
        start: The state before the prompt, of one sequence; nothing when None.
        on_bar: Told, after each step, how many new bars every candidate has completed.
        should_stop: Asked at each step; True leaves the candidates as they are.
    """
    vocabulary = grammar.vocabulary
    logits, state = prefill(decoder, prompt, start)
    everyone = [
        Candidate(grammar.copy(), torch.Generator().manual_seed(seed), seed) for seed in seeds
    ]
    growing = list(everyone)
    last = grammar.bars + bars
    logits, state = logits.expand(len(growing), -1), state.select([0] * len(growing))
    chosen = [vocabulary.BAR] * len(growing)
    while growing:
        _take(growing, chosen, logits)
        logits = decoder.step(torch.tensor(chosen), state)
        if should_stop is not None and should_stop():
            break
        masks = torch.from_numpy(np.stack([logits_mask(each, last) for each in growing]))
        drawn = sample_tokens(logits, masks, settings, [each.generator for each in growing])
        chosen = drawn.tolist()
        stays = [
            row
            for row, (each, token) in enumerate(zip(growing, chosen, strict=True))
            if token != vocabulary.EOS
            and not (token == vocabulary.BAR and each.grammar.bars == last)
        ]
        if on_bar is not None:
            on_bar(min(each.grammar.bars for each in everyone) - grammar.bars - 1)
        if len(stays) < len(growing):
            growing = [growing[row] for row in stays]
            chosen = [chosen[row] for row in stays]
            logits, state = logits[stays], state.select(stays)
    return everyone


def _take(growing: list[Candidate], chosen: list[int], logits: Tensor) -> None:
    """Give each candidate its token, and count what the bare model thought of it."""
    log_probabilities = torch.log_softmax(logits.float(), dim=-1)
    for row, (candidate, token) in enumerate(zip(growing, chosen, strict=True)):
        candidate.grammar.advance(token)
        candidate.tokens.append(token)
        candidate.nats -= float(log_probabilities[row, token])
        is_bar = token == candidate.grammar.vocabulary.BAR
        candidate.tokens_in_bar = 0 if is_bar else candidate.tokens_in_bar + 1


def logits_mask(candidate: Candidate, last_bar: int) -> np.ndarray:
    """What may come next: the piece's end only in the last bar, a bar's end if it is too long."""
    vocabulary = candidate.grammar.vocabulary
    allowed = candidate.grammar.allowed()
    allowed[vocabulary.EOS] &= candidate.grammar.bars == last_bar
    if candidate.tokens_in_bar > MAX_TOKENS_PER_BAR and allowed[vocabulary.BAR]:
        allowed[:] = False
        allowed[vocabulary.BAR] = True
    return allowed
