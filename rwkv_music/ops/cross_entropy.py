"""Cross entropy over the scored positions alone, a chunk of them at a time.

The completion mask picks both the hidden states that reach the head and the targets they are
compared with; it is the same tensor for both. A position that is not scored costs nothing: its
logits are never computed. Nor are the logits of all scored positions ever in memory together: those
of one chunk are turned into nats and gradients in place, and their memory serves the next chunk.
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
"""What one chunk's logits may take: enough for the matrix products to run at full speed."""

Rows = Float[Tensor, "scored C"]
HeadWeight = Float[Tensor, "V C"]


class Objective(NamedTuple):
    """What training minimises, beside the nats it is judged by."""

    objective: Float[Tensor, ""]
    """The scored positions' sum of nats, smoothed where asked for, divided; it has the gradient."""
    nats: Float[Tensor, " scored"]
    """-ln p of every scored target, never smoothed, in reading order, without a gradient."""


def completion_nats(
    hidden: Float[Tensor, "B T C"],
    head_weight: HeadWeight,
    targets: Int[Tensor, "B T"],
    completion_mask: Bool[Tensor, "B T"],
    *,
    chunk: int | None = None,
) -> Float[Tensor, " scored"]:
    """-ln p of every scored target, in reading order.

    Differentiable; who needs the gradient of their mean alone takes `completion_loss`, which does
    not keep the logits.

    Args:
        hidden: The model's output before the head.
        head_weight: Rows are vocabulary entries; logits are `hidden @ head_weight.T`.
        targets: The token that did come after each position.
        completion_mask: True where the target counts.
        chunk: Scored positions at a time; by default as many as keep their logits small.

    Returns:
        Nats in float32 (float64 for float64 inputs), one per True in the mask; empty if there is
        none.
    """
    rows, wanted = _scored(hidden, targets, completion_mask)
    size = _chunk_size(chunk, head_weight)
    chunks = zip(rows.split(size), wanted.split(size), strict=True)
    nats = [
        F.cross_entropy(_logits(part, head_weight), aim, reduction="none") for part, aim in chunks
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
    """Mean nats per completion token; its exponential is the perplexity.

    Takes and raises what `completion_objective` does.
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
) -> Objective:
    """The mean to descend, and the nats of each scored target, from one pass over the logits.

    The gradients are computed with it, chunk by chunk, so that one backward is possible, and no
    gradient of the gradient.

    Args:
        hidden: The model's output before the head.
        head_weight: Rows are vocabulary entries; logits are `hidden @ head_weight.T`.
        targets: The token that did come after each position.
        completion_mask: True where the target counts.
        label_smoothing: Share of each target that is spread over the whole vocabulary, in [0, 1).
        logit_penalty: Of L2Wrap: this times the largest logit is added to the gradient of that
            logit at every scored position, divided by what the objective is divided by. It holds
            the logits near zero and leaves the value of the objective as it is; 1e-4 is usual.
        divide_by: What the sum over the scored positions is divided by: their number when None,
            that of all batches together where gradients are added up.
        chunk: Scored positions at a time; by default as many as keep their logits small.

    Raises:
        InputError: If the mask marks no token and nothing is given to divide by, since the mean is
            then undefined, or a setting is out of range.
    """
    if not 0 <= label_smoothing < 1:
        raise InputError(f"label_smoothing must be in [0, 1), got {label_smoothing}")
    rows, wanted = _scored(hidden, targets, completion_mask)
    if not len(wanted) and divide_by is None:
        raise InputError(
            f"completion_mask marks none of the {completion_mask.numel()} positions of this batch; "
            "give each window at least one completion bar"
        )
    plan = _Plan(
        dtype=_product_dtype(rows),
        label_smoothing=label_smoothing,
        logit_penalty=logit_penalty,
        divide_by=len(wanted) if divide_by is None else divide_by,
        chunk=_chunk_size(chunk, head_weight),
        with_gradient=torch.is_grad_enabled(),
    )
    return Objective(*_ChunkedHead.apply(rows, head_weight, wanted, plan))  # type: ignore[no-untyped-call]


def _scored(
    hidden: Tensor, targets: Tensor, completion_mask: Tensor
) -> tuple[Rows, Int[Tensor, " scored"]]:
    places = completion_mask.flatten().nonzero().squeeze(1)
    return hidden.flatten(0, 1)[places], targets.flatten()[places]


def chunk_of_logits(vocab_size: int, device: str) -> int:
    """Scored positions whose logits are in memory together, unless told otherwise.

    Args:
        vocab_size: Logits of one position.
        device: "cpu", "cuda" or "mps".
    """
    return max(1, _LOGIT_BYTES.get(device, _LOGIT_BYTES_ELSEWHERE) // (4 * vocab_size))


def _chunk_size(asked: int | None, head_weight: Tensor) -> int:
    if asked is None:
        return chunk_of_logits(len(head_weight), head_weight.device.type)
    if asked < 1:
        raise InputError(f"chunk must be at least 1 position, got {asked}")
    return asked


def _product_dtype(rows: Tensor) -> torch.dtype:
    """What autocast would compute a matrix product in: it leaves float64 alone."""
    device = rows.device.type
    if torch.is_autocast_enabled(device) and rows.dtype != torch.float64:
        return torch.get_autocast_dtype(device)
    return rows.dtype


def _logits(rows: Tensor, weight: Tensor) -> Float[Tensor, "rows V"]:
    """In float32 at least, whatever the product was computed in."""
    logits = F.linear(rows, weight)
    return logits.float() if logits.dtype.itemsize < 4 else logits


@dataclass(frozen=True)
class _Plan:
    dtype: torch.dtype
    """Of the matrix products."""
    label_smoothing: float
    logit_penalty: float
    divide_by: float
    chunk: int
    with_gradient: bool


class _ChunkedHead(torch.autograd.Function):
    """Head, cross entropy and their gradients, a chunk of rows at a time."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch's
        rows: Rows,
        head_weight: HeadWeight,
        targets: Tensor,
        plan: _Plan,
    ) -> tuple[Tensor, Tensor]:
        needs_rows, needs_weight = (
            plan.with_gradient and each for each in ctx.needs_input_grad[:2]
        )
        d_rows = torch.empty_like(rows) if needs_rows else None
        d_weight = _zeros_to_add_to(head_weight) if needs_weight else None
        nats = rows.new_empty(len(rows), dtype=torch.promote_types(rows.dtype, torch.float32))
        total = nats.new_zeros(())
        with torch.autocast(rows.device.type, enabled=False):
            narrow_rows, weight = rows.to(plan.dtype), head_weight.to(plan.dtype)
            for first in range(0, len(rows), plan.chunk):
                here = slice(first, first + plan.chunk)
                logits = _logits(narrow_rows[here], weight)
                scores = _scores(logits, targets[here], plan)
                total += scores.objective.sum()
                nats[here] = scores.nats
                if d_rows is None and d_weight is None:
                    continue
                slopes = _gradient_in_place(logits, targets[here], scores, plan)
                slopes = slopes.to(weight.dtype)
                if d_rows is not None:
                    d_rows[here] = slopes @ weight
                if d_weight is not None:
                    _add_product(d_weight, slopes.mT, narrow_rows[here])
        ctx.gradients = d_rows, None if d_weight is None else d_weight.to(head_weight.dtype)
        ctx.mark_non_differentiable(nats)
        ctx.set_materialize_grads(False)
        return total / plan.divide_by, nats

    @staticmethod
    def backward(
        ctx: Any,  # noqa: ANN401 - torch's
        d_objective: Tensor | None,
        _d_nats: Tensor | None,
    ) -> tuple[Tensor | None, ...]:
        gradients, ctx.gradients = ctx.gradients, None
        assert gradients is not None, "the loss can go backward once: compute it again"
        if d_objective is None:
            return None, None, None, None
        scaled = (None if each is None else each.mul_(d_objective) for each in gradients)
        return (*scaled, None, None)


