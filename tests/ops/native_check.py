"""The gate in brief: gradients of every native operator beside those of its parts, in float64.

    python -m tests.ops.native_check FOLDER

takes the library in FOLDER and prints the largest relative error. The mutation tests run it on
libraries with an error planted in them.
"""

import math
import os
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from rwkv_music.native import loading
from rwkv_music.ops.registry import BACKEND_VARIABLE
from rwkv_music.ops.squared_relu import squared_relu
from rwkv_music.ops.time_mixing import HeadParameters, TimeMixingInputs, mix_heads
from rwkv_music.ops.token_shift import token_shift
from rwkv_music.ops.wkv7 import wkv7
from tests.ops.plain_layers import plain_mix_heads, plain_token_shift
from tests.ops.product_cases import ALL_ACTIVATIONS, EXACT, Given
from tests.ops.recurrence import inputs, relative_error

Contestant = tuple[Callable[..., list[Tensor]], list[Tensor]]
T = 35
"""More than one chunk of the recurrence, and more than one task of the token shift."""


def is_native() -> bool:
    """Whether the native kernels are to run, not the formulas they are compared with."""
    return os.environ[BACKEND_VARIABLE] == "native"


def mixing() -> Callable[..., tuple[Tensor, Tensor]]:
    """The native time mixing between the matrix products, or the formula."""
    return mix_heads if is_native() else plain_mix_heads


def contestants() -> list[Contestant]:
    """Each operator as a function of its leaves, with values for them."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    resets = torch.zeros(2, T, dtype=torch.bool)
    resets[0, 7] = resets[1, 32] = True

    def recurrence(*x: Tensor) -> list[Tensor]:
        return list(wkv7(*x[:6], x[6], resets=resets))

    def heads(*x: Tensor) -> list[Tensor]:
        *mixed, state = x[:9]
        return list(mixing()(TimeMixingInputs(*mixed), HeadParameters(*x[9:]), state, resets))

    def first_heads(*x: Tensor) -> list[Tensor]:
        *mixed, state = x[:7]
        w0, a0, *others = x[7:]
        return list(
            mixing()(
                TimeMixingInputs(*mixed, None, None), HeadParameters(w0, a0, None, *others), state
            )
        )

    def shift(*x: Tensor) -> list[Tensor]:
        tokens, weight, bias, before, *mixes = x
        shift = token_shift if is_native() else plain_token_shift
        shifted, last = shift(tokens, weight, bias, mixes, before, resets)
        return [*shifted, last]

    state, vector = draw(2, 1, 64, 64), draw(2, T, 64)
    vectors = [0.5 * draw(64) for _ in range(8)]
    return [
        (recurrence, inputs(T, H=1)),
        (heads, [*(draw(2, T, 64) for _ in range(8)), state, *vectors]),
        (first_heads, [*(draw(2, T, 64) for _ in range(6)), state, *vectors[:7]]),
        (shift, [vector, draw(64), draw(64), draw(2, 64), *(draw(64) for _ in range(6))]),
        (lambda x: [squared_relu(x)], [vector]),
    ]


def results_and_gradients(
    run: Callable[..., list[Tensor]], leaves: list[Tensor], backend: str
) -> list[Tensor]:
    """Results and gradients under one backend."""
    os.environ[BACKEND_VARIABLE] = backend
    leaves = [leaf.clone().requires_grad_() for leaf in leaves]
    results = run(*leaves)
    weights = torch.Generator().manual_seed(1)
    total = sum(
        (result * torch.randn(result.shape, generator=weights, dtype=result.dtype)).sum()
        for result in results
    )
    return [*results, *torch.autograd.grad(total, leaves)]


def errors_of_products() -> list[float]:
    """Of whole numbers, which come out exactly, and of others, by bfloat16's measure.

    The latter are a hundredth where bfloat16 is wrong rather than narrow; where float64 is, the
    mutation tests put the limit at 1e-9.
    """
    errors = []
    for cases, whole in ((EXACT, True), (ALL_ACTIVATIONS, False)):
        given = Given.drawn(cases, 300, whole=whole)  # three stretches of 128
        truth = given.results_and_gradients(native=False)
        errors += [
            relative_error(value, truth[name]) * (1 if whole else 1e-9 / 1e-2)
            for name, value in given.results_and_gradients(native=True).items()
        ]
    return errors


def largest_error() -> float:
    """The largest relative error of any result or gradient; a NaN counts as infinite."""
    errors = errors_of_products() + [
        relative_error(actual, expected)
        for run, leaves in contestants()
        for actual, expected in zip(
            results_and_gradients(run, leaves, "native"),
            results_and_gradients(run, leaves, "reference"),
            strict=True,
        )
    ]
    return max(float("inf") if math.isnan(error) else error for error in errors)


if __name__ == "__main__":
    loading._FOLDER = Path(sys.argv[1])
    loading.load_library.cache_clear()
    torch.set_num_threads(2)  # one of which takes two of three stretches
    print(largest_error())
