"""Reading a prompt in parallel."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Integer
from torch import Tensor

from rwkv_music.errors import InputError
from rwkv_music.model import Decoder, DecoderState, ModelState
from rwkv_music.tokenizer import Grammar

PREFILL_CHUNK = 1024


@dataclass(frozen=True)
class PrefixState:
    """What the model and the grammar know after reading the tokens of a prompt."""

    logits: Float32[np.ndarray, " V"]
    """Logits of the next token."""
    state: DecoderState
    """State of one sequence; not changed."""
    grammar: Grammar
    """Not changed."""


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
