"""The CUDA source on a GPU played by the CPU: every backend's gate, at every split of a head."""

import pytest
import torch
from torch import Tensor
from torch.library import opcheck

from rwkv_music.ops.wkv7 import cuda, wkv7
from tests.ops.emulated_gpu import EmulatedGpu, emulate_gpu, why_not_emulated
from tests.ops.recurrence import FAMILIES, inputs, relative_error, results_and_gradients

pytestmark = pytest.mark.skipif(why_not_emulated() is not None, reason=str(why_not_emulated()))
SPLITS = (1, 2, 4, 8)
LENGTHS = (1, 7, 8, 9, 15, 16, 17, 33, 65)
"""Around what the forward reads ahead and around a chunk."""
EXACT = 1e-11
"""In float64, where only an error in a formula or an index can be seen."""


def errors(
    tensors: list[Tensor], resets: Tensor | None = None, truth: list[Tensor] | None = None
) -> dict[str, float]:
    """Of outputs, final state and gradients, against the reference in float64."""
    expected = results_and_gradients(
        [tensor.double() for tensor in truth or tensors], "reference", resets
    )
    actual = results_and_gradients(tensors, "cuda", resets)
    return {name: relative_error(actual[name], value) for name, value in expected.items()}


@pytest.mark.parametrize("splits", SPLITS)
@pytest.mark.parametrize("T", LENGTHS)
def test_every_length_agrees(T: int, splits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    emulate_gpu(monkeypatch, splits)
    actual = errors(inputs(T, B=1, H=1))
    assert max(actual.values()) < EXACT, actual


@pytest.mark.parametrize("splits", SPLITS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_agrees(family: str, splits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    emulate_gpu(monkeypatch, splits)
    actual = errors(inputs(35, family=family, B=1))
    assert max(actual.values()) < EXACT, actual


@pytest.mark.parametrize("splits", SPLITS)
@pytest.mark.parametrize(("B", "H"), [(1, 1), (1, 5), (7, 3)])
def test_any_number_of_sequences_and_heads_will_do(
    B: int, H: int, splits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulate_gpu(monkeypatch, splits)
    actual = errors(inputs(9, B=B, H=H))
    assert max(actual.values()) < EXACT, actual


@pytest.mark.parametrize("splits", SPLITS)
@pytest.mark.parametrize("cuts", [(0,), (1,), (16,), (5, 8, 15, 31, 32, 47)])
def test_sequences_that_begin_anew_agree(
    cuts: tuple[int, ...], splits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulate_gpu(monkeypatch, splits)
    resets = torch.zeros(2, 50, dtype=torch.bool)
    resets[0, list(cuts)] = True
    resets[1, 49] = True
    actual = errors(inputs(50), resets)
    assert max(actual.values()) < EXACT, actual


@pytest.mark.parametrize("splits", SPLITS)
@pytest.mark.parametrize("family", ["random", "fast", "slow", "hardest"])
def test_float32_stays_within_five_millionths(
    family: str, splits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulate_gpu(monkeypatch, splits)
    rounded = [tensor.bfloat16().float() for tensor in inputs(200, family=family, B=1, H=1)]
    actual = errors(rounded)
    assert max(actual.values()) < 5e-6, actual


@pytest.mark.parametrize("splits", SPLITS)
def test_bfloat16_is_the_float32_result_rounded(
    splits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulate_gpu(monkeypatch, splits)
    narrow = [tensor.bfloat16() for tensor in inputs(35)]
    narrow[6] = narrow[6].float()
    leaves = [tensor.clone().requires_grad_() for tensor in narrow]
    wide = [tensor.float().requires_grad_() for tensor in narrow]
    y, state = wkv7(*leaves[:6], leaves[6], backend="cuda")
    expected_y, expected_state = wkv7(*wide[:6], wide[6], backend="cuda")
    dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(2)).bfloat16()
    actual = torch.autograd.grad((y, state), leaves, (dy, torch.ones_like(state)))
    expected = torch.autograd.grad(
        (expected_y, expected_state), wide, (dy.float(), torch.ones_like(state))
    )
    assert torch.equal(y, expected_y.bfloat16())
    assert torch.equal(state, expected_state)
    for narrow_one, wide_one in zip(actual, expected, strict=True):
        assert torch.equal(narrow_one, wide_one.to(narrow_one.dtype))


def test_a_nan_stays_one_in_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    emulate_gpu(monkeypatch, 1)
    sequences = [tensor.bfloat16() for tensor in inputs(3, B=1, H=1)[:6]]
    sequences[3][0, 1, 0, 5] = float("nan")
    y, _ = wkv7(*sequences, backend="cuda")
    assert y.isnan().nonzero().tolist() == [[0, 1, 0, 5], [0, 2, 0, 5]]


@pytest.mark.parametrize("splits", SPLITS)
def test_the_order_of_warps_and_blocks_does_not_matter(
    splits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    actual = []
    for falling in (False, True):
        emulate_gpu(monkeypatch, splits, falling=falling)
        actual.append(results_and_gradients([tensor.float() for tensor in inputs(50)], "cuda"))
    for name, value in actual[0].items():
        assert torch.equal(value, actual[1][name]), f"a race in {name}"


@pytest.mark.parametrize("splits", [1, 8])
def test_a_sequence_in_two_pieces_equals_the_whole(
    splits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulate_gpu(monkeypatch, splits)
    *sequences, state = inputs(50)
    whole, final = wkv7(*sequences, state, backend="cuda")
    first, between = wkv7(*(sequence[:, :21] for sequence in sequences), state, backend="cuda")
    second, last = wkv7(*(sequence[:, 21:] for sequence in sequences), between, backend="cuda")
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole)
    torch.testing.assert_close(last, final)


def test_the_gradient_of_the_final_state_alone_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    emulate_gpu(monkeypatch, 2)
    gradients = []
    for backend in ("cuda", "reference"):
        leaves = [tensor.requires_grad_() for tensor in inputs(20, B=1)]
        _, state = wkv7(*leaves[:6], leaves[6], backend=backend)
        gradients.append(torch.autograd.grad(state.square().sum(), leaves, allow_unused=True))
    for actual, expected in zip(*gradients, strict=True):
        assert actual is not None
        torch.testing.assert_close(actual, expected if expected is not None else actual * 0)


def test_strides_and_offsets_beyond_two_to_the_31st_are_followed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    emulate_gpu(monkeypatch, 4)
    # Untouched pages of a huge tensor cost nothing: two sequences 2**31 numbers apart.
    *sequences, state = (tensor.bfloat16() for tensor in inputs(3, B=2, H=1))
    storage = torch.empty(2**31 + 3 * 64, dtype=torch.bfloat16)
    far = storage.as_strided((2, 3, 1, 64), (2**31, 64, 64, 1))
    expected = results_and_gradients([*sequences, state.float()], "cuda")
    for index, sequence in enumerate(sequences):
        far.copy_(sequence)
        given = [far if other == index else sequence for other, sequence in enumerate(sequences)]
        y, final = wkv7(*given, state.float(), backend="cuda")
        assert torch.equal(y, expected["y"])
        assert torch.equal(final, expected["final state"])


def test_a_state_that_lies_across_a_boundary_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    emulate_gpu(monkeypatch, 1)
    *sequences, state = (tensor.float() for tensor in inputs(3, B=1, H=1))
    odd = torch.empty(64 * 64 + 1)[1:].view_as(state).copy_(state)
    assert odd.data_ptr() % 16 == 4
    assert cuda._aligned(odd).data_ptr() % 16 == 0
    assert cuda._aligned(state) is state
    actual, expected = (wkv7(*sequences, beginning, backend="cuda") for beginning in (odd, state))
    assert torch.equal(actual[1], expected[1])


def test_torch_finds_nothing_wrong_with_the_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    emulate_gpu(monkeypatch, 2)
    resets = torch.zeros(1, 19, dtype=torch.bool)
    resets[0, 3] = True
    tensors = [tensor.float().requires_grad_() for tensor in inputs(19, B=1, H=1)]
    opcheck(torch.ops.rwkv_music.wkv7_cuda.default, (*tensors, resets, True))


@pytest.mark.parametrize(
    ("heads", "multiprocessors", "shared_memory", "rows"),
    [
        (64, 132, 232_448, 8),  # 64 x 4 blocks would leave some of 264 places empty
        (66, 132, 232_448, 16),
        (263, 132, 232_448, 32),
        (264, 132, 232_448, 64),
        (1, 132, 232_448, 8),
        (1000, 40, 65_536, 8),  # a T4, whose shared memory holds no more
    ],
)
def test_heads_are_split_until_they_fill_the_gpu(
    heads: int, multiprocessors: int, shared_memory: int, rows: int
) -> None:
    gpu = EmulatedGpu(multiprocessors=multiprocessors, shared_memory=shared_memory)
    assert cuda.rows_for(heads, gpu) == rows
