"""The recurrence: a hand-written gradient that is right, and a chunked form that agrees with it."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from rwkv_music.errors import InputError
from rwkv_music.ops.wkv7 import available_backends, wkv7
from rwkv_music.ops.wkv7.chunked import wkv7_chunked

NAMES = ("r", "decay_logit", "k", "v", "alpha", "beta", "state")
LENGTHS = (1, 2, 63, 64, 65, 100, 129)


def inputs(
    T: int, *, family: str = "random", B: int = 2, H: int = 2, N: int = 16, seed: int = 0
) -> list[Tensor]:
    """Six sequences and a state in float64, as the model would make them."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    key = draw(B, T, H, N)
    if family == "parallel":
        key = draw(1, 1, H, N) + 1e-3 * key
    removal = torch.nn.functional.normalize(key, dim=-1)
    rate = torch.sigmoid(draw(B, T, H, N))
    logit = {"fast": 3.0, "slow": -9.0}.get(family)
    decay_logit = draw(B, T, H, N) * 2 if logit is None else torch.full_like(rate, logit)
    return [
        draw(B, T, H, N), decay_logit, draw(B, T, H, N), draw(B, T, H, N),
        -removal, removal * rate, draw(B, H, N, N),
    ]  # fmt: skip


def everything(tensors: list[Tensor], backend: str) -> dict[str, Tensor]:
    """Outputs, final state and all seven gradients of a fixed random scalar."""
    leaves = [each.detach().clone().requires_grad_() for each in tensors]
    y, final_state = wkv7(*leaves[:6], leaves[6], backend=backend)
    weights = torch.Generator().manual_seed(1)
    scalar = sum(
        (out * torch.randn(out.shape, dtype=torch.float64, generator=weights).to(out.dtype)).sum()
        for out in (y, final_state)
    )
    scalar.backward()
    found = {"y": y.detach(), "final state": final_state.detach()}
    for name, leaf in zip(NAMES, leaves, strict=True):
        assert leaf.grad is not None, name
        found[f"gradient of {name}"] = leaf.grad
    return found


def relative_error(found: Tensor, truth: Tensor) -> float:
    """Root mean square of the difference over that of the truth."""
    difference = (found.double() - truth.double()).square().mean().sqrt()
    return float(difference / truth.double().square().mean().sqrt())


def test_the_hand_written_gradient_passes_a_check_against_finite_differences() -> None:
    leaves = [each.requires_grad_() for each in inputs(3, B=1, H=2, N=3)]

    def run(*tensors: Tensor) -> tuple[Tensor, Tensor]:
        return wkv7(*tensors[:6], tensors[6], backend="reference")

    assert torch.autograd.gradcheck(run, leaves)


def test_one_step_by_hand() -> None:
    # One head of two channels, state [[1, 2], [3, 4]], decay exp(-exp(-1/2)/2) at logit 0.
    vector: Callable[..., Tensor] = lambda *x: torch.tensor(x, dtype=torch.float64).view(1, 1, 1, 2)  # noqa: E731
    state = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64).view(1, 1, 2, 2)
    y, after = wkv7(
        vector(1, 0), vector(0, 0), vector(0, 1), vector(5, 6), vector(-1, 0), vector(0.5, 0), state
    )
    d = math.exp(-math.exp(-0.5) / 2)
    # S alpha = [-1, -3]; times beta^T = [[-.5, 0], [-1.5, 0]]; v k^T = [[0, 5], [0, 6]].
    expected = torch.tensor([[d - 0.5, 2 * d + 5], [3 * d - 1.5, 4 * d + 6]], dtype=torch.float64)
    torch.testing.assert_close(after[0, 0], expected)
    torch.testing.assert_close(y[0, 0, 0], expected[:, 0])


@pytest.mark.parametrize("family", ["random", "fast", "slow", "parallel"])
@pytest.mark.parametrize("T", LENGTHS)
def test_chunks_equal_the_reference_in_float64(T: int, family: str) -> None:
    tensors = inputs(T, family=family)
    truth, found = everything(tensors, "reference"), everything(tensors, "chunked")
    for name, value in truth.items():
        assert relative_error(found[name], value) < 1e-11, name


@pytest.mark.parametrize("family", ["random", "fast", "slow", "parallel"])
def test_chunks_in_float32_are_as_good_as_float32_allows(family: str) -> None:
    tensors = inputs(1000, family=family, N=32)
    truth = everything(tensors, "reference")
    found = everything([each.float() for each in tensors], "chunked")
    errors = {name: relative_error(found[name], value) for name, value in truth.items()}
    assert max(errors.values()) < 5e-6, errors


@pytest.mark.parametrize("chunk", [1, 16, 33])
def test_the_chunk_length_does_not_matter(chunk: int) -> None:
    tensors = inputs(70)
    y, state = wkv7_chunked(*tensors, chunk=chunk)
    expected_y, expected_state = wkv7_chunked(*tensors)
    torch.testing.assert_close(y, expected_y)
    torch.testing.assert_close(state, expected_state)


@pytest.mark.parametrize("backend", available_backends())
def test_a_sequence_in_two_pieces_equals_the_whole(backend: str) -> None:
    *sequences, state = inputs(90)
    whole, final = wkv7(*sequences, state, backend=backend)
    first, between = wkv7(*(each[:, :37] for each in sequences), state, backend=backend)
    second, last = wkv7(*(each[:, 37:] for each in sequences), between, backend=backend)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole)
    torch.testing.assert_close(last, final)


@pytest.mark.parametrize("backend", available_backends())
def test_the_future_never_reaches_the_past(backend: str) -> None:
    *sequences, state = inputs(80)
    y, _ = wkv7(*sequences, state, backend=backend)
    for sequence in sequences:
        sequence[:, 50:] += 1.0
    changed, _ = wkv7(*sequences, state, backend=backend)
    torch.testing.assert_close(changed[:, :50], y[:, :50], rtol=0, atol=1e-12)
    assert not torch.equal(changed[:, 50:], y[:, 50:])


def test_inputs_that_are_not_contiguous_make_no_difference() -> None:
    *sequences, state = inputs(40)
    strided = [each.transpose(1, 2).contiguous().transpose(1, 2) for each in sequences]
    assert not strided[0].is_contiguous()
    torch.testing.assert_close(wkv7(*strided, state)[0], wkv7(*sequences, state)[0])


def test_half_precision_inputs_keep_a_float32_state() -> None:
    sequences = [each.bfloat16() for each in inputs(20)[:6]]
    y, state = wkv7(*sequences)
    assert (y.dtype, state.dtype) == (torch.bfloat16, torch.float32)


def test_wrong_inputs_are_refused_with_their_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    *sequences, state = inputs(4)
    r, decay_logit, k, v, alpha, beta = sequences
    with pytest.raises(InputError, match=r"k must have the floating-point dtype of r"):
        wkv7(r, decay_logit, k.float(), v, alpha, beta)
    with pytest.raises(InputError, match="no WKV backend 'abacus' here: choose one of chunked"):
        wkv7(r, decay_logit, k, v, alpha, beta, state, backend="abacus")
    monkeypatch.setenv("RWKV_MUSIC_WKV", "slide-rule")
    with pytest.raises(InputError, match="no WKV backend 'slide-rule'"):
        wkv7(r, decay_logit, k, v, alpha, beta)


def test_the_environment_forces_a_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = inputs(70)
    monkeypatch.setenv("RWKV_MUSIC_WKV", "reference")
    forced = wkv7(*tensors)[0]
    assert torch.equal(forced, wkv7(*tensors, backend="reference")[0])
