"""Packed rows lose nothing, have little padding, and give the same loss and gradients."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rwkv_music.data import Batch, Example, collate, pack
from rwkv_music.data.loading.packing import bin_by_length
from rwkv_music.errors import InputError
from rwkv_music.model import RWKV7, ModelConfig
from rwkv_music.ops.cross_entropy import completion_objective
from rwkv_music.ops.registry import BACKEND_VARIABLE
from rwkv_music.ops.wkv7 import available_backends
from tests.model.test_rwkv7 import perturbed

VOCABULARY = 11
MODEL = perturbed(ModelConfig(vocab_size=VOCABULARY, num_layers=2, dim=64))
LENGTHS = st.lists(st.integers(2, 90), min_size=1, max_size=7)


def examples(lengths: list[int], *, seed: int = 0) -> list[Example]:
    rng = np.random.default_rng(seed)
    return [
        Example(
            ids=rng.integers(1, VOCABULARY, length).astype(np.uint16),
            completion_start=int(rng.integers(1, length)),
        )
        for length in lengths
    ]


def test_a_packed_row_concatenates_its_examples() -> None:
    music = [Example(np.array(ids, dtype=np.uint16), 2) for ids in ([1, 2, 3, 4, 5], [6, 7, 8])]
    # The second one is half as long: two rows would leave a quarter empty.
    batch = pack(music)
    assert batch.tokens.tolist() == [[1, 2, 3, 4, 6, 7]]
    assert batch.targets.tolist() == [[2, 3, 4, 5, 7, 8]]
    assert batch.completion_mask.tolist() == [[False, True, True, True, False, True]]
    assert batch.resets is not None
    assert batch.resets.tolist() == [[True, False, False, False, True, False]]


def test_as_many_rows_as_fill_evenly_are_used() -> None:
    assert bin_by_length([8, 4, 4, 2, 6]) == [[0], [4, 3], [1, 2]]
    batch = pack(examples([5, 5, 5]))
    assert batch.tokens.shape == (3, 4)
    assert batch.resets is None


@given(lengths=st.lists(st.integers(1, 2000), min_size=1, max_size=60), most=st.floats(0, 0.5))
def test_every_example_is_in_one_row_and_padding_stays_below_its_limit(
    lengths: list[int], most: float
) -> None:
    rows = bin_by_length(lengths, max_padding=most)
    assert sorted(index for row in rows for index in row) == list(range(len(lengths)))
    assert all(rows)
    row_length = max(sum(lengths[index] for index in row) for row in rows)
    assert 1 - sum(lengths) / (len(rows) * row_length) <= most + 1e-9


@given(lengths=LENGTHS, seed=st.integers(0, 99))
def test_packing_keeps_the_completions(lengths: list[int], seed: int) -> None:
    music = examples(lengths, seed=seed)
    apart, packed = collate(music), pack(music)
    assert completions(apart) == completions(packed)
    assert apart.num_scored == packed.num_scored
    assert packed.num_scored == sum(
        len(example.ids) - example.completion_start for example in music
    )
    assert int((packed.tokens != 0).sum()) == sum(lengths) - len(lengths)


def completions(batch: Batch) -> list[tuple[int, int]]:
    """What is read and what is to be said, wherever that is scored; in no order."""
    positions = batch.completion_mask
    return sorted(
        zip(batch.tokens[positions].tolist(), batch.targets[positions].tolist(), strict=True)
    )


@pytest.mark.parametrize("backend", available_backends())
def test_packing_keeps_loss_and_gradients(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BACKEND_VARIABLE, backend)

    @settings(max_examples=10 if backend != "reference" else 3)
    @given(lengths=LENGTHS, seed=st.integers(0, 99))
    def check(lengths: list[int], seed: int) -> None:
        music = examples(lengths, seed=seed)
        loss, gradients = loss_and_gradients(MODEL, collate(music))
        packed_loss, packed_gradients = loss_and_gradients(MODEL, pack(music))
        torch.testing.assert_close(packed_loss, loss, rtol=1e-10, atol=0)
        for name, expected in gradients.items():
            scale = float(expected.abs().max())
            torch.testing.assert_close(
                packed_gradients[name], expected, rtol=0, atol=1e-9 * scale + 1e-14, msg=name
            )

    check()


def loss_and_gradients(model: RWKV7, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    hidden, _ = model.hidden(batch.tokens, resets=batch.resets)
    loss = completion_objective(
        hidden, model.head.weight, batch.targets, batch.completion_mask
    ).objective
    actual = torch.autograd.grad(loss, list(model.parameters()))
    names = [name for name, _ in model.named_parameters()]
    return loss.detach(), dict(zip(names, actual, strict=True))


def test_without_resets_the_loss_of_a_packed_row_differs() -> None:
    # What makes the equality above say something.
    packed = pack(examples([40, 17]))
    loss, _ = loss_and_gradients(MODEL, packed)
    wrong, _ = loss_and_gradients(
        MODEL, Batch(packed.tokens, packed.targets, packed.completion_mask)
    )
    assert abs(float(wrong - loss)) > 1e-5


@pytest.mark.parametrize("max_padding", [-0.1, 1.0])
def test_max_padding_out_of_range_is_refused(max_padding: float) -> None:
    with pytest.raises(InputError, match=rf"max_padding must be in \[0, 1\), got {max_padding}"):
        pack(examples([4]), max_padding=max_padding)
