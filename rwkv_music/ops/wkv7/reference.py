"""The RWKV-7 state recurrence, step by step: the truth every other backend is compared with.

Per head, with a state S of shape [value, key],

    S_t = S_{t-1} diag(d_t) + (S_{t-1} alpha_t) beta_t^T + v_t k_t^T
    y_t = S_t r_t

The backward is written by hand, so that a gradient check against finite differences says something.
With D = dL/dS_t, beginning at the final state's gradient and walking back,

    dr = S_t^T dy                D <- D + dy r^T
    d(ln d)_j = sum_i D_ij S_{t-1,ij} d_j
    dk = D^T v        dv = D k        u = D beta
    d(beta) = D^T (S_{t-1} alpha)     d(alpha) = S_{t-1}^T u
    D <- D diag(d) + u alpha^T

and what is left of D at the beginning is the gradient of the initial state.

Source: Peng et al., "RWKV-7 'Goose' with Expressive Dynamic State Evolution", arXiv:2503.14456.
B sequences, T steps, H heads, N channels of a head (keys and values).
"""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rwkv_music.ops.wkv7.decay import log_decay, log_decay_gradient

Sequence = Float[Tensor, "B T H N"]
State = Float[Tensor, "B H N N"]


def wkv7_reference(
    r: Sequence,
    decay_logit: Sequence,
    k: Sequence,
    v: Sequence,
    alpha: Sequence,
    beta: Sequence,
    state: State,
    resets: Bool[Tensor, "B T"] | None = None,
) -> tuple[Sequence, State]:
    """Outputs of all steps and the final state, in the precision of the state.

    Before a step with a reset the state is set to zeros, S_{t-1} = 0, and D after it.
    """
    kept = torch.ones(r.shape[:2], dtype=state.dtype, device=r.device)
    if resets is not None:
        kept = (~resets).to(state.dtype)
    y, final_state = _Recurrence.apply(  # type: ignore[no-untyped-call] # torch's own
        r, decay_logit, k, v, alpha, beta, state, kept
    )
    return y, final_state


def recurrence_step(
    state: State,
    r: Float[Tensor, "B H N"],
    decay: Float[Tensor, "B H N"],
    k: Float[Tensor, "B H N"],
    v: Float[Tensor, "B H N"],
    alpha: Float[Tensor, "B H N"],
    beta: Float[Tensor, "B H N"],
) -> tuple[Float[Tensor, "B H N"], State]:
    """One step of the formula above: its output and the new state. `decay` is the factor d."""
    removed = _rows_times(state, alpha)
    state = state * decay.unsqueeze(-2) + _outer(removed, beta) + _outer(v, k)
    return _rows_times(state, r), state


def _rows_times(matrix: Tensor, vector: Tensor) -> Tensor:
    """Matrix @ vector per head: [B, H, N, N], [B, H, N] -> [B, H, N]."""
    return (matrix @ vector.unsqueeze(-1)).squeeze(-1)


def _columns_times(matrix: Tensor, vector: Tensor) -> Tensor:
    """matrix^T @ vector per head."""
    return _rows_times(matrix.transpose(-1, -2), vector)


def _outer(rows: Tensor, columns: Tensor) -> Tensor:
    """Rows columns^T per head."""
    return rows.unsqueeze(-1) * columns.unsqueeze(-2)


class _Recurrence(torch.autograd.Function):
    """The step loop with its hand-written backward; keeps every state."""

    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ANN401 - torch's
        r, decay_logit, k, v, alpha, beta, state, kept = inputs
        decay = log_decay(decay_logit).exp()
        found, left, outputs = [], [], []
        for t in range(r.shape[1]):
            found.append(state * kept[:, t, None, None, None])
            now = (each[:, t] for each in (r, decay, k, v, alpha, beta))
            y, state = recurrence_step(found[-1], *now)
            outputs.append(y)
            left.append(state)
        ctx.save_for_backward(*inputs[:6], kept, torch.stack(found, 1), torch.stack(left, 1))
        return torch.stack(outputs, dim=1), state.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        dy, d_state = gradients
        r, decay_logit, k, v, alpha, beta, kept, found, left = ctx.saved_tensors
        decay = log_decay(decay_logit).exp()
        d_r, d_log, d_k, d_v, d_alpha, d_beta = (torch.zeros_like(r) for _ in range(6))
        for t in reversed(range(r.shape[1])):
            before, after = found[:, t], left[:, t]
            d_r[:, t] = _columns_times(after, dy[:, t])
            d_state = d_state + _outer(dy[:, t], r[:, t])
            d_log[:, t] = (d_state * before).sum(-2) * decay[:, t]
            d_k[:, t] = _columns_times(d_state, v[:, t])
            d_v[:, t] = _rows_times(d_state, k[:, t])
            u = _rows_times(d_state, beta[:, t])
            d_beta[:, t] = _columns_times(d_state, _rows_times(before, alpha[:, t]))
            d_alpha[:, t] = _columns_times(before, u)
            d_state = d_state * decay[:, t].unsqueeze(-2) + _outer(u, alpha[:, t])
            d_state = d_state * kept[:, t, None, None, None]
        d_logit = d_log * log_decay_gradient(decay_logit)
        return d_r, d_logit, d_k, d_v, d_alpha, d_beta, d_state, None
