"""Generation: read the prompt in parallel, then sample candidates token by token, in one batch.

The recurrent state has a fixed size, so that time and memory per token are constant.
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
"""A longer bar is ended as soon as the grammar allows it, so that generation terminates."""


@dataclass
class Candidate:
    """One continuation while it is generated."""

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
    tokens = torch.from_numpy(ids.astype(np.int64)).unsqueeze(0)
    state = decoder.new_state() if start is None else DecoderState.from_model_state(start)
    for chunk in tokens.split(PREFILL_CHUNK, dim=1):
        logits = decoder.prefill(chunk, state)
    return logits, state


def candidate_seed(seed: int, index: int) -> int:
    """Return the seed of a candidate; index 0 has `seed` itself."""
    return seed + index


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
    """Continue a prompt by whole bars, in several candidates at once.

    Each candidate begins with a BAR and ends before the BAR after its last bar, or before EOS. Its
    nats are those of the model without mask and temperature.

    Args:
        decoder: Decoder of the model.
        prompt: Token ids of the prompt.
        grammar: State of the grammar after the prompt; not changed.
        bars: Number of bars to add.
        seeds: One per candidate.
        settings: Temperature, top-p, top-k.
        start: State of one sequence before the prompt; zeros when None.
        on_bar: Called after each step with the number of new bars that every candidate has
            completed.
        should_stop: Called after each step; True ends generation.
    """
    vocabulary = grammar.vocabulary
    logits, state = prefill(decoder, prompt, start)
    candidates = [
        Candidate(grammar.copy(), torch.Generator().manual_seed(seed), seed) for seed in seeds
    ]
    active = list(candidates)
    last_bar = grammar.bars + bars
    logits, state = logits.expand(len(active), -1), state.select([0] * len(active))
    chosen = [vocabulary.BAR] * len(active)
    while active:
        _append(active, chosen, logits)
        logits = decoder.step(torch.tensor(chosen), state)
        if should_stop is not None and should_stop():
            break
        masks = torch.from_numpy(np.stack([logits_mask(each, last_bar) for each in active]))
        drawn = sample_tokens(logits, masks, settings, [each.generator for each in active])
        chosen = drawn.tolist()
        kept_rows = [
            row
            for row, (each, token) in enumerate(zip(active, chosen, strict=True))
            if token != vocabulary.EOS
            and not (token == vocabulary.BAR and each.grammar.bars == last_bar)
        ]
        if on_bar is not None:
            on_bar(min(each.grammar.bars for each in candidates) - grammar.bars - 1)
        if len(kept_rows) < len(active):
            active = [active[row] for row in kept_rows]
            chosen = [chosen[row] for row in kept_rows]
            logits, state = logits[kept_rows], state.select(kept_rows)
    return candidates


def _append(active: list[Candidate], chosen: list[int], logits: Tensor) -> None:
    """Append its chosen token to each candidate, and add the model's nats for it."""
    log_probabilities = torch.log_softmax(logits.float(), dim=-1)
    for row, (candidate, token) in enumerate(zip(active, chosen, strict=True)):
        candidate.grammar.advance(token)
        candidate.tokens.append(token)
        candidate.nats -= float(log_probabilities[row, token])
        is_bar = token == candidate.grammar.vocabulary.BAR
        candidate.tokens_in_bar = 0 if is_bar else candidate.tokens_in_bar + 1


def logits_mask(candidate: Candidate, last_bar: int) -> np.ndarray:
    """Return the allowed next tokens: EOS only in the last bar, only BAR in a bar too long."""
    vocabulary = candidate.grammar.vocabulary
    allowed = candidate.grammar.allowed()
    allowed[vocabulary.EOS] &= candidate.grammar.bars == last_bar
    if candidate.tokens_in_bar > MAX_TOKENS_PER_BAR and allowed[vocabulary.BAR]:
        allowed[:] = False
        allowed[vocabulary.BAR] = True
    return allowed
