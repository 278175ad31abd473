"""Registration of a recurrence kernel as torch operators with shapes and gradients.

This is common to all kernels that store states for their backward pass; autograd and
`torch.compile` treat the result like torch's own operators.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Kept(NamedTuple):
    """Tensors stored by the forward pass for the backward pass."""

    starts: Tensor
    """State before each chunk: [B, H, chunks, N, N]."""
    removed: Tensor
    """S alpha at each step: [B, H, T, N]."""


class Results(NamedTuple):
    """Output tensors of the forward pass; nothing is stored if `kept` is empty."""

    y: Tensor
    final_state: Tensor
    kept: Kept


Forward = Callable[[list[Tensor], Tensor, Tensor | None, Results], None]
"""Arguments: six sequences, state, resets, output tensors."""
Backward = Callable[
    [list[Tensor], Tensor | None, Kept, Tensor, Tensor | None, list[Tensor], Tensor], None
]
"""Arguments: six sequences, resets, stored tensors, dy, gradient of the final state (None for
zeros), and output tensors: gradients of the six sequences and of the state."""


def define_operators(
    name: str, forward: Forward, backward: Backward, *, chunk: int
) -> Callable[..., tuple[Tensor, Tensor]]:
    """Register `rwkv_music::NAME` and its backward.

    Args:
        name: Name of the operator.
        forward: Fills the results.
        backward: Fills the gradients.
        chunk: Steps between stored states.

    Returns:
        The recurrence as a function of the six sequences, the state and resets.
    """

    def results_like(r: Tensor, state: Tensor, *, keep: bool) -> Results:
        batch, steps, heads, width = r.shape
        chunks = -(-steps // chunk)
        return Results(
            r.new_empty(r.shape),
            state.new_empty(state.shape),
            Kept(
                state.new_empty(batch, heads, chunks if keep else 0, width, width),
                state.new_empty(batch, heads, steps if keep else 0, width),
            ),
        )

    @torch.library.custom_op(f"rwkv_music::{name}", mutates_args=())
    def operator(
        r: Tensor, decay_logit: Tensor, k: Tensor, v: Tensor, alpha: Tensor, beta: Tensor,
        state: Tensor, resets: Tensor | None, keep: bool,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
        results = results_like(r, state, keep=keep)
        forward([r, decay_logit, k, v, alpha, beta], state, resets, results)
        return results.y, results.final_state, *results.kept

    @operator.register_fake
    def _(
        r: Tensor, decay_logit: Tensor, k: Tensor, v: Tensor, alpha: Tensor, beta: Tensor,
        state: Tensor, resets: Tensor | None, keep: bool,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
        results = results_like(r, state, keep=keep)
        return results.y, results.final_state, *results.kept

    def gradients_like(r: Tensor, state: Tensor) -> list[Tensor]:
        return [*(r.new_empty(r.shape) for _ in range(6)), state.new_empty(state.shape)]

    @torch.library.custom_op(f"rwkv_music::{name}_backward", mutates_args=())
    def backward_operator(
        dy: Tensor, d_final_state: Tensor | None, r: Tensor, decay_logit: Tensor, k: Tensor,
        v: Tensor, alpha: Tensor, beta: Tensor, resets: Tensor | None, starts: Tensor,
        removed: Tensor,
    ) -> list[Tensor]:  # fmt: skip
        *gradients, d_state = gradients_like(r, starts[:, :, 0])
        sequences = [r, decay_logit, k, v, alpha, beta]
        backward(sequences, resets, Kept(starts, removed), dy, d_final_state, gradients, d_state)
        return [*gradients, d_state]

    @backward_operator.register_fake
    def _(
        dy: Tensor, d_final_state: Tensor | None, r: Tensor, decay_logit: Tensor, k: Tensor,
        v: Tensor, alpha: Tensor, beta: Tensor, resets: Tensor | None, starts: Tensor,
        removed: Tensor,
    ) -> list[Tensor]:  # fmt: skip
        return gradients_like(r, starts[:, :, 0])

    def save_for_backward(
        ctx: Any,  # noqa: ANN401 - torch's
        inputs: tuple[Any, ...],
        output: tuple[Tensor, ...],
    ) -> None:
        *sequences, _, resets, _ = inputs
        _, _, starts, removed = output
        ctx.mark_non_differentiable(starts, removed)
        ctx.set_materialize_grads(False)  # or it allocates zeros for the stored tensors
        ctx.save_for_backward(*sequences, resets, starts, removed)

    def gradients_of(
        ctx: Any,  # noqa: ANN401 - torch's
        dy: Tensor | None,
        d_final_state: Tensor | None,
        *_kept: Tensor | None,
    ) -> tuple[Tensor | None, ...]:
        *sequences, resets, starts, removed = ctx.saved_tensors
        dy = torch.zeros_like(sequences[0]) if dy is None else dy
        gradients = backward_operator(
            dy,
            None if d_final_state is None else d_final_state.contiguous(),
            *sequences, resets, starts, removed,
        )  # fmt: skip
        return (*gradients, None, None)

    operator.register_autograd(gradients_of, setup_context=save_for_backward)

    def recurrence(*inputs: Tensor | None) -> tuple[Tensor, Tensor]:
        *sequences, state, resets = inputs
        differentiable = [*sequences, state]
        keep = torch.is_grad_enabled() and any(
            x.requires_grad for x in differentiable if x is not None
        )
        assert state is not None
        y, final_state, _, _ = operator(
            *sequences, state.contiguous(), None if resets is None else resets.contiguous(), keep
        )
        return y, final_state

    return recurrence
