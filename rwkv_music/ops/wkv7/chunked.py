"""The WKV recurrence in chunks: matrix products instead of a loop over steps.

Inside a chunk the state's changes are written with the decay factored out, which turns the
recurrence into a unit lower-triangular system (README.md in this folder has the derivation). All
chunks are solved at once; only a short loop carries the state from chunk to chunk. Autograd
differentiates through it.

Exact in real arithmetic. Dividing by the decay inside a chunk stays in float32's range at 64 steps,
since a decay is never below 0.545.
"""

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

from rwkv_music.ops.wkv7.decay import log_decay
from rwkv_music.ops.wkv7.reference import Sequence, State

CHUNK = 64


def wkv7_chunked(
    r: Sequence,
    decay_logit: Sequence,
    k: Sequence,
    v: Sequence,
    alpha: Sequence,
    beta: Sequence,
    state: State,
    *,
    chunk: int = CHUNK,
) -> tuple[Sequence, State]:
    """Outputs of all steps and the final state; the same as the reference up to rounding."""
    steps = r.shape[1]
    length = min(chunk, steps)
    decay_log = _in_chunks(log_decay(decay_logit), length)
    r, k, v, alpha, beta = (_in_chunks(each, length) for each in (r, k, v, alpha, beta))

    # Everything relative to the state at the chunk's beginning.
    until = decay_log.cumsum(-2)
    growth = torch.exp(-until)
    reading = torch.cat([alpha * torch.exp(until - decay_log), r * until.exp()], dim=-2)
    writing = torch.cat([beta * growth, k * growth], dim=-2)
    # Tensors are taken apart with split and unbind, whose gradients are put together in one step;
    # the gradient of each slice by index would be a whole tensor of zeros with the slice filled in.
    products = reading @ writing.transpose(-1, -2)
    of_removal, of_output = products.split(length, dim=-2)
    removal, removal_of_values = of_removal.split(length, dim=-1)
    output_of_removals, output_of_values = (each.tril() for each in of_output.split(length, dim=-1))
    alpha_scaled, r_scaled = reading.split(length, dim=-2)

    # (I - removal) [W | U] = [alpha | removal_of_values v]: what is removed is W S^T + U.
    identity = torch.eye(length, dtype=r.dtype, device=r.device)
    known = torch.cat([alpha_scaled, removal_of_values.tril(-1) @ v], dim=-1)
    solved = torch.linalg.solve_triangular(
        identity - removal.tril(-1), known, upper=False, unitriangular=True
    )
    of_state, of_values = solved.chunk(2, dim=-1)

    own = output_of_removals @ of_values + output_of_values @ v
    query = r_scaled + output_of_removals @ of_state
    whole_decay = until.narrow(-2, length - 1, 1).exp()
    removals, values = (writing * whole_decay).split(length, dim=-2)
    carried = of_state.transpose(-1, -2) @ removals
    added = of_values.transpose(-1, -2) @ removals + v.transpose(-1, -2) @ values

    starts = []
    for decay, carry, new in zip(
        whole_decay.unbind(), carried.unbind(), added.unbind(), strict=True
    ):
        starts.append(state)
        state = state * decay + state @ carry + new
    y = own + query @ torch.stack(starts).transpose(-1, -2)
    return _out_of_chunks(y)[:, :steps], state


def _in_chunks(sequence: Tensor, length: int) -> Tensor:
    """[B, T, H, N] -> [chunks, B, H, length, N]; a ragged end is filled with zeros.

    A step of zeros changes nothing: it removes and adds nothing, and a log decay of zero keeps all.
    """
    batch, steps, heads, width = sequence.shape
    missing = -steps % length
    if missing:
        sequence = F.pad(sequence, (0, 0, 0, 0, 0, missing))
    shape = (batch, -1, length, heads, width)
    return sequence.reshape(shape).permute(1, 0, 3, 2, 4).contiguous()


def _out_of_chunks(chunks: Tensor) -> Tensor:
    """[chunks, B, H, length, N] -> [B, T, H, N]."""
    number, batch, heads, length, width = chunks.shape
    return chunks.permute(1, 0, 3, 2, 4).reshape(batch, number * length, heads, width)
