"""Optimizers, with the parameter groups that RWKV-7 is trained with.

Weight decay applies to matrices only (names ending in `.weight`, with two dimensions). The bias of
the decay, `att.w0`, has twice the learning rate.
"""

from typing import Any

import torch
from torch import Tensor

from rwkv_music.errors import InputError
from rwkv_music.model import RWKV7
from rwkv_music.training.config import OPTIMIZERS

ParameterGroup = dict[str, Any]
"""A group of parameters with options, as torch's optimizers take it."""

_BETAS = (0.9, 0.99)
_EPS = 1e-18
_FAST = 2.0


def parameter_groups(model: RWKV7, *, weight_decay: float) -> list[ParameterGroup]:
    """Put every parameter into exactly one group; `lr_scale` multiplies a group's learning rate.

    Args:
        model: The model.
        weight_decay: Weight decay of the matrices.
    """
    fast, decayed, plain = [], [], []
    for name, parameter in model.named_parameters():
        if name.endswith("att.w0"):
            fast.append(parameter)
        elif name.endswith(".weight") and parameter.squeeze().ndim >= 2:
            decayed.append(parameter)
        else:
            plain.append(parameter)
    return [
        {"params": decayed, "weight_decay": weight_decay, "lr_scale": 1.0},
        {"params": plain, "weight_decay": 0.0, "lr_scale": 1.0},
        {"params": fast, "weight_decay": 0.0, "lr_scale": _FAST},
    ]


def make_optimizer(
    model: RWKV7, *, learning_rate: float, weight_decay: float, kind: str = "adamw"
) -> torch.optim.Optimizer:
    """Return an optimizer over all parameters, in their groups.

    "adamw" has betas (0.9, 0.99) and eps 1e-18, in the fused form, which is the fastest on CPUs and
    GPUs. "adafactor" (Shazeer and Stern, arXiv:1804.04235) keeps little state and no momentum. Its
    steps are bounded by the learning rate times a parameter's size, here by at least the learning
    rate itself: many parameters of RWKV-7 start at zero and would otherwise hardly change.

    Args:
        model: The model to train.
        learning_rate: Learning rate of groups with `lr_scale` 1.
        weight_decay: Weight decay of the matrices.
        kind: One of `OPTIMIZERS`.

    Raises:
        InputError: If there is no such optimizer.
    """
    if kind not in OPTIMIZERS:
        raise InputError(f"optimizer must be one of {OPTIMIZERS}, got '{kind}'")
    groups = parameter_groups(model, weight_decay=weight_decay)
    if kind == "adafactor":
        groups[-1]["lr_scale"] = 1.0  # steps scale with the parameter, and the bias is large
    for group in groups:
        group["lr"] = learning_rate * group["lr_scale"]
    if kind == "adafactor":
        return torch.optim.Adafactor(groups, lr=learning_rate, eps=(None, 1.0), foreach=False)
    return torch.optim.AdamW(groups, lr=learning_rate, betas=_BETAS, eps=_EPS, fused=True)


def allocate_moments(optimizer: torch.optim.Optimizer) -> None:
    """Allocate AdamW's moments now instead of in the first step.

    They stay for the whole run. Allocated between the tensors of a step, they would fragment the
    heap of a CPU's C library: up to a fifth more memory. Parameters and step count do not change.

    Args:
        optimizer: Unchanged if it is Adafactor, which keeps little.
    """
    if not isinstance(optimizer, torch.optim.AdamW):
        return
    rates: list[float] = [group["lr"] for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["lr"] = 0.0
        parameters: list[Tensor] = group["params"]
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    for moments in optimizer.state.values():
        moments["step"].zero_()
