"""The recurrence: a hand-written gradient that is right, and faster forms that agree with it."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from rwkv_music.errors import InputError
from rwkv_music.ops.wkv7 import available_backends, wkv7
from rwkv_music.ops.wkv7.chunked import wkv7_chunked
from tests.ops.recurrence import (
    FAMILIES,
    FAST_BACKENDS,
    LENGTHS,
    NAMES,
    inputs,
    relative_error,
    results_and_gradients,
)


def test_the_hand_written_gradient_passes_a_check_against_finite_differences() -> None:
    leaves = [tensor.requires_grad_() for tensor in inputs(3, B=1, H=2, N=3)]

    def run(*tensors: Tensor) -> tuple[Tensor, Tensor]:
        return wkv7(*tensors[:6], tensors[6], backend="reference")

    assert torch.autograd.gradcheck(run, leaves)


@pytest.mark.parametrize("which", [0, 1])
def test_the_gradient_of_one_result_alone_is_right(which: int) -> None:
    tensors = inputs(40, B=1)

    def gradients(backend: str) -> list[Tensor]:
        leaves = [tensor.detach().clone().requires_grad_() for tensor in tensors]
        result = wkv7(*leaves[:6], leaves[6], backend=backend)[which]
        actual = torch.autograd.grad(result.square().sum(), leaves, allow_unused=True)
        return [
            torch.zeros_like(leaf) if gradient is None else gradient
            for gradient, leaf in zip(actual, leaves, strict=True)
        ]

    truth = gradients("reference")
    for backend in FAST_BACKENDS:
        for name, actual, expected in zip(NAMES, gradients(backend), truth, strict=True):
            if name == "r" and which == 1:
                assert not actual.any()
                assert not expected.any()
            else:
                assert relative_error(actual, expected) < 1e-11, (backend, name)


def test_without_a_state_it_begins_with_zeros() -> None:
    *sequences, state = inputs(40)
    for backend in available_backends("cpu"):
        actual, expected = (
            wkv7(*sequences, start, backend=backend) for start in (None, torch.zeros_like(state))
        )
        assert torch.equal(actual[0], expected[0])
        assert torch.equal(actual[1], expected[1])


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
def test_fast_backends_equal_the_reference_in_float64(T: int, family: str) -> None:
    tensors = inputs(T, family=family)
    truth = results_and_gradients(tensors, "reference")
    for backend in FAST_BACKENDS:
        actual = results_and_gradients(tensors, backend)
        for name, value in truth.items():
            assert relative_error(actual[name], value) < 1e-11, (backend, name)


@pytest.mark.parametrize(("B", "H"), [(1, 1), (1, 5), (7, 3)])
def test_any_number_of_sequences_and_heads_will_do(B: int, H: int) -> None:
    tensors = inputs(35, B=B, H=H)
    truth = results_and_gradients(tensors, "reference")
    for backend in FAST_BACKENDS:
        actual = results_and_gradients(tensors, backend)
        for name, value in truth.items():
            assert relative_error(actual[name], value) < 1e-11, (backend, name)


@pytest.mark.parametrize("backend", available_backends("cpu"))
@pytest.mark.parametrize("cuts", [(1,), (32,), (33, 34), (5, 31, 40, 64, 65)])
def test_a_packed_sequence_equals_its_pieces(cuts: tuple[int, ...], backend: str) -> None:
    tensors = inputs(70, B=1)
    resets = torch.zeros(1, 70, dtype=torch.bool)
    resets[0, list(cuts)] = True
    packed = results_and_gradients(tensors, backend, resets)
    begin, pieces = 0, []
    for end in (*cuts, 70):
        state = tensors[6] if begin == 0 else torch.zeros_like(tensors[6])
        pieces.append(
            wkv7(*(tensor[:, begin:end] for tensor in tensors[:6]), state, backend=backend)
        )
        begin = end
    torch.testing.assert_close(packed["y"], torch.cat([y for y, _ in pieces], dim=1))
    torch.testing.assert_close(packed["final state"], pieces[-1][1])
    truth = results_and_gradients(tensors, "reference", resets)
    for name, value in truth.items():
        assert relative_error(packed[name], value) < 1e-11, name


@pytest.mark.parametrize("backend", available_backends("cpu"))
def test_no_gradient_crosses_a_reset(backend: str) -> None:
    leaves = [tensor.requires_grad_() for tensor in inputs(40, B=1)]
    resets = torch.zeros(1, 40, dtype=torch.bool)
    resets[0, 20] = True
    y, final_state = wkv7(*leaves[:6], leaves[6], resets=resets, backend=backend)
    loss = y[:, 20:].square().sum() + final_state.square().sum()
    for name, actual in zip(NAMES, torch.autograd.grad(loss, leaves), strict=True):
        if name == "state":
            assert not actual.any()
        else:
            assert actual[:, :20].abs().max() < 1e-11, name  # rounding, where sums are shared
            assert actual[:, 20:].abs().max() > 1e-3, name


@pytest.mark.parametrize("backend", FAST_BACKENDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_float32_stays_within_five_millionths_of_float64(family: str, backend: str) -> None:
    tensors = inputs(1000, family=family, B=1)
    truth = results_and_gradients(tensors, "reference")
    actual = results_and_gradients([tensor.float() for tensor in tensors], backend)
    errors = {name: relative_error(actual[name], value) for name, value in truth.items()}
    assert max(errors.values()) < 5e-6, errors


@pytest.mark.parametrize("backend", FAST_BACKENDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16_in_and_out_stays_within_a_hundredth(family: str, backend: str) -> None:
    rounded = [tensor.bfloat16() for tensor in inputs(1000, family=family, B=1)]
    rounded[6] = rounded[6].float()
    truth = results_and_gradients([tensor.double() for tensor in rounded], "reference")
    actual = results_and_gradients(rounded, backend)
    assert actual["y"].dtype == torch.bfloat16
    errors = {name: relative_error(actual[name], value) for name, value in truth.items()}
    assert max(errors.values()) < 1e-2, errors


@pytest.mark.parametrize("chunk", [1, 16, 33])
def test_the_chunk_length_does_not_matter(chunk: int) -> None:
    tensors = inputs(70)
    y, state = wkv7_chunked(*tensors, chunk=chunk)
    expected_y, expected_state = wkv7_chunked(*tensors)
    torch.testing.assert_close(y, expected_y)
    torch.testing.assert_close(state, expected_state)


@pytest.mark.parametrize("backend", available_backends("cpu"))
def test_a_sequence_in_two_pieces_equals_the_whole(backend: str) -> None:
    *sequences, state = inputs(90)
    whole, final = wkv7(*sequences, state, backend=backend)
    first, between = wkv7(*(sequence[:, :37] for sequence in sequences), state, backend=backend)
    second, last = wkv7(*(sequence[:, 37:] for sequence in sequences), between, backend=backend)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole)
    torch.testing.assert_close(last, final)


@pytest.mark.parametrize("backend", available_backends("cpu"))
def test_the_future_never_reaches_the_past(backend: str) -> None:
    *sequences, state = inputs(80)
    y, _ = wkv7(*sequences, state, backend=backend)
    for sequence in sequences:
        sequence[:, 50:] += 1.0
    changed, _ = wkv7(*sequences, state, backend=backend)
    torch.testing.assert_close(changed[:, :50], y[:, :50], rtol=0, atol=1e-12)
    assert not torch.equal(changed[:, 50:], y[:, 50:])


@pytest.mark.parametrize("backend", available_backends("cpu"))
def test_inputs_that_are_not_contiguous_make_no_difference(backend: str) -> None:
    *sequences, state = inputs(40)
    expected = wkv7(*sequences, state, backend=backend)
    by_head = [sequence.transpose(1, 2).contiguous().transpose(1, 2) for sequence in sequences]
    by_channel = [sequence.transpose(1, 3).contiguous().transpose(1, 3) for sequence in sequences]
    for strided in (by_head, by_channel):
        assert not strided[0].is_contiguous()
        actual = wkv7(*strided, state.mT.contiguous().mT, backend=backend)
        torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("backend", FAST_BACKENDS)
def test_a_gradient_of_one_number_for_all_is_no_trouble(backend: str) -> None:
    leaves = [tensor.requires_grad_() for tensor in inputs(40)]
    y, _ = wkv7(*leaves[:6], leaves[6], backend=backend)
    summed = torch.autograd.grad(y.sum(), leaves, retain_graph=True)  # a view with strides of zero
    for actual, expected in zip(
        summed, torch.autograd.grad(y, leaves, torch.ones_like(y)), strict=True
    ):
        torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("backend", FAST_BACKENDS)
def test_offsets_beyond_two_to_the_31st_are_reached(backend: str) -> None:
    # Untouched pages of a huge tensor cost nothing: two sequences 2**31 numbers apart.
    *sequences, state = (tensor.bfloat16() for tensor in inputs(3, B=2, H=1))
    storage = torch.empty(2**31 + 3 * 64, dtype=torch.bfloat16)
    far = storage.as_strided((2, 3, 1, 64), (2**31, 64, 64, 1))
    for index, sequence in enumerate(sequences):
        expected = wkv7(*sequences, state.float(), backend=backend)
        far.copy_(sequence)
        actual = wkv7(
            *(far if other == index else sequence for other, sequence in enumerate(sequences)),
            state.float(), backend=backend,
        )  # fmt: skip
        assert torch.equal(actual[0], expected[0])
        assert torch.equal(actual[1], expected[1])


def test_half_precision_inputs_keep_a_float32_state() -> None:
    sequences = [tensor.bfloat16() for tensor in inputs(20)[:6]]
    y, state = wkv7(*sequences)
    assert (y.dtype, state.dtype) == (torch.bfloat16, torch.float32)


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


def test_numbers_that_are_none_are_named_when_asked_for() -> None:
    given = dict(zip(NAMES, inputs(4), strict=True))
    wkv7(**given, check=True)
    given["k"][1, 2, 0, 5] = math.nan
    message = r"k holds nan at \[1, 2, 0, 5\] \(1 of 1024 values are not finite\)"
    with pytest.raises(InputError, match=message):
        wkv7(**given, check=True)
    y, _ = wkv7(**given)
    assert y[1].isnan().any(), "without the check it must come out as what it is"
    given["k"][1, 2, 0, 5] = 0.0
    given["state"][0, 1, 3, 3] = -math.inf
    with pytest.raises(InputError, match=r"state holds -inf at \[0, 1, 3, 3\]"):
        wkv7(**given, check=True)


@pytest.mark.usefixtures("without_type_checks")
def test_resets_of_another_shape_or_type_are_refused() -> None:
    tensors = inputs(4)
    with pytest.raises(InputError, match=r"resets must be \[B, T\] = \[2, 4\] of bool .* \[2, 3\]"):
        wkv7(*tensors, resets=torch.zeros(2, 3, dtype=torch.bool))
    with pytest.raises(InputError, match=r"resets must be .* of torch.float32"):
        wkv7(*tensors, resets=torch.zeros(2, 4))


def test_tensors_on_two_devices_are_refused() -> None:
    *sequences, state = inputs(4)
    with pytest.raises(InputError, match="v is on meta, r on cpu: move one"):
        wkv7(*sequences[:3], sequences[3].to("meta"), *sequences[4:], state)
    with pytest.raises(InputError, match="state is on meta, r on cpu: move one"):
        wkv7(*sequences, state.to("meta"))
