"""Cross entropy over scored positions only, computed in chunks.

The completion mask selects both the hidden states passed to the head and their targets. Logits of
unscored positions are never computed, and the logits of all scored positions are never in memory at
once: those of one chunk are converted to losses and gradients in place, and their memory is reused.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rwkv_music.errors import InputError

_LOGIT_BYTES = {"cpu": 2**26}
_LOGIT_BYTES_ELSEWHERE = 2**28
"""Memory limit of the logits of one chunk: enough for matrix products at full speed."""

Rows = Float[Tensor, "scored C"]
HeadWeight = Float[Tensor, "V C"]


class HeadLoss(NamedTuple):
    """Objective of the optimizer and nats of each scored target."""

    objective: Float[Tensor, ""]
    """Sum over scored positions (with label smoothing, if set), divided; differentiable."""
    nats: Float[Tensor, " scored"]
    """-ln p of each scored target, without smoothing, in row-major order; no gradient."""


def completion_nats(
    hidden: Float[Tensor, "B T C"],
    head_weight: HeadWeight,
    targets: Int[Tensor, "B T"],
    completion_mask: Bool[Tensor, "B T"],
    *,
    chunk: int | None = None,
) -> Float[Tensor, " scored"]:
    """Return -ln p of each scored target, in row-major order.

    Differentiable. For the gradient of the mean use `completion_loss`, which does not store logits.

    Args:
        hidden: Output of the model before the head.
        head_weight: One row per vocabulary entry; logits are `hidden @ head_weight.T`.
        targets: The next token of each position.
        completion_mask: True where the target is scored.
        chunk: Scored positions per chunk; by default limited by the memory of their logits.

    Returns:
        Nats in float32 (float64 for float64 inputs), one per True in the mask; may be empty.
    """
    rows, scored_targets = _scored(hidden, targets, completion_mask)
    size = _chunk_size(chunk, head_weight)
    chunks = zip(rows.split(size), scored_targets.split(size), strict=True)
    nats = [
        F.cross_entropy(_logits(chunk_rows, head_weight), chunk_targets, reduction="none")
        for chunk_rows, chunk_targets in chunks
    ]
    return torch.cat(nats)


def completion_loss(
    hidden: Float[Tensor, "B T C"],
    head_weight: HeadWeight,
    targets: Int[Tensor, "B T"],
    completion_mask: Bool[Tensor, "B T"],
    *,
    chunk: int | None = None,
) -> Float[Tensor, ""]:
    """Return the mean nats per scored token; its exponential is the perplexity.

    Arguments and errors are those of `completion_objective`.
    """
    return completion_objective(
        hidden, head_weight, targets, completion_mask, chunk=chunk
    ).objective


def completion_objective(
    hidden: Float[Tensor, "B T C"],
    head_weight: HeadWeight,
    targets: Int[Tensor, "B T"],
    completion_mask: Bool[Tensor, "B T"],
    *,
    label_smoothing: float = 0.0,
    logit_penalty: float = 0.0,
    divide_by: float | None = None,
    chunk: int | None = None,
) -> HeadLoss:
    """Return the objective and the nats of each scored target, in one pass over the logits.

    Gradients are computed in the forward pass, chunk by chunk: `backward` can be called once, and
    there is no second derivative.

    Args:
        hidden: Output of the model before the head.
        head_weight: One row per vocabulary entry; logits are `hidden @ head_weight.T`.
        targets: The next token of each position.
        completion_mask: True where the target is scored.
        label_smoothing: Probability spread uniformly over the vocabulary, in [0, 1).
        logit_penalty: L2Wrap: this times the largest logit, divided by `divide_by`, is added to the
            gradient of that logit at each scored position. It keeps logits near zero without
            changing the value of the objective; 1e-4 is usual.
        divide_by: Divisor of the sum over scored positions: their number when None; with gradient
            accumulation, the number in all batches.
        chunk: Scored positions per chunk; by default limited by the memory of their logits.

    Raises:
        InputError: If the mask is empty and `divide_by` is None, or if a setting is out of range.
    """
    if not 0 <= label_smoothing < 1:
        raise InputError(f"label_smoothing must be in [0, 1), got {label_smoothing}")
    rows, scored_targets = _scored(hidden, targets, completion_mask)
    if not len(scored_targets) and divide_by is None:
        raise InputError(
            f"completion_mask marks none of the {completion_mask.numel()} positions of this batch; "
            "give each window at least one completion bar"
        )
    options = _Options(
        dtype=_product_dtype(rows),
        label_smoothing=label_smoothing,
        logit_penalty=logit_penalty,
        divide_by=len(scored_targets) if divide_by is None else divide_by,
        chunk=_chunk_size(chunk, head_weight),
        with_gradient=torch.is_grad_enabled(),
    )
    return HeadLoss(*_ChunkedHead.apply(rows, head_weight, scored_targets, options))  # type: ignore[no-untyped-call]


def _scored(
    hidden: Tensor, targets: Tensor, completion_mask: Tensor
) -> tuple[Rows, Int[Tensor, " scored"]]:
    indices = completion_mask.flatten().nonzero().squeeze(1)
    return hidden.flatten(0, 1)[indices], targets.flatten()[indices]


def chunk_of_logits(vocab_size: int, device: str) -> int:
    """Return the default number of scored positions per chunk.

    Args:
        vocab_size: Number of logits per position.
        device: "cpu", "cuda" or "mps".
    """
    return max(1, _LOGIT_BYTES.get(device, _LOGIT_BYTES_ELSEWHERE) // (4 * vocab_size))


def _chunk_size(requested: int | None, head_weight: Tensor) -> int:
    if requested is None:
        return chunk_of_logits(len(head_weight), head_weight.device.type)
    if requested < 1:
        raise InputError(f"chunk must be at least 1 position, got {requested}")
    return requested


def _product_dtype(rows: Tensor) -> torch.dtype:
    """Return the dtype of matrix products under autocast, which does not convert float64."""
    device = rows.device.type
    if torch.is_autocast_enabled(device) and rows.dtype != torch.float64:
        return torch.get_autocast_dtype(device)
    return rows.dtype


def _logits(rows: Tensor, weight: Tensor) -> Float[Tensor, "rows V"]:
    """Return logits in float32, or wider if the product is."""
    logits = F.linear(rows, weight)
    return logits.float() if logits.dtype.itemsize < 4 else logits


@dataclass(frozen=True)
class _Options:
    dtype: torch.dtype
    """Dtype of the matrix products."""
    label_smoothing: float
    logit_penalty: float
    divide_by: float
    chunk: int
    with_gradient: bool


class _ChunkedHead(torch.autograd.Function):
    """Head, cross entropy and their gradients, in chunks of rows."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch's
        rows: Rows,
        head_weight: HeadWeight,
        targets: Tensor,
        options: _Options,
    ) -> tuple[Tensor, Tensor]:
        needs_rows, needs_weight = (
            options.with_gradient and needed for needed in ctx.needs_input_grad[:2]
        )
        d_rows = torch.empty_like(rows) if needs_rows else None
        d_weight = _accumulator_like(head_weight) if needs_weight else None
        nats = rows.new_empty(len(rows), dtype=torch.promote_types(rows.dtype, torch.float32))
        total = nats.new_zeros(())
        with torch.autocast(rows.device.type, enabled=False):
            narrow_rows, weight = rows.to(options.dtype), head_weight.to(options.dtype)
            for first in range(0, len(rows), options.chunk):
                rows_slice = slice(first, first + options.chunk)
                logits = _logits(narrow_rows[rows_slice], weight)
                scores = _scores(logits, targets[rows_slice], options)
                total += scores.objective.sum()
                nats[rows_slice] = scores.nats
                if d_rows is None and d_weight is None:
                    continue
                d_logits = _gradient_in_place(logits, targets[rows_slice], scores, options)
                d_logits = d_logits.to(weight.dtype)
                if d_rows is not None:
                    d_rows[rows_slice] = d_logits @ weight
                if d_weight is not None:
                    _add_product(d_weight, d_logits.mT, narrow_rows[rows_slice])
        ctx.gradients = d_rows, None if d_weight is None else d_weight.to(head_weight.dtype)
        ctx.mark_non_differentiable(nats)
        ctx.set_materialize_grads(False)
        return total / options.divide_by, nats

    @staticmethod
    def backward(
        ctx: Any,  # noqa: ANN401 - torch's
        d_objective: Tensor | None,
        _d_nats: Tensor | None,
    ) -> tuple[Tensor | None, ...]:
        gradients, ctx.gradients = ctx.gradients, None
        assert gradients is not None, "backward can be called once: compute the loss again"
        if d_objective is None:
            return None, None, None, None
        scaled = (None if x is None else x.mul_(d_objective) for x in gradients)
        return (*scaled, None, None)


