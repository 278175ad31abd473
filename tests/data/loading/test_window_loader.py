"""The window loader reads everything once per epoch and resumes from a position."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from rwkv_music.data import Batch, Windows
from rwkv_music.data.augmentation import RandomAugmentation
from rwkv_music.data.loading.window_loader import WindowLoader
from rwkv_music.tokenizer import Tokenizer
from tests.music import piece

TOKENIZER = Tokenizer()
WINDOWS = Windows(
    [piece(bars, seed=bars) for bars in range(2, 12)], TOKENIZER, prompt_bars=2, completion_bars=2
)
PER_EPOCH = len(WINDOWS)


def loader(batch_size: int = 2, *, seed: int = 5, packing: bool = True) -> WindowLoader:
    augment = RandomAugmentation(vocabulary=TOKENIZER.vocabulary)
    return WindowLoader(WINDOWS, batch_size=batch_size, seed=seed, augment=augment, packing=packing)


def as_lists(batch: Batch) -> list[object]:
    return [
        None if tensor is None else tensor.tolist()
        for tensor in (batch.tokens, batch.targets, batch.completion_mask, batch.resets)
    ]


def padding_share(batches: WindowLoader, *, taken: int = 50) -> float:
    tokens = [next(batches).tokens for _ in range(taken)]
    return sum(int((token == 0).sum()) for token in tokens) / sum(token.numel() for token in tokens)


@settings(max_examples=12)
@given(batch_size=st.integers(1, 5), taken=st.integers(0, 90), packing=st.booleans())
def test_a_loader_continues_from_a_position_with_the_same_batches(
    batch_size: int, taken: int, packing: bool
) -> None:
    first = loader(batch_size, packing=packing)
    for _ in range(taken):
        next(first)
    position = json.loads(json.dumps(first.position()))
    second = loader(batch_size, seed=99, packing=packing)
    next(second)
    second.seek(position)
    # Beyond the pool and into the next epoch.
    for _ in range(2 * PER_EPOCH // batch_size + 3):
        assert as_lists(next(first)) == as_lists(next(second))


def test_an_epoch_completes_every_bar_but_the_first_once() -> None:
    batches = WindowLoader(WINDOWS, batch_size=4, seed=1)
    opened, epochs = [], []
    while len(set(epochs)) < 3:
        batch = next(batches)
        scored = batch.targets[batch.completion_mask]
        opened.append(int((scored == TOKENIZER.vocabulary.BAR).sum()))
        epochs.append(json.dumps(batches.position()["epoch"]))
    for epoch in list(dict.fromkeys(epochs))[:2]:
        bars = sum(count for count, of in zip(opened, epochs, strict=True) if of == epoch)
        assert bars == sum(range(1, 11))


def test_without_packing_similar_lengths_are_batched() -> None:
    batches = loader(4, packing=False)
    assert padding_share(batches) < 0.1
    assert next(batches).resets is None


def test_packed_batches_have_all_windows_and_little_padding() -> None:
    batches = loader(4)
    assert padding_share(batches) < 0.03
    resets = next(batches).resets
    assert resets is not None
    assert int(resets.sum()) == 4
