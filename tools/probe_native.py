"""Run the installed native library: recurrence and gradients against the reference, and products.

Prints the variant and the library file. `RWKV_MUSIC_NATIVE=avx2` selects a variant.
"""

import sys

import torch
from torch import Tensor

from rwkv_music.native import load_library
from rwkv_music.ops.products.native_products import products_native
from rwkv_music.ops.wkv7 import wkv7

MAX_ERROR = 5e-6
"""Relative error in float32, as in the tests of the recurrence."""


def results_and_gradients(leaves: list[Tensor], backend: str) -> list[Tensor]:
    """Return outputs, final state and the gradients of the sum of their squares."""
    leaves = [leaf.detach().clone().requires_grad_() for leaf in leaves]
    y, state = wkv7(*leaves, backend=backend)
    (y.square().sum() + state.square().sum()).backward()
    gradients = [leaf.grad for leaf in leaves if leaf.grad is not None]
    return [y.detach(), state.detach(), *gradients]


def largest_error() -> float:
    """Return the relative error of the native library in float32 against float64."""
    generator = torch.Generator().manual_seed(0)
    r, decay_logit, k, v, rate = torch.randn(5, 2, 100, 2, 64, generator=generator)
    key = torch.nn.functional.normalize(k, dim=-1)
    leaves = [r, decay_logit, k, v, -key, key * rate.sigmoid()]
    results = results_and_gradients(leaves, "native")
    expected = results_and_gradients([leaf.double() for leaf in leaves], "reference")
    return max(
        float((result.double() - exact).norm() / exact.norm())
        for result, exact in zip(results, expected, strict=True)
    )


def products_are_exact() -> bool:
    """Return whether products of small integers are exact, forward and backward."""
    generator = torch.Generator().manual_seed(0)
    x, first, second, weight = (
        torch.randint(-1, 2, (64, 64), generator=generator).float().requires_grad_()
        for _ in range(4)
    )
    leaves, weight = [x, first, second], (weight.detach() > 0).float() * torch.eye(64)
    [result] = products_native([x.bfloat16()[None]], [first], [second * torch.eye(64)], [0])
    expected = (x @ first.T) @ (second * torch.eye(64)).T
    gradients = torch.autograd.grad(result, leaves, weight.bfloat16()[None])
    expected_gradients = torch.autograd.grad(expected, leaves, weight)
    pairs = zip((result[0].float(), *gradients), (expected, *expected_gradients), strict=True)
    return all(torch.equal(one, two) for one, two in pairs)


def main() -> int:
    """Print what ran; return 1 if there is no library or its results differ."""
    library = load_library()
    if library.functions is None:
        print(f"no native library: {library.explanation}")
        return 1
    error = largest_error()
    print(library.variant, library.functions._name, sep="\t")
    if error > MAX_ERROR:
        print(f"relative error {error:.1e}, at most {MAX_ERROR:.0e} is allowed")
        return 1
    if not products_are_exact():
        print("products of integers are not exact")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
