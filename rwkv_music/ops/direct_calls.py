"""Calls of native kernels without torch's dispatcher, where no gradient is needed.

The first call of a `torch.library.custom_op` imports torch._dynamo and sympy, which takes a second.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

Function = TypeVar("Function", bound=Callable[..., Any])


def can_call_directly(x: Tensor) -> bool:
    """Return whether a kernel may be called on tensors like `x` without its torch operator."""
    is_plain = type(x) in (Tensor, torch.nn.Parameter)  # no fake or functional tensor
    return is_plain and not torch.is_grad_enabled() and not torch.compiler.is_compiling()


def constant_when_compiled(function: Function) -> Function:
    """Let `torch.compile` call a function once and keep its result.

    The same as `torch.compiler.assume_constant_result`, which imports torch._dynamo.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]  # noqa: SLF001
    return function
