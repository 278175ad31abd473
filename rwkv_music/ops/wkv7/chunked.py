"""The WKV recurrence in chunks: matrix products instead of a loop over steps.

Within a chunk the decay is factored out, which turns the recurrence into a unit lower-triangular
system (derived in README.md in this folder). The systems of all chunks are solved at once; only a
short loop passes the state from chunk to chunk. Autograd differentiates through it.

Exact in real arithmetic. Dividing by the decay within a chunk stays in float32's range, since a
decay is never below 0.545.
"""

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from jaxtyping import Bool, Float
from torch import Tensor

from rwkv_music.ops.wkv7.decay import log_decay
from rwkv_music.ops.wkv7.reference import Sequence, State, recurrence_step

CHUNK = 32
"""Steps of a chunk. Fastest on CPUs, and with smaller rounding errors than 64."""


def wkv7_chunked(
    r: Sequence,
    decay_logit: Sequence,
    k: Sequence,
    v: Sequence,
    alpha: Sequence,
    beta: Sequence,
    state: State,
    resets: Bool[Tensor, "B T"] | None = None,
    *,
    chunk: int = CHUNK,
) -> tuple[Sequence, State]:
    """Return the outputs of all steps and the final state; equal to the reference up to rounding.

    Takes the arguments of `wkv7`, all in one dtype, and `chunk`, the steps of a chunk: at most 128
    in float32, where 0.545 ** -chunk is near the largest value.
    """
    steps = r.shape[1]
    if steps == 1:  # as in generation: a chunk of one step would be slower
        if resets is not None:
            state = state * (~resets).view(-1, 1, 1, 1)
        sequences = (r, log_decay(decay_logit).exp(), k, v, alpha, beta)
        y, state = recurrence_step(state, *(x.squeeze(1) for x in sequences))
        return y.unsqueeze(1), state
    length = min(chunk, steps)
    decay_log = _in_chunks(log_decay(decay_logit), length)
    r, k, v, alpha, beta = (_in_chunks(x, length) for x in (r, k, v, alpha, beta))

    # Sequences relative to the state at the beginning of the chunk.
    cumulative_decay = decay_log.cumsum(-2)
    inverse_decay = torch.exp(-cumulative_decay)
    alpha, r = alpha * torch.exp(cumulative_decay - decay_log), r * cumulative_decay.exp()
    beta, k = beta * inverse_decay, k * inverse_decay

    # U_t = from_state_t S^T + from_values_t, the solution of a system with the matrix I - removal.
    pieces = _Pieces.from_resets(resets, length)
    removal = pieces.within((alpha @ beta.mT).tril(-1))
    identity = torch.eye(length, dtype=r.dtype, device=r.device)
    solution = torch.linalg.solve_triangular(
        identity - removal, identity.expand_as(removal), upper=False, unitriangular=True
    )
    from_state = solution @ pieces.first(alpha)
    from_values = solution @ (pieces.within((alpha @ k.mT).tril(-1)) @ v)

    # Keys relative to the state at the end of the chunk.
    whole_decay = cumulative_decay.narrow(-2, length - 1, 1).exp()
    beta_end = pieces.last(beta * whole_decay)
    added = v.mT @ pieces.last(k * whole_decay)
    whole_decay = pieces.throughout(whole_decay)

    # unbind has one gradient for all slices; indexing would allocate a tensor of zeros per slice.
    per_chunk = (from_state, from_values, beta_end, added, whole_decay)
    starts, removals = [], []
    for from_start, from_value, beta_chunk, added_chunk, decay in zip(
        *(x.unbind() for x in per_chunk), strict=True
    ):
        removed = from_value + from_start @ state.mT
        starts.append(state)
        removals.append(removed)
        state = state * decay + removed.mT @ beta_chunk + added_chunk

    y = pieces.first(r) @ torch.stack(starts).mT
    y = y + pieces.within((r @ beta.mT).tril()) @ torch.stack(removals)
    y = y + pieces.within((r @ k.mT).tril()) @ v
    return _out_of_chunks(y)[:, :steps], state


class _Pieces:
    """The pieces of a chunk between resets.

    Args:
        piece_index: Resets in the chunk up to each step, [chunks, B, 1, length]; None without
            resets.
    """

    def __init__(self, piece_index: Float[Tensor, "chunks B 1 length"] | None) -> None:
        self._piece_index = piece_index

    @classmethod
    def from_resets(cls, resets: Bool[Tensor, "B T"] | None, length: int) -> "_Pieces":
        if resets is None:
            return cls(None)
        marks = _in_chunks(resets.float()[:, :, None, None], length).squeeze(-1)
        return cls(marks.cumsum(-1))

    def within(self, matrix: Tensor) -> Tensor:
        """Keep only entries between steps of one piece."""
        if self._piece_index is None:
            return matrix
        return matrix * (self._piece_index.unsqueeze(-1) == self._piece_index.unsqueeze(-2))

    def first(self, rows: Tensor) -> Tensor:
        """Keep only steps that depend on the state before the chunk."""
        return rows if self._piece_index is None else rows * (self._piece_index == 0).unsqueeze(-1)

    def last(self, rows: Tensor) -> Tensor:
        """Keep only steps that the state after the chunk depends on."""
        if self._piece_index is None:
            return rows
        return rows * (self._piece_index == self._piece_index[..., -1:]).unsqueeze(-1)

    def throughout(self, rows: Tensor) -> Tensor:
        """Keep only chunks without a reset; zeros for the others."""
        if self._piece_index is None:
            return rows
        return rows * (self._piece_index[..., -1:] == 0).unsqueeze(-1)


def _in_chunks(sequence: Tensor, length: int) -> Tensor:
    """[B, T, H, N] -> [chunks, B, H, length, N]; an incomplete chunk is padded with zeros.

    A step of zeros leaves the state unchanged: its log decay is zero.
    """
    batch, steps, heads, head_size = sequence.shape
    padding = -steps % length
    if padding:
        sequence = F.pad(sequence, (0, 0, 0, 0, 0, padding))
    shape = (batch, -1, length, heads, head_size)
    return sequence.reshape(shape).permute(1, 0, 3, 2, 4).contiguous()


def _out_of_chunks(chunks: Tensor) -> Tensor:
    """[chunks, B, H, length, N] -> [B, T, H, N]."""
    num_chunks, batch, heads, length, head_size = chunks.shape
    return chunks.permute(1, 0, 3, 2, 4).reshape(batch, num_chunks * length, heads, head_size)