class _Scores(NamedTuple):
    """Losses of one chunk, with what their gradient needs."""

    objective: Float[Tensor, " rows"]
    nats: Float[Tensor, " rows"]
    log_partition: Float[Tensor, "rows 1"]
    """Logarithm of the sum of the exponentials."""
    largest: Float[Tensor, "rows 1"]
    """Largest logit of each row."""
    largest_index: Int[Tensor, "rows 1"]
    """Index of that logit."""


def _scores(logits: Float[Tensor, "rows V"], targets: Tensor, options: _Options) -> _Scores:
    """Return the nats of the targets, and the objective with label smoothing."""
    largest, largest_index = logits.max(dim=1, keepdim=True)
    log_partition = logits.logsumexp(dim=1, keepdim=True)
    nats = (log_partition - logits.gather(1, targets[:, None])).squeeze(1)
    objective = nats
    if options.label_smoothing:
        mean_nats = log_partition.squeeze(1) - logits.mean(dim=1)
        objective = torch.lerp(nats, mean_nats, options.label_smoothing)
    return _Scores(objective, nats, log_partition, largest, largest_index)


def _gradient_in_place(
    logits: Tensor, targets: Tensor, scores: _Scores, options: _Options
) -> Float[Tensor, "rows V"]:
    """Overwrite the logits with the gradient of the objective, and return it.

    The gradient of -ln p is the softmax, minus one at the target; label smoothing moves some of
    this one to the whole vocabulary.
    """
    d_logits = logits.sub_(scores.log_partition).exp_()
    smoothing = options.label_smoothing
    if smoothing:
        d_logits.sub_(smoothing / d_logits.shape[1])
    d_logits.scatter_add_(1, targets[:, None], d_logits.new_full((len(targets), 1), smoothing - 1))
    if options.logit_penalty:
        d_logits.scatter_add_(1, scores.largest_index, options.logit_penalty * scores.largest)
    return d_logits.div_(options.divide_by)


def _accumulator_like(weight: Tensor) -> Tensor:
    """Return zeros in float32, or wider, for sums over chunks."""
    return torch.zeros_like(weight, dtype=torch.promote_types(weight.dtype, torch.float32))


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    if total.dtype == left.dtype:
        total.addmm_(left, right)
    else:
        total.add_(left @ right)
