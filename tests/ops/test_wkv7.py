"""The recurrence: a hand-written gradient that is right, and a chunked form that agrees with it."""

import math
from collections.abc import Callable, Iterator

import jaxtyping
import pytest
import torch
from torch import Tensor

from rwkv_music.errors import InputError
from rwkv_music.ops.wkv7 import available_backends, wkv7
from rwkv_music.ops.wkv7.chunked import wkv7_chunked

NAMES = ("r", "decay_logit", "k", "v", "alpha", "beta", "state")
LENGTHS = (1, 2, 31, 32, 33, 63, 64, 65, 100, 129)
FAMILIES = ("random", "fast", "slow", "parallel", "hardest")
"""Decays drawn at random, nearly 0.55, nearly 1; one key over and over; and that key removed in
full at every step while nothing decays."""


FAST_BACKENDS = [name for name in available_backends() if name != "reference"]
"""The reference is the truth in float64. In float32 it rounds each decay near 1 the same way at
each step, which adds up to 1e-5 in the hardest family."""


def inputs(
    T: int, *, family: str = "random", B: int = 2, H: int = 2, N: int = 64, seed: int = 0
) -> list[Tensor]:
    """Six sequences and a state in float64, as the model would make them."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    key = draw(B, T, H, N)
    if family in ("parallel", "hardest"):
        key = draw(1, 1, H, N) + 1e-3 * key
    removal = torch.nn.functional.normalize(key, dim=-1)
    rate = torch.sigmoid(draw(B, T, H, N))
    if family == "hardest":
        rate = torch.ones_like(rate)
    logit = {"fast": 3.0, "slow": -9.0, "hardest": -9.0}.get(family)
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


@pytest.mark.parametrize("which", [0, 1])
def test_the_gradient_of_one_result_alone_is_right(which: int) -> None:
    tensors = inputs(40, B=1)

    def gradients(backend: str) -> list[Tensor]:
        leaves = [each.detach().clone().requires_grad_() for each in tensors]
        result = wkv7(*leaves[:6], leaves[6], backend=backend)[which]
        found = torch.autograd.grad(result.square().sum(), leaves, allow_unused=True)
        return [
            torch.zeros_like(leaf) if each is None else each
            for each, leaf in zip(found, leaves, strict=True)
        ]

    truth = gradients("reference")
    for backend in FAST_BACKENDS:
        for name, found, expected in zip(NAMES, gradients(backend), truth, strict=True):
            if name == "r" and which == 1:
                assert not found.any()
                assert not expected.any()
            else:
                assert relative_error(found, expected) < 1e-11, (backend, name)


def test_without_a_state_it_begins_with_zeros() -> None:
    *sequences, state = inputs(40)
    for backend in available_backends():
        found, expected = (
            wkv7(*sequences, start, backend=backend) for start in (None, torch.zeros_like(state))
        )
        assert torch.equal(found[0], expected[0])
        assert torch.equal(found[1], expected[1])


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


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("T", LENGTHS)
def test_chunks_equal_the_reference_in_float64(T: int, family: str) -> None:
    tensors = inputs(T, family=family)
    truth, found = everything(tensors, "reference"), everything(tensors, "chunked")
    for name, value in truth.items():
        assert relative_error(found[name], value) < 1e-11, name


@pytest.mark.parametrize("backend", FAST_BACKENDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_float32_stays_within_five_millionths_of_float64(family: str, backend: str) -> None:
    tensors = inputs(1000, family=family, B=1)
    truth = everything(tensors, "reference")
    found = everything([each.float() for each in tensors], backend)
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


@pytest.fixture
def without_type_checks() -> Iterator[None]:
    """As in use: the tests' own shape checks would refuse these inputs first."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("k", torch.zeros(2, 4, 2, 8), r"k must be \[B, T, H, N\] like r \(\[2, 4, 2, 16\]\), got"),
        ("beta", torch.zeros(2, 3, 2, 16), r"beta must be .* got \[2, 3, 2, 16\]"),
        ("r", torch.zeros(2, 4, 16), r"r must be \[B, T, H, N\] .* got \[2, 4, 16\]"),
        (
            "alpha",
            torch.zeros(2, 4, 2, 16),
            r"alpha must have .* r \(torch.float64\), got torch.fl",
        ),
        (
            "state",
            torch.zeros(2, 2, 16, 8),
            r"state must be .* \[2, 2, 16, 16\] .* \[2, 2, 16, 8\]",
        ),
    ],
)
def test_wrong_inputs_are_refused_with_their_shapes(name: str, wrong: Tensor, message: str) -> None:
    given = dict(zip(NAMES, inputs(4, N=16), strict=True))
    with pytest.raises(InputError, match=message):
        wkv7(**{**given, name: wrong})


@pytest.mark.usefixtures("without_type_checks")
def test_integers_and_nothing_at_all_are_refused() -> None:
    with pytest.raises(InputError, match="r must have the floating-point dtype"):
        wkv7(*(torch.zeros(1, 2, 1, 4, dtype=torch.int64) for _ in range(6)))
    with pytest.raises(InputError, match=r"one sequence, step and head, got r of \[1, 0, 1, 4\]"):
        wkv7(*(torch.zeros(1, 0, 1, 4) for _ in range(6)))


def test_an_unknown_backend_is_refused_with_the_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = inputs(4)
    with pytest.raises(InputError, match=r"no WKV backend .abacus.: choose one of .*chunked"):
        wkv7(*tensors, backend="abacus")
    monkeypatch.setenv("RWKV_MUSIC_WKV", "slide-rule")
    with pytest.raises(InputError, match="no WKV backend 'slide-rule'"):
        wkv7(*tensors)
    wkv7(*tensors, backend="reference")  # what the caller asks for comes first


def test_the_environment_forces_a_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = inputs(70)
    monkeypatch.setenv("RWKV_MUSIC_WKV", "reference")
    forced = wkv7(*tensors)[0]
    assert torch.equal(forced, wkv7(*tensors, backend="reference")[0])
    assert not torch.equal(forced, wkv7(*tensors, backend="chunked")[0])
