"""Products in tiles of bfloat16: exact where bfloat16 is, close where it rounds, and when they run.

Each test runs on the library's variant for this machine. On all but `amx` plain loops stand in for
the processor's tiles, with the same layouts and the same order.
"""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.library import opcheck

from benchmarks.measuring import held_bytes
from rwkv_music.errors import InputError
from rwkv_music.model import RWKV7, ModelConfig, initialize
from rwkv_music.native import load_library
from rwkv_music.ops import products as door
from rwkv_music.ops.products import MatrixProduct, products
from rwkv_music.ops.products.native_products import SINGLE_MATRIX, products_native
from rwkv_music.ops.registry import BACKEND_VARIABLE
from rwkv_music.training.finetuning.lora import with_lora
from tests.ops.product_cases import ALL_ACTIVATIONS, EXACT, Case, Given, numbers
from tests.ops.recurrence import relative_error
from tests.skips import NO_NATIVE_LIBRARY

pytestmark = pytest.mark.skipif(load_library().functions is None, reason=NO_NATIVE_LIBRARY)
LENGTHS = (1, 31, 32, 33, 127, 129, 300)
"""Below and above a block of 32 tokens and a stretch of 128."""


@pytest.mark.parametrize("tokens", LENGTHS)
def test_whole_numbers_come_out_exactly(tokens: int) -> None:
    given = Given.drawn(EXACT, tokens, whole=True)
    expected = given.results_and_gradients(native=False)
    for name, value in given.results_and_gradients(native=True).items():
        if value.dtype == torch.bfloat16:  # which holds all whole numbers up to 256
            assert expected[name].abs().max() <= 256
        assert torch.equal(value.double(), expected[name]), name
    assert all(value.any() for name, value in expected.items() if tokens > 1)


@pytest.mark.parametrize("tokens", [33, 300])
def test_everything_is_as_close_as_bfloat16_allows(tokens: int) -> None:
    given = Given.drawn(ALL_ACTIVATIONS, tokens)
    expected = given.results_and_gradients(native=False)
    for name, value in given.results_and_gradients(native=True).items():
        assert relative_error(value, expected[name]) < 5e-3, name


def test_gradients_lie_in_memory_as_their_matrices_do() -> None:
    given = Given.drawn(EXACT, 3, whole=True)
    actual = given.results_and_gradients(native=True)
    for index, first in enumerate(given.firsts):
        assert actual[f"first {index}"].stride() == first.stride()


def test_slices_are_read_like_copies_of_them() -> None:
    wide, matrix = torch.randn(2, 40, 100).bfloat16(), torch.randn(70, 70)
    x, turned, first = wide[:, 1:38, 3:67], torch.randn(2, 64, 40).bfloat16().mT, matrix[1:65, 2:66]
    requested = [(x, first), (turned, first), (x[:, ::2], first.t())]
    for sliced, weight in requested:
        [actual] = products_native([sliced], [weight], [weight], [0])
        [expected] = products_native([sliced.clone()], [weight.clone()], [weight.clone()], [0])
        assert torch.equal(actual, expected)
        assert actual.shape == sliced.shape


@pytest.mark.parametrize("trained", [(), ("first",), ("second",)])
def test_frozen_matrices_get_no_gradient_and_change_no_other(trained: Sequence[str]) -> None:
    given = Given.drawn([Case(64, 96, 32, "tanh"), Case(64, 32)], 70)
    expected = given.results_and_gradients(native=True)
    inputs = [tensor.bfloat16().requires_grad_() for tensor in given.inputs]
    firsts = [tensor.float().requires_grad_("first" in trained) for tensor in given.firsts]
    seconds = [tensor.float().requires_grad_("second" in trained) for tensor in given.seconds]
    results = products_native(inputs, firsts, seconds, numbers(given.cases))
    weights = [weight.to(result) for weight, result in zip(given.weights, results, strict=True)]
    torch.autograd.backward(results, weights)
    for name, leaves in (("input", inputs), ("first", firsts), ("second", seconds)):
        for index, leaf in enumerate(leaves):
            gradient = expected[f"{name} {index}"] if leaf.requires_grad else None
            assert leaf.grad is None if gradient is None else torch.equal(leaf.grad, gradient)


def test_a_result_that_nobody_uses_adds_empty_batch() -> None:
    given = Given.drawn([Case(64, 32), Case(64, 32)], 40)
    x = given.inputs[0].bfloat16().requires_grad_()
    firsts = [tensor.float().requires_grad_() for tensor in given.firsts]
    used, _ = products_native([x, x], firsts, [], [SINGLE_MATRIX] * 2)
    weight = given.weights[0].bfloat16()
    actual = torch.autograd.grad(used, [x, *firsts], weight)
    [alone] = products_native([x], firsts[:1], [], [SINGLE_MATRIX])
    expected = torch.autograd.grad(alone, [x, firsts[0]], weight)
    assert torch.equal(actual[0], expected[0])
    assert torch.equal(actual[1], expected[1])
    assert not actual[2].any()


