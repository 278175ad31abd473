"""Decoding token by token: the native step against its PyTorch twin, both against the model."""

import pytest
import torch
from torch import Tensor, nn

from rwkv_music.errors import InputError
from rwkv_music.model import RWKV7, Decoder, DecoderState, ModelConfig, initialize
from rwkv_music.native import load_library
from rwkv_music.ops.decoding import PRECISIONS, dequantized, pack
from tests.skips import NO_NATIVE_LIBRARY

VOCABULARY = 61  # not a multiple of 16: the last panel of the head is not full
CONFIG = ModelConfig(vocab_size=VOCABULARY, num_layers=3, dim=128)
IDS = torch.randint(VOCABULARY, (2, 40), generator=torch.Generator().manual_seed(3))
CLOSE = {"rtol": 1e-4, "atol": 1e-4}
"""For sums of float32 in another order, which take a tenth of it. One number of one row of any
parameter set to zero moves a logit or a state by 60 times as much, and most by far more."""
needs_native = pytest.mark.skipif(load_library().functions is None, reason=NO_NATIVE_LIBRARY)


def perturbed(config: ModelConfig = CONFIG) -> RWKV7:
    """No parameter is zero, as half of them are at first: an error in any of them shows."""
    model = RWKV7(config)
    initialize(model, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
    return model.eval()


MODEL = perturbed()


def read(decoder: Decoder, ids: Tensor) -> list[Tensor]:
    """All logits, and the state after the last token."""
    state = decoder.new_state(len(ids))
    logits = [decoder.step(column, state) for column in ids.T]
    return [torch.stack(logits), state.wkv, state.shifts]


def a_step_more(module: nn.Module, inputs: tuple[Tensor]) -> Tensor:
    """Every second entry of a vector moved by a step of what int8 decoding rounds it to."""
    [x] = inputs
    assert isinstance(module, nn.Linear)
    moved = x.clone()
    largest = min(2**15 - 1, (2**31 - 1) // (127 * module.in_features))
    moved[..., ::2] += x.abs().amax(-1, keepdim=True) / largest
    return moved


def assert_equals_its_twin(model: RWKV7, precision: str, ids: Tensor) -> None:
    """The native step is the plain one but for the last bits of float32 sums.

    With int8 it rounds vectors to 12 to 16 bits as well, each entry by half a step at most. A twin
    that rounds too comes no closer (4.9e-4 either way): where an entry lies near half a step, the
    last bit of a sum decides. What all that may cost is what the twin's results move by when every
    second entry of its vectors moves by a whole step.
    """
    native, twin = (Decoder(model, precision, backend=backend) for backend in ("native", "torch"))
    actual, expected = read(native, ids), read(twin, ids)
    if precision != "int8":
        torch.testing.assert_close(actual, expected, **CLOSE)
        return
    for module in twin._model.modules():
        if isinstance(module, nn.Linear):
            module.register_forward_pre_hook(a_step_more)
    for mine, exact, moved in zip(actual, expected, read(twin, ids), strict=True):
        assert 0 < float((mine - exact).norm()) < float((moved - exact).norm())


@needs_native
@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_native_step_equals_the_pytorch_step(precision: str) -> None:
    assert_equals_its_twin(MODEL, precision, IDS)


@needs_native
@pytest.mark.parametrize("precision", PRECISIONS)
def test_odd_low_rank_dims_are_supported(precision: str) -> None:
    widths = {
        "decay_low_rank_dim": 7,
        "a_low_rank_dim": 5,
        "v_low_rank_dim": 3,
        "gate_low_rank_dim": 17,
    }
    model = perturbed(ModelConfig(vocab_size=VOCABULARY, num_layers=2, dim=64, **widths))
    for batch in (1, 2):
        assert_equals_its_twin(model, precision, IDS[:batch, :5])


@needs_native
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("alive", [0, 1, 50])
def test_weights_that_meet_zeros_only_may_be_skipped(precision: str, alive: int) -> None:
    model = perturbed(ModelConfig(vocab_size=VOCABULARY, num_layers=2, dim=128))
    with torch.no_grad():
        for block in model.blocks:
            block.ffn.key.weight[alive:] = 0  # of 512 hidden values
    assert_equals_its_twin(model, precision, IDS[:1, :5])


@needs_native
def test_the_largest_sums_of_whole_numbers_do_not_overflow() -> None:
    # All hidden values are equal and so are the weights they meet, 127 or -127, 2048 of them.
    model = perturbed(ModelConfig(vocab_size=VOCABULARY, num_layers=1, dim=512))
    with torch.no_grad():
        key, value = model.blocks[0].ffn.key.weight, model.blocks[0].ffn.value.weight
        key.copy_(key[:1].expand_as(key))
        value.fill_(0.01)[::2].neg_()  # else the norm that follows would take it out
    for token in range(8):  # some of which make the hidden values positive
        ids = torch.tensor([token])
        native, twin = (Decoder(model, "int8", backend=backend) for backend in ("native", "torch"))
        actual, expected = (decoder.step(ids, decoder.new_state(1)) for decoder in (native, twin))
        # 6e-4 comes from rounding; a sum that overflows changes its sign.
        assert float((actual - expected).std() / expected.std()) < 1e-2


@needs_native
@pytest.mark.parametrize("number", [float("nan"), float("inf")])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_nan_stays_nan(precision: str, number: float) -> None:
    decoder = Decoder(MODEL, precision, backend="native")
    state = decoder.new_state(1)
    state.shifts[0, 0, 0, 5] = number
    assert decoder.step(IDS[:1, 0], state).isnan().all()


@pytest.mark.parametrize("backend", ["native", "torch"])
def test_steps_equal_the_parallel_forward_of_the_model(backend: str) -> None:
    if backend == "native" and load_library().functions is None:
        pytest.skip(NO_NATIVE_LIBRARY)
    decoder = Decoder(MODEL, backend=backend)
    with torch.no_grad():
        whole, after = MODEL(IDS)
    state = decoder.new_state(2)
    logits = decoder.prefill(IDS[:, :25], state)
    torch.testing.assert_close(logits, whole[:, 24], **CLOSE)
    for index in range(25, 40):
        logits = decoder.step(IDS[:, index], state)
        torch.testing.assert_close(logits, whole[:, index], **CLOSE)
    for layer, expected in zip(state.to_model_state().layers, after.layers, strict=True):
        torch.testing.assert_close(layer.wkv, expected.wkv, **CLOSE)
        torch.testing.assert_close(layer.time_shift, expected.time_shift, **CLOSE)
        torch.testing.assert_close(layer.channel_shift, expected.channel_shift, **CLOSE)


@needs_native
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("batch", [1, 2, 3, 7, 8, 15, 16, 31, 64])
def test_a_sequence_does_not_depend_on_its_batch(precision: str, batch: int) -> None:
    decoder = Decoder(MODEL, precision, backend="native")
    ids = torch.randint(VOCABULARY, (batch, 5), generator=torch.Generator().manual_seed(batch))
    together, alone = decoder.new_state(batch), decoder.new_state(1)
    # Batches are multiplied by sixteens, eights, fours, twos and ones, each with its order of sums.
    # Where the last sequence is a one again, its numbers are the same to the last bit.
    # Elsewhere a last bit may move an entry rounded for int8 by a step: `assert_equals_its_twin`.
    close = {"int8 alone": 0.0, "int8": 1e-3}.get(precision + " alone" * (batch % 2), 1e-5)
    for column in ids.T:
        actual, expected = decoder.step(column, together), decoder.step(column[-1:], alone)
        torch.testing.assert_close(actual[-1:], expected, rtol=close, atol=close)


@needs_native
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("batch", [5, 8, 16, 19])
def test_vectors_that_would_share_places_of_the_cache_are_spread(
    precision: str, batch: int
) -> None:
    # 256 channels make 1,024 hidden values: multiples of 2 KiB, as int16 and as float32.
    model = perturbed(ModelConfig(vocab_size=VOCABULARY, num_layers=1, dim=256))
    ids = torch.randint(VOCABULARY, (batch, 3), generator=torch.Generator().manual_seed(batch))
    assert_equals_its_twin(model, precision, ids)


def test_a_state_can_be_copied_branched_and_dropped() -> None:
    decoder = Decoder(MODEL)
    state = decoder.new_state(2)
    decoder.prefill(IDS[:, :10], state)
    kept = state.copy()
    first = decoder.step(IDS[:, 10], state)
    assert not torch.equal(state.wkv, kept.wkv)
    torch.testing.assert_close(decoder.step(IDS[:, 10], kept.copy()), first)
    branched = kept.select([1, 1, 0])
    assert branched.batch_size == 3
    swapped = decoder.step(IDS[[1, 1, 0], 10], branched)
    # Three sequences may be added up in another order than two.
    torch.testing.assert_close(swapped, first[[1, 1, 0]], **CLOSE)


def test_a_state_goes_to_the_model_and_back_unchanged() -> None:
    decoder = Decoder(MODEL)
    state = decoder.new_state(2)
    decoder.prefill(IDS, state)
    back = DecoderState.from_model_state(state.to_model_state())
    assert torch.equal(back.wkv, state.wkv)
    assert torch.equal(back.shifts, state.shifts)


def test_the_state_has_the_same_size_after_any_tokens() -> None:
    decoder = Decoder(MODEL)
    short, long = decoder.new_state(1), decoder.new_state(1)
    decoder.prefill(IDS[:1, :1], short)
    for _ in range(3):
        decoder.prefill(IDS[:1], long)
    assert short.num_values == long.num_values == 3 * (2 * 128 + 2 * 64 * 64)


def test_int8_has_one_scale_a_row_and_at_most_half_a_step_of_error() -> None:
    weight = torch.tensor([[1.27, -0.5, 0.004], [0.0, 0.0, 0.0], [-25.4, 12.6, 0.1]])
    # Scales 0.01 and 0.2: 0.004 is nearest to 0, 12.6 to 63 x 0.2, 0.1 lies between 0 and 0.2.
    expected = torch.tensor([[1.27, -0.5, 0.0], [0.0, 0.0, 0.0], [-25.4, 12.6, 0.0]])
    torch.testing.assert_close(dequantized(weight, "int8"), expected, atol=1e-6, rtol=0)
    large = torch.randn(33, 70, generator=torch.Generator().manual_seed(0))
    error = (dequantized(large, "int8") - large).abs() / (large.abs().amax(1, keepdim=True) / 127)
    assert 0.4 < float(error.max()) <= 0.5 + 1e-4


def test_rounded_weights_take_a_half_and_a_quarter_of_the_memory() -> None:
    weight = torch.randn(64, 256)
    sizes = [pack(weight, precision).num_bytes for precision in PRECISIONS]
    assert sizes == [64 * 256 * 4, 64 * 256 * 2, 64 * 256 + 64 * 4]


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_rounded_weights_change_the_logits_slightly(precision: str) -> None:
    exact, narrow = Decoder(MODEL), Decoder(MODEL, precision)
    expected = exact.prefill(IDS, exact.new_state(2))
    actual = narrow.prefill(IDS, narrow.new_state(2))
    difference = float((actual - expected).std() / expected.std())
    # 0.008 and 0.021; without rounding it would be the last bits, with the wrong scales all.
    assert 1e-4 < difference < 0.1


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_prefill_with_rounded_weights_is_close_to_single_steps(precision: str) -> None:
    decoder = Decoder(MODEL, precision)
    stepped, at_once = decoder.new_state(2), decoder.new_state(2)
    for column in IDS.T:
        expected = decoder.step(column, stepped)
    actual = decoder.prefill(IDS, at_once)
    # 0.007 and 0.008, since steps round their vectors as well; without the first of 40 tokens it
    # would be 0.034.
    assert float((actual - expected).std() / expected.std()) < 0.015
    assert (at_once.wkv.dtype, at_once.shifts.dtype) == (torch.float32, torch.float32)


def test_rounded_weights_do_not_follow_changes_of_the_model() -> None:
    model = perturbed()
    decoder = Decoder(model, "bfloat16")
    before = decoder.prefill(IDS, decoder.new_state(2))
    with torch.no_grad():
        model.head.weight.mul_(2)
    assert torch.equal(decoder.prefill(IDS, decoder.new_state(2)), before)


def test_other_head_sizes_are_decoded_with_pytorch() -> None:
    config = ModelConfig(vocab_size=VOCABULARY, num_layers=1, dim=32, head_size=16)
    decoder = Decoder(perturbed(config))
    assert decoder.backend == "torch"
    assert decoder.step(IDS[:, 0], decoder.new_state(2)).shape == (2, VOCABULARY)
    with pytest.raises(InputError, match=r"cannot run here: .* 64 channels, these have 16"):
        Decoder(perturbed(config), backend="native")


def test_invalid_arguments_are_refused() -> None:
    with pytest.raises(InputError, match=r"precision must be one of .* got 'int4'"):
        Decoder(MODEL, "int4")
    with pytest.raises(InputError, match=r"backend must be one of .* got 'abacus'"):
        Decoder(MODEL, backend="abacus")
    decoder = Decoder(MODEL)
    with pytest.raises(InputError, match=r"2 sequences of ids, but a state of 3: .*new_state\(2\)"):
        decoder.step(IDS[:, 0], decoder.new_state(3))
    with pytest.raises(InputError, match="token 61 is not in the model's vocabulary of 61"):
        decoder.step(torch.tensor([61]), decoder.new_state(1))
    with pytest.raises(InputError, match=r"token -1 is not in the model's vocabulary"):
        decoder.step(torch.tensor([-1]), decoder.new_state(1))
    with pytest.raises(InputError, match="prefill needs at least one token"):
        decoder.prefill(IDS[:, :0], decoder.new_state(2))


def test_a_state_of_another_model_is_refused_before_it_is_read() -> None:
    other = Decoder(perturbed(ModelConfig(vocab_size=VOCABULARY, num_layers=2, dim=64)))
    with pytest.raises(InputError, match=r"the state's shifts must be \[3, 2, 1, 128\] .* got"):
        Decoder(MODEL).step(IDS[:1, 0], other.new_state(1))
    decoder = Decoder(MODEL)
    state = decoder.new_state(1)
    transposed = DecoderState(state.shifts, state.wkv.mT)
    with pytest.raises(InputError, match="the state's wkv must be contiguous and float32"):
        decoder.step(IDS[:1, 0], transposed)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_making_a_decoder_uses_no_random_numbers(precision: str) -> None:
    model = RWKV7(ModelConfig(vocab_size=64, num_layers=1, dim=64))
    before = torch.get_rng_state()
    Decoder(model, precision)
    assert torch.equal(torch.get_rng_state(), before)
