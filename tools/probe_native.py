"""Runs the installed native library: recurrence and gradients against the reference, and products.

Prints the variant and the file that ran. `RWKV_MUSIC_NATIVE=avx2` asks for a variant.
"""

import sys

import torch
from torch import Tensor

from rwkv_music.native import load_library
from rwkv_music.ops.products.native_products import products_native
from rwkv_music.ops.wkv7 import wkv7

LARGEST_ERROR = 5e-6
"""Relative, in float32: what the tests of the recurrence allow too."""


def everything(leaves: list[Tensor], backend: str) -> list[Tensor]:
    """Outputs, final state and the gradients of the sum of their squares."""
    leaves = [leaf.detach().clone().requires_grad_() for leaf in leaves]
    y, state = wkv7(*leaves, backend=backend)
    (y.square().sum() + state.square().sum()).backward()
    gradients = [leaf.grad for leaf in leaves if leaf.grad is not None]
    return [y.detach(), state.detach(), *gradients]


def largest_error() -> float:
    """Of the native library in float32 against the reference in float64."""
    generator = torch.Generator().manual_seed(0)
    r, decay_logit, k, v, rate = torch.randn(5, 2, 100, 2, 64, generator=generator)
    key = torch.nn.functional.normalize(k, dim=-1)
    leaves = [r, decay_logit, k, v, -key, key * rate.sigmoid()]
    found = everything(leaves, "native")
    truth = everything([leaf.double() for leaf in leaves], "reference")
    return max(
        float((one.double() - two).norm() / two.norm())
        for one, two in zip(found, truth, strict=True)
    )


def products_are_exact() -> bool:
    """Of whole numbers that bfloat16 holds, forward and backward."""
    generator = torch.Generator().manual_seed(0)
    x, first, second, weight = (
        torch.randint(-1, 2, (64, 64), generator=generator).float().requires_grad_()
        for _ in range(4)
    )
    leaves, weight = [x, first, second], (weight.detach() > 0).float() * torch.eye(64)
    [found] = products_native([x.bfloat16()[None]], [first], [second * torch.eye(64)], [0])
    truth = (x @ first.T) @ (second * torch.eye(64)).T
    gradients = torch.autograd.grad(found, leaves, weight.bfloat16()[None])
    expected = torch.autograd.grad(truth, leaves, weight)
    pairs = zip((found[0].float(), *gradients), (truth, *expected), strict=True)
    return all(torch.equal(one, two) for one, two in pairs)


def main() -> int:
    """Prints what ran; 1 if there is no library or if it computes something else."""
    library = load_library()
    if library.functions is None:
        print(f"no native library: {library.explanation}")
        return 1
    error = largest_error()
    print(library.variant, library.functions._name, sep="\t")
    if error > LARGEST_ERROR:
        print(f"relative error {error:.1e}, at most {LARGEST_ERROR:.0e} is allowed")
        return 1
    if not products_are_exact():
        print("products of whole numbers are not exact")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