def test_any_number_of_threads_computes_the_same() -> None:
    given = Given.drawn(EXACT[:5], 300, whole=True)
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3, 7):
            torch.set_num_threads(threads)
            for name, value in given.results_and_gradients(native=True).items():
                assert torch.equal(
                    value.double(), given.results_and_gradients(native=False)[name]
                ), name
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("activation", ["identity", "squared_relu", "tanh", "sigmoid"])
def test_a_nan_comes_out_as_one_and_stays_in_its_token(activation: str) -> None:
    x, weight = torch.randn(1, 40, 64).bfloat16(), torch.randn(64, 64)
    x[0, 33, 5] = torch.nan
    [y] = products_native([x], [weight], [weight], [door.ACTIVATIONS.index(activation)])
    assert y[0, 33].isnan().all()
    assert y[0, :33].isfinite().all()
    assert y[0, 34:].isfinite().all()


def test_torch_finds_nothing_wrong_with_the_operator() -> None:
    given = Given.drawn(ALL_ACTIVATIONS, 5)
    inputs = [tensor.bfloat16().requires_grad_() for tensor in given.inputs]
    firsts, seconds = (
        [matrix.float().requires_grad_() for matrix in matrices]
        for matrices in (given.firsts, given.seconds)
    )
    operator: Any = torch.ops.rwkv_music.products.default
    opcheck(operator, (inputs, firsts, seconds, numbers(given.cases)))


@pytest.mark.usefixtures("without_type_checks")
def test_shapes_that_do_not_fit_are_refused_before_they_are_read() -> None:
    x, first, second = torch.randn(2, 3, 64).bfloat16(), torch.randn(32, 64), torch.randn(64, 64)
    with pytest.raises(InputError, match=r"input .* must be \[2, 3, 64\] .* got \[2, 4, 64\]"):
        products_native([x, x.new_zeros(2, 4, 64)], [first] * 2, [], [SINGLE_MATRIX] * 2)
    with pytest.raises(InputError, match=r"input .* must be \[2, 3, 32\] .* got \[2, 3, 64\]"):
        products_native([x], [first.t()], [], [SINGLE_MATRIX])
    with pytest.raises(InputError, match=r"second .* must be \[64, 32\] .* got \[64, 64\]"):
        products_native([x], [first], [second], [0])


class Door:
    """The door with its tiles open, on any machine, and what goes through them."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.in_tiles = 0
        self.patch = patch
        patch.setattr(door, "has_amx", lambda: True)
        patch.setattr(door, "products_native", self.count)

    def count(self, inputs: Any, firsts: Any, seconds: Any, activations: Any) -> list[Tensor]:
        self.in_tiles += len(inputs)
        return products_native(inputs, firsts, seconds, activations)

    def shut(self) -> None:
        self.patch.setattr(door, "has_amx", lambda: False)


@pytest.fixture
def tiles(monkeypatch: pytest.MonkeyPatch) -> Door:
    return Door(monkeypatch)


WEIGHT = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("first", "second", "in_tiles"),
    [
        (WEIGHT, None, 2),
        (WEIGHT, WEIGHT, 2),
        (WEIGHT[:33], None, 0),
        (WEIGHT, WEIGHT[:40], 0),
        (WEIGHT.bfloat16(), None, 0),
        (WEIGHT, WEIGHT.bfloat16(), 0),
    ],
    ids=["one matrix", "two", "33 columns", "40 columns", "bfloat16", "bfloat16 behind float32"],
)
def test_tiles_take_what_fits_them_and_pytorch_the_rest(
    tiles: Door, first: Tensor, second: Tensor | None, in_tiles: int
) -> None:
    x = torch.randn(1, 5, 64, generator=torch.Generator().manual_seed(1)).bfloat16()
    requested = [MatrixProduct(x, WEIGHT), MatrixProduct(x, first, second, "tanh")]
    with torch.autocast("cpu", torch.bfloat16):
        actual = products(requested)
        assert tiles.in_tiles == in_tiles
        tiles.shut()
        expected = products(requested)
    for value, other in zip(actual, expected, strict=True):
        assert value.dtype == other.dtype == torch.bfloat16
        assert relative_error(value, other.double()) < 1e-2


def test_without_autocast_or_with_another_backend_pytorch_computes(
    tiles: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = torch.randn(1, 5, 64)
    [actual] = products([MatrixProduct(x, WEIGHT, WEIGHT, "sigmoid")])
    torch.testing.assert_close(actual, torch.sigmoid(x @ WEIGHT.mT) @ WEIGHT.mT)
    with torch.autocast("cpu", torch.float16):
        products([MatrixProduct(x.bfloat16(), WEIGHT)])
    monkeypatch.setenv(BACKEND_VARIABLE, "chunked")
    with torch.autocast("cpu", torch.bfloat16):
        products([MatrixProduct(x.bfloat16(), WEIGHT)])
    assert tiles.in_tiles == 0


def test_pytorch_keeps_what_the_square_is_made_of_and_not_the_square() -> None:
    x, first = torch.randn(1, 512, 64), torch.randn(1024, 64, requires_grad=True)
    second = torch.randn(64, 1024, requires_grad=True)
    held = held_bytes(lambda: products([MatrixProduct(x, first, second, "squared_relu")]))
    if held is None:
        pytest.skip("this system's C library does not tell how much memory is in use")
    assert held < 1.5 * (4 * 512 * 1024)


def test_pytorch_makes_inputs_again_in_the_backward_and_tiles_keep_them(tiles: Door) -> None:
    source, made = torch.randn(1, 40, 64).bfloat16(), []
    first = WEIGHT.clone().requires_grad_()

    def make() -> list[Tensor]:
        made.append(1)
        return [source * 2]

    gradients = []
    for count in (1, 2):
        [x] = make()
        with torch.autocast("cpu", torch.bfloat16):
            [y] = products([MatrixProduct(x, first)], ([x], make))
        gradients += torch.autograd.grad(y.float().sum(), first)
        assert len(made) == [1, 3][count - 1]
        tiles.shut()
    assert tiles.in_tiles == 1
    torch.testing.assert_close(*gradients, rtol=0.02, atol=0.02)


class Watched(nn.Linear):
    """A layer that is more than its matrix, as LoRA makes them."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def layer(kind: type[nn.Linear] = nn.Linear, *, bias: bool = False) -> nn.Linear:
    made = kind(64, 64, bias=bias)
    with torch.no_grad():
        made.weight.copy_(WEIGHT)
    return made


