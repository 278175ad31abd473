"""The WKV recurrence in chunks: matrix products instead of a loop over steps.

Inside a chunk the state's changes are written with the decay factored out, which turns the
recurrence into a unit lower-triangular system (README.md in this folder has the derivation). The
systems of all chunks are solved at once; only a short loop carries the state from chunk to chunk.
Autograd differentiates through it.

Exact in real arithmetic. Dividing by the decay inside a chunk stays in float32's range, since a
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
    """Outputs of all steps and the final state; the same as the reference up to rounding.

    Takes what `wkv7` takes, all in one precision, and `chunk`, the steps of a chunk: at most 128 in
    float32, where 0.545 ** -chunk comes near its largest number.
    """
    steps = r.shape[1]
    if steps == 1:  # as when generating: a chunk of one would be all overhead
        if resets is not None:
            state = state * (~resets).view(-1, 1, 1, 1)
        sequences = (r, log_decay(decay_logit).exp(), k, v, alpha, beta)
        y, state = recurrence_step(state, *(each.squeeze(1) for each in sequences))
        return y.unsqueeze(1), state
    length = min(chunk, steps)
    decay_log = _in_chunks(log_decay(decay_logit), length)
    r, k, v, alpha, beta = (_in_chunks(each, length) for each in (r, k, v, alpha, beta))

    # Everything relative to the state at the chunk's beginning.
    until = decay_log.cumsum(-2)
    growth = torch.exp(-until)
    alpha, r = alpha * torch.exp(until - decay_log), r * until.exp()
    beta, k = beta * growth, k * growth

    # What step t removes is U_t = of_state_t S^T + of_values_t, with (I - removal) as its system.
    pieces = _Pieces.of(resets, length)
    removal = pieces.within((alpha @ beta.mT).tril(-1))
    identity = torch.eye(length, dtype=r.dtype, device=r.device)
    solution = torch.linalg.solve_triangular(
        identity - removal, identity.expand_as(removal), upper=False, unitriangular=True
    )
    of_state = solution @ pieces.first(alpha)
    of_values = solution @ (pieces.within((alpha @ k.mT).tril(-1)) @ v)

    # Everything relative to the state at the chunk's end.
    whole_decay = until.narrow(-2, length - 1, 1).exp()
    beta_end = pieces.last(beta * whole_decay)
    added = v.mT @ pieces.last(k * whole_decay)
    whole_decay = pieces.throughout(whole_decay)

    # Taken apart with unbind, whose gradients are put together in one step; the gradient of each
    # slice by index would be a whole tensor of zeros with the slice filled in.
    of_chunk = (of_state, of_values, beta_end, added, whole_decay)
    starts, removals = [], []
    for of_start, of_value, beta_here, new, decay in zip(
        *(each.unbind() for each in of_chunk), strict=True
    ):
        removed = of_value + of_start @ state.mT
        starts.append(state)
        removals.append(removed)
        state = state * decay + removed.mT @ beta_here + new

    y = pieces.first(r) @ torch.stack(starts).mT
    y = y + pieces.within((r @ beta.mT).tril()) @ torch.stack(removals)
    y = y + pieces.within((r @ k.mT).tril()) @ v
    return _out_of_chunks(y)[:, :steps], state


class _Pieces:
    """Which steps of a chunk belong together when sequences begin anew inside it.

    Args:
        number: [chunks, B, 1, length], how many resets came in the chunk up to each step; None
            without resets, where everything belongs together.
    """

    def __init__(self, number: Float[Tensor, "chunks B 1 length"] | None) -> None:
        self._number = number

    @classmethod
    def of(cls, resets: Bool[Tensor, "B T"] | None, length: int) -> "_Pieces":
        if resets is None:
            return cls(None)
        marks = _in_chunks(resets.float()[:, :, None, None], length).squeeze(-1)
        return cls(marks.cumsum(-1))

    def within(self, matrix: Tensor) -> Tensor:
        """Only what a step has from steps of its own piece."""
        if self._number is None:
            return matrix
        return matrix * (self._number.unsqueeze(-1) == self._number.unsqueeze(-2))

    def first(self, rows: Tensor) -> Tensor:
        """Only the steps that see the state before the chunk."""
        return rows if self._number is None else rows * (self._number == 0).unsqueeze(-1)

    def last(self, rows: Tensor) -> Tensor:
        """Only the steps that the state behind the chunk knows of."""
        if self._number is None:
            return rows
        return rows * (self._number == self._number[..., -1:]).unsqueeze(-1)

    def throughout(self, rows: Tensor) -> Tensor:
        """Zeros for chunks through which no state passes."""
        if self._number is None:
            return rows
        return rows * (self._number[..., -1:] == 0).unsqueeze(-1)


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
