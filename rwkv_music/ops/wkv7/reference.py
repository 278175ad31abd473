"""The RWKV-7 state recurrence, step by step: the reference for every other backend.

Per head, with a state S of shape [value, key],

    S_t = S_{t-1} diag(d_t) + (S_{t-1} alpha_t) beta_t^T + v_t k_t^T
    y_t = S_t r_t

The backward pass is written by hand and checked against finite differences. With D = dL/dS_t,
starting from the gradient of the final state and going backwards in time,

    dr = S_t^T dy                D <- D + dy r^T
    d(ln d)_j = sum_i D_ij S_{t-1,ij} d_j
    dk = D^T v        dv = D k        u = D beta
    d(beta) = D^T (S_{t-1} alpha)     d(alpha) = S_{t-1}^T u
    D <- D diag(d) + u alpha^T

and D after the first step is the gradient of the initial state.

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
    """Return the outputs of all steps and the final state, in the precision of the state.

    At a step with a reset, S_{t-1} is set to zeros before it, and D after it in the backward pass.
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
    """Return the output and the new state of one step. `decay` is the factor d."""
    removed = _rows_times(state, alpha)
    state = state * decay.unsqueeze(-2) + _outer(removed, beta) + _outer(v, k)
    return _rows_times(state, r), state


def _rows_times(matrix: Tensor, vector: Tensor) -> Tensor:
    """Return matrix @ vector per head: [B, H, N, N], [B, H, N] -> [B, H, N]."""
    return (matrix @ vector.unsqueeze(-1)).squeeze(-1)


def _columns_times(matrix: Tensor, vector: Tensor) -> Tensor:
    """Return matrix^T @ vector per head."""
    return _rows_times(matrix.transpose(-1, -2), vector)


def _outer(rows: Tensor, columns: Tensor) -> Tensor:
    """Return rows columns^T per head."""
    return rows.unsqueeze(-1) * columns.unsqueeze(-2)


class _Recurrence(torch.autograd.Function):
    """The step loop with its hand-written backward pass; stores every state."""

    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ANN401 - torch's
        r, decay_logit, k, v, alpha, beta, state, kept = inputs
        decay = log_decay(decay_logit).exp()
        before, after, outputs = [], [], []
        for t in range(r.shape[1]):
            before.append(state * kept[:, t, None, None, None])
            step = (x[:, t] for x in (r, decay, k, v, alpha, beta))
            y, state = recurrence_step(before[-1], *step)
            outputs.append(y)
            after.append(state)
        ctx.save_for_backward(*inputs[:6], kept, torch.stack(before, 1), torch.stack(after, 1))
        return torch.stack(outputs, dim=1), state.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        dy, d_state = gradients
        r, decay_logit, k, v, alpha, beta, kept, before, after = ctx.saved_tensors
        decay = log_decay(decay_logit).exp()
        d_r, d_log, d_k, d_v, d_alpha, d_beta = (torch.zeros_like(r) for _ in range(6))
        for t in reversed(range(r.shape[1])):
            state_before, state_after = before[:, t], after[:, t]
            d_r[:, t] = _columns_times(state_after, dy[:, t])
            d_state = d_state + _outer(dy[:, t], r[:, t])
            d_log[:, t] = (d_state * state_before).sum(-2) * decay[:, t]
            d_k[:, t] = _columns_times(d_state, v[:, t])
            d_v[:, t] = _rows_times(d_state, k[:, t])
            u = _rows_times(d_state, beta[:, t])
            d_beta[:, t] = _columns_times(d_state, _rows_times(state_before, alpha[:, t]))
            d_alpha[:, t] = _columns_times(state_before, u)
            d_state = d_state * decay[:, t].unsqueeze(-2) + _outer(u, alpha[:, t])
            d_state = d_state * kept[:, t, None, None, None]
        d_logit = d_log * log_decay_gradient(decay_logit)
        return d_r, d_logit, d_k, d_v, d_alpha, d_beta, d_state, None
