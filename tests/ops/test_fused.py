"""Fused native kernels, each compared with the model's plain PyTorch formula."""

import pytest
import torch
from torch import Tensor

from rwkv_music.errors import InputError
from rwkv_music.model import RWKV7, ModelConfig, initialize
from rwkv_music.native import load_library
from rwkv_music.ops.registry import BACKEND_VARIABLE
from rwkv_music.ops.squared_relu import squared_relu
from rwkv_music.ops.time_mixing import HeadParameters, TimeMixingInputs, mix_heads
from rwkv_music.ops.token_shift import token_shift
from tests.ops.plain_layers import plain_mix_heads, plain_token_shift
from tests.ops.recurrence import relative_error
from tests.skips import NO_NATIVE_LIBRARY

pytestmark = pytest.mark.skipif(load_library().functions is None, reason=NO_NATIVE_LIBRARY)
GENERATOR = torch.Generator().manual_seed(0)
LENGTHS = (1, 2, 31, 32, 33, 65, 70)
HEADS, WIDTH = 3, 192


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=GENERATOR, dtype=torch.float64)


def gradients_of(results: list[Tensor], leaves: list[Tensor]) -> list[Tensor]:
    weights = torch.Generator().manual_seed(1)
    total = sum(
        (
            result * torch.randn(result.shape, generator=weights, dtype=torch.float64).to(result)
        ).sum()
        for result in results
    )
    return list(torch.autograd.grad(total, leaves))


