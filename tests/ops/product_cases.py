"""Products to try, and everything that comes out of them, natively and as the truth in float64."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rwkv_music.ops.products.native_products import ACTIVATIONS, SINGLE_MATRIX, products_native

FUNCTIONS = {
    "identity": lambda x: x,
    "squared_relu": lambda x: torch.relu(x) ** 2,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}


@dataclass(frozen=True)
class Case:
    """Widths of one product; `turned` matrices lie in memory column by column."""

    inputs: int
    hidden: int
    outputs: int = 0
    activation: str = ""
    turned: bool = False


ALL_ACTIVATIONS = [Case(64, 96), Case(64, 32, turned=True)] + [
    Case(64, hidden, 96, name, turned)
    for name, hidden, turned in zip(
        ACTIVATIONS, (32, 96, 64, 32), (True, False, True, False), strict=True
    )
]

EXACT = [
    Case(64, 96),
    Case(96, 64, turned=True),
    Case(64, 32, 96, "identity", turned=True),
    Case(96, 64, 64, "identity"),
    Case(64, 96, 32, "squared_relu"),
    Case(64, 2112, 64, "squared_relu"),  # gradients in two slices, one of them short
    Case(32, 8224, turned=True),  # the same, with one matrix
]


@dataclass(frozen=True)
class Given:
    """Inputs and matrices of some products, and the weights of a scalar made of their results."""

    cases: Sequence[Case]
    inputs: list[Tensor]
    firsts: list[Tensor]
    seconds: list[Tensor]
    weights: list[Tensor]

    @classmethod
    def drawn(cls, cases: Sequence[Case], tokens: int, *, whole: bool = False) -> "Given":
        """In float64: normal, or whole, so small that bfloat16 holds all that is made of them."""
        generator = torch.Generator().manual_seed(0)

        def draw(*shape: int) -> Tensor:
            if not whole:
                values = torch.randn(*shape, generator=generator, dtype=torch.float64)
                # What bfloat16 holds, so that only the matrices and the results are rounded.
                return values.bfloat16().double()
            signs = torch.randint(-1, 2, shape, generator=generator).double()
            return signs * (torch.rand(shape, generator=generator) < 0.4)

        def matrix(rows: int, columns: int, *, turned: bool) -> Tensor:
            shape = (columns, rows) if turned else (rows, columns)
            drawn = draw(*shape)
            if whole:
                drawn *= torch.rand(shape, generator=generator) < 16 / columns
            else:
                drawn *= columns**-0.5
            return drawn.t() if turned else drawn

        return cls(
            cases,
            [draw(1, tokens, case.inputs) for case in cases],
            [matrix(case.hidden, case.inputs, turned=case.turned) for case in cases],
            [
                matrix(case.outputs, case.hidden, turned=case.turned)
                for case in cases if case.activation
            ],
            [draw(1, tokens, case.outputs or case.hidden) for case in cases],
        )  # fmt: skip

    def results_and_gradients(self, *, native: bool) -> dict[str, Tensor]:
        """Results and gradients: of the native pass, or the truth."""
        inputs, firsts, seconds = (
            [_leaf(tensor, dtype if native else torch.float64) for tensor in tensors]
            for tensors, dtype in (
                (self.inputs, torch.bfloat16),
                (self.firsts, torch.float32),
                (self.seconds, torch.float32),
            )
        )
        run = products_native if native else truth
        results = run(inputs, firsts, seconds, numbers(self.cases))
        leaves = [*inputs, *firsts, *seconds]
        weights = [weight.to(result) for weight, result in zip(self.weights, results, strict=True)]
        actual = torch.autograd.grad(results, leaves, weights)
        names = ("y", "input", "first", "second")
        groups = (results, actual[: len(inputs)], actual[len(inputs) : 2 * len(inputs)],
                  actual[2 * len(inputs) :])  # fmt: skip
        return {
            f"{name} {index}": product.detach()
            for name, group in zip(names, groups, strict=True)
            for index, product in enumerate(group)
        }


def _leaf(x: Tensor, dtype: torch.dtype) -> Tensor:
    return x.detach().to(dtype).requires_grad_()  # in the same layout


def numbers(cases: Sequence[Case]) -> list[int]:
    """The activations as the operator counts them."""
    return [
        ACTIVATIONS.index(case.activation) if case.activation else SINGLE_MATRIX for case in cases
    ]


def truth(
    inputs: Sequence[Tensor],
    firsts: Sequence[Tensor],
    seconds: Sequence[Tensor],
    activations: Sequence[int],
) -> list[Tensor]:
    """The products as PyTorch writes them."""
    left = iter(seconds)
    return [
        x @ first.mT if number == SINGLE_MATRIX
        else FUNCTIONS[ACTIVATIONS[number]](x @ first.mT) @ next(left).mT
        for x, first, number in zip(inputs, firsts, activations, strict=True)
    ]  # fmt: skip