def test_a_layer_that_is_more_than_its_matrix_is_called(tiles: Door) -> None:
    x = torch.randn(1, 5, 64, generator=torch.Generator().manual_seed(1)).bfloat16()
    hooked, biased, seen = layer(), layer(bias=True), []
    hooked.register_forward_hook(lambda _, given, out: seen.append(given))
    with torch.autocast("cpu", torch.bfloat16):
        [expected] = products([MatrixProduct(x, layer())])
        assert tiles.in_tiles == 1
        [doubled] = products([MatrixProduct(x, layer(Watched))])
        [shifted] = products([MatrixProduct(x, biased)])
        products([MatrixProduct(x, hooked), MatrixProduct(x, WEIGHT, hooked)])
    assert tiles.in_tiles == 1
    torch.testing.assert_close(doubled, 2 * expected, rtol=0.02, atol=0.02)
    torch.testing.assert_close(shifted.float(), expected + biased.bias, rtol=0.02, atol=0.02)
    assert len(seen) == 2


def random_model(*, num_layers: int, width: int) -> RWKV7:
    """A model in which no matrix is zero, as some are at first."""
    model = RWKV7(ModelConfig(vocab_size=23, num_layers=num_layers, dim=width))
    initialize(model, seed=0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.05)
    return model


def test_tuning_with_lora_reaches_a_model_in_tiles(tiles: Door) -> None:
    pytest.importorskip("peft", reason="peft is an extra: pip install 'rwkv-music[tune]'")
    model = random_model(num_layers=1, width=64)
    adapted = with_lora(model, rank=4)
    ids = torch.arange(10)[None]
    with torch.autocast("cpu", torch.bfloat16):
        adapted(ids)[0].float().square().mean().backward()
    assert tiles.in_tiles == 0
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            assert parameter.grad is not None
            assert parameter.grad.any(), name


def test_a_model_in_tiles_is_as_close_to_the_truth_as_in_pytorch(tiles: Door) -> None:
    model = random_model(num_layers=3, width=128)
    ids = torch.randint(23, (2, 70), generator=torch.Generator().manual_seed(1))

    def results_and_gradients(*, narrow: bool) -> dict[str, Tensor]:
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=narrow):
            logits, _ = model(ids)
        logits.float().square().mean().backward()
        actual = {name: parameter.grad for name, parameter in model.named_parameters()}
        return {"logits": logits.detach(), **{k: v for k, v in actual.items() if v is not None}}

    actual = results_and_gradients(narrow=True)
    assert tiles.in_tiles == 3 * 8 - 1  # the first layer has no share of an earlier value
    tiles.shut()
    of_pytorch, exact = results_and_gradients(narrow=True), results_and_gradients(narrow=False)
    assert actual.keys() == exact.keys() == of_pytorch.keys()
    for name, value in exact.items():
        limit = 1.5 * relative_error(of_pytorch[name], value.double()) + 5e-3
        assert relative_error(actual[name], value.double()) < limit, name