class _Scores(NamedTuple):
    """What one chunk's logits say."""

    objective: Float[Tensor, " rows"]
    nats: Float[Tensor, " rows"]
    normaliser: Float[Tensor, "rows 1"]
    """The logarithm of the sum of the exponentials."""
    largest: Float[Tensor, "rows 1"]
    """Each row's largest logit."""
    place: Int[Tensor, "rows 1"]
    """Where in its row that stands."""


def _scores(logits: Float[Tensor, "rows V"], targets: Tensor, plan: _Plan) -> _Scores:
    """Nats of the targets; what is to be descended is their smoothed form."""
    largest, place = logits.max(dim=1, keepdim=True)
    normaliser = logits.logsumexp(dim=1, keepdim=True)
    nats = (normaliser - logits.gather(1, targets[:, None])).squeeze(1)
    objective = nats
    if plan.label_smoothing:
        of_all = normaliser.squeeze(1) - logits.mean(dim=1)
        objective = torch.lerp(nats, of_all, plan.label_smoothing)
    return _Scores(objective, nats, normaliser, largest, place)


def _gradient_in_place(
    logits: Tensor, targets: Tensor, scores: _Scores, plan: _Plan
) -> Float[Tensor, "rows V"]:
    """The mean's gradient with respect to the logits, written over them.

    That of -ln p is the softmax, minus one at the target; smoothing takes from the target what it
    gives to all.
    """
    slopes = logits.sub_(scores.normaliser).exp_()
    share = plan.label_smoothing
    if share:
        slopes.sub_(share / slopes.shape[1])
    slopes.scatter_add_(1, targets[:, None], slopes.new_full((len(targets), 1), share - 1))
    if plan.logit_penalty:
        slopes.scatter_add_(1, scores.place, plan.logit_penalty * scores.largest)
    return slopes.div_(plan.divide_by)


def _zeros_to_add_to(weight: Tensor) -> Tensor:
    """Sums over chunks are taken in float32 at least."""
    return torch.zeros_like(weight, dtype=torch.promote_types(weight.dtype, torch.float32))


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    if total.dtype == left.dtype:
        total.addmm_(left, right)
    else:
        total.add_(left @ right)