class Heads:
    """Arguments of `mix_heads`, and all that comes out of it."""

    def __init__(self, T: int, *, is_first: bool, B: int = 2) -> None:
        count = 6 if is_first else 8
        self.tensors = [draw(B, T, WIDTH) for _ in range(count)]
        self.vectors = [0.5 * draw(WIDTH) for _ in range(8)]
        self.state = draw(B, HEADS, 64, 64)
        self.is_first = is_first

    def results_and_gradients(
        self, patch: pytest.MonkeyPatch, backend: str, dtype: torch.dtype, resets: Tensor | None
    ) -> list[Tensor]:
        patch.setenv(BACKEND_VARIABLE, backend)
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        mixed = [tensor.to(dtype).requires_grad_() for tensor in self.tensors]
        vectors = [vector.to(wide).requires_grad_() for vector in self.vectors]
        state = self.state.to(wide).requires_grad_()
        w0, a0, v0, *others = vectors
        parameters = HeadParameters(w0, a0, None if self.is_first else v0, *others)
        missing = (None, None) if self.is_first else ()
        mix = mix_heads if backend == "native" else plain_mix_heads
        results = list(mix(TimeMixingInputs(*mixed, *missing), parameters, state, resets))
        used = vectors[:2] + vectors[3:] if self.is_first else vectors
        leaves = [*mixed, *used, state]
        return [*(result.detach() for result in results), *gradients_of(results, leaves)]


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize("T", LENGTHS)
def test_time_mixing_in_float64(T: int, is_first: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    heads = Heads(T, is_first=is_first)
    truth = heads.results_and_gradients(monkeypatch, "reference", torch.float64, None)
    actual = heads.results_and_gradients(monkeypatch, "native", torch.float64, None)
    for index, (value, expected) in enumerate(zip(actual, truth, strict=True)):
        assert relative_error(value, expected) < 1e-10, index


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 5e-6), (torch.bfloat16, 1e-2)])
def test_time_mixing_in_narrower_types_with_resets(
    dtype: torch.dtype, bound: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads = Heads(300, is_first=False)
    heads.tensors = [tensor.to(dtype).double() for tensor in heads.tensors]
    resets = torch.rand(2, 300, generator=GENERATOR) < 0.02
    truth = heads.results_and_gradients(monkeypatch, "reference", torch.float64, resets)
    actual = heads.results_and_gradients(monkeypatch, "native", dtype, resets)
    assert actual[0].dtype == dtype
    for index, (value, expected) in enumerate(zip(actual, truth, strict=True)):
        assert relative_error(value, expected) < bound, index


def test_a_key_of_zeros_is_normalised_without_a_nan(monkeypatch: pytest.MonkeyPatch) -> None:
    heads = Heads(5, is_first=False)
    heads.tensors[2][:, 2] = 0.0
    truth = heads.results_and_gradients(monkeypatch, "reference", torch.float64, None)
    actual = heads.results_and_gradients(monkeypatch, "native", torch.float64, None)
    key = 2 + 2  # the gradient of the third sequence stands behind the two results
    for index, (value, expected) in enumerate(zip(actual, truth, strict=True)):
        assert value.isfinite().all()
        if index != key:  # that one has a factor of 1 / 1e-12 where the key is zero
            assert relative_error(value, expected) < 1e-10, index
    others = [0, 1, 3, 4]
    assert relative_error(actual[key][:, others], truth[key][:, others]) < 1e-10


@pytest.mark.parametrize("where", range(8))
def test_a_nan_comes_out_as_one(where: int, monkeypatch: pytest.MonkeyPatch) -> None:
    heads = Heads(4, is_first=False, B=1)
    heads.tensors[where][0, 1, 70] = torch.nan
    actual = heads.results_and_gradients(monkeypatch, "native", torch.float32, None)
    assert actual[0][0, 1, 64:128].isnan().any()
    assert actual[0][0, 0].isfinite().all()


@pytest.mark.parametrize("channels", [64, 192])
@pytest.mark.parametrize("T", LENGTHS)
@pytest.mark.parametrize("mixes", [1, 6])
def test_token_shift_in_float64(
    T: int, channels: int, mixes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaves = [draw(2, T, channels), draw(channels), draw(channels)]
    leaves += [draw(channels) for _ in range(mixes)] + [draw(2, channels)]
    resets = torch.rand(2, T, generator=GENERATOR) < 0.1

    def results_and_gradients(backend: str) -> list[Tensor]:
        monkeypatch.setenv(BACKEND_VARIABLE, backend)
        x, weight, bias, *vectors, before = (leaf.clone().requires_grad_() for leaf in leaves)
        shift = token_shift if backend == "native" else plain_token_shift
        shifted, last = shift(x, weight, bias, vectors, before, resets)
        results = [*shifted, last]
        actual = gradients_of(results, [x, weight, bias, *vectors, before])
        return [*(result.detach() for result in results), *actual]

    for value, expected in zip(
        results_and_gradients("native"), results_and_gradients("reference"), strict=True
    ):
        torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-9)


def test_token_shift_by_hand() -> None:
    # Two tokens, normalised to -1 and 1 in alternation and its opposite; a half of the one before.
    row = torch.tensor([1.0, -1.0]).repeat(32)
    x = torch.stack([3 * row, -5 * row])[None]
    one, zero = torch.ones(64), torch.zeros(64)
    [shifted], last = token_shift(x, 2 * one, one, [0.5 * one], torch.zeros(1, 64))
    first, second = 2 * row + 1, -2 * row + 1
    torch.testing.assert_close(shifted[0, 0], first / 2, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(shifted[0, 1], (first + second) / 2, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(last[0], second, rtol=1e-5, atol=1e-5)
    [shifted], _ = token_shift(
        x, 2 * one, one, [0.5 * one], torch.zeros(1, 64), torch.tensor([[False, True]])
    )
    torch.testing.assert_close(shifted[0, 1], second / 2 + zero, rtol=1e-5, atol=1e-5)


def test_token_shift_writes_the_type_that_autocast_wants() -> None:
    x, vector = torch.randn(2, 3, 64, requires_grad=True), torch.rand(64)
    with torch.autocast("cpu", torch.bfloat16):
        [shifted], last = token_shift(x, vector, vector, [vector], torch.zeros(2, 64))
    assert (shifted.dtype, last.dtype) == (torch.bfloat16, torch.float32)
    [exact], _ = token_shift(x, vector, vector, [vector], torch.zeros(2, 64))
    torch.testing.assert_close(shifted, exact.bfloat16())
    shifted.float().sum().backward()
    assert x.grad is not None
    assert x.grad.dtype == torch.float32


@pytest.mark.parametrize("count", [1, 3, 16, 100, 16_384, 40_001])
def test_the_squared_relu_and_its_gradient(count: int) -> None:
    x = draw(count).requires_grad_()
    actual = squared_relu(x)
    torch.testing.assert_close(actual, torch.relu(x) ** 2)
    [gradient] = torch.autograd.grad(actual, x, torch.full_like(x, 3.0))
    torch.testing.assert_close(gradient, 6 * torch.relu(x))


def test_the_squared_relu_lets_a_nan_through() -> None:
    x = torch.tensor([torch.nan, -1.0, 2.0])
    torch.testing.assert_close(squared_relu(x), torch.tensor([torch.nan, 0.0, 4.0]), equal_nan=True)


@pytest.mark.usefixtures("without_type_checks")
def test_shapes_that_do_not_fit_are_refused_before_they_are_read() -> None:
    x, vector = torch.randn(2, 3, 64), torch.rand(64)
    with pytest.raises(InputError, match=r"before must be \[2, 64\] .* got \[1, 64\]"):
        token_shift(x, vector, vector, [vector], torch.zeros(1, 64))
    with pytest.raises(InputError, match="at most 6 mixes, got 7"):
        token_shift(x, vector, vector, [vector] * 7, torch.zeros(2, 64))
    mixed = TimeMixingInputs(*(torch.randn(2, 3, 64) for _ in range(6)), None, None)
    parameters = HeadParameters(vector, vector, None, *(vector for _ in range(5)))
    with pytest.raises(InputError, match=r"state must be \[2, 1, 64, 64\] .* got \[1, 1, 64, 64\]"):
        mix_heads(mixed, parameters, torch.zeros(1, 1, 64, 64))


def test_a_model_is_the_same_with_and_without_the_native_library(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = RWKV7(ModelConfig(vocab_size=23, num_layers=3, dim=128)).double()
    initialize(model, seed=0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=GENERATOR), alpha=0.1)
    ids = torch.randint(23, (2, 70), generator=GENERATOR)
    resets = torch.rand(2, 70, generator=GENERATOR) < 0.05

    def results_and_gradients(backend: str) -> tuple[Tensor, dict[str, Tensor]]:
        monkeypatch.setenv(BACKEND_VARIABLE, backend)
        model.zero_grad()
        first, state = model(ids[:, :30], resets=resets[:, :30])
        second, state = model(ids[:, 30:], state, resets=resets[:, 30:])
        logits = torch.cat([first, second], dim=1)
        (
            logits.square().mean() + sum(layer.wkv.square().mean() for layer in state.layers)
        ).backward()
        return logits.detach(), {
            name: parameter.grad
            for name, parameter in model.named_parameters()
            if parameter.grad is not None
        }

    logits, gradients = results_and_gradients("native")
    expected_logits, expected = results_and_gradients("reference")
    torch.testing.assert_close(logits, expected_logits, rtol=1e-10, atol=1e-10)
    assert gradients.keys() == expected.keys()
    assert len(gradients) == sum(1 for _ in model.parameters())
    for name, value in gradients.items():
        assert relative_error(value, expected[name]) < 1e-10, name


def test_the_model_names_the_layer_and_tensor_that_is_not_finite() -> None:
    model = RWKV7(ModelConfig(vocab_size=23, num_layers=2, dim=64))
    initialize(model, seed=0)
    ids = torch.randint(23, (1, 5), generator=GENERATOR)
    model(ids, check=True)
    with torch.no_grad():
        model.blocks[1].get_parameter("att.key.weight")[3, 7] = torch.inf
    with pytest.raises(InputError, match=r"layer 1's att.key.weight holds inf at \[3, 7\]"):
        model(ids, check=True)
