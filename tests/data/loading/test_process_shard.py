"""Batches divided among processes: nothing twice, nothing left out, the same positions."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rwkv_music.data import Batch, Windows
from rwkv_music.data.augmentation import RandomAugmentation
from rwkv_music.data.loading.collate import empty_batch
from rwkv_music.data.loading.long_context_loader import LongContextLoader
from rwkv_music.data.loading.process_shard import WHOLE_BATCH, ProcessShard
from rwkv_music.data.loading.window_loader import WindowLoader
from rwkv_music.tokenizer import Tokenizer
from tests.music import piece

TOKENIZER = Tokenizer()
MUSIC = [piece(bars, seed=bars) for bars in (2, 3, 5, 8)]


def shards(num_shards: int) -> list[ProcessShard]:
    return [ProcessShard(rank, num_shards) for rank in range(num_shards)]


@given(lengths=st.lists(st.integers(1, 900), max_size=40), num_shards=st.integers(1, 9))
def test_every_item_is_in_exactly_one_shard(lengths: list[int], num_shards: int) -> None:
    parts = [shard.select(lengths) for shard in shards(num_shards)]
    assert sorted(index for part in parts for index in part) == list(range(len(lengths)))
    assert all(part == sorted(part) for part in parts)
    assert WHOLE_BATCH.select(lengths) == list(range(len(lengths)))
    if len(lengths) >= num_shards:
        assert all(parts)
        sums = [sum(lengths[index] for index in part) for part in parts]
        assert max(sums) - min(sums) <= max(lengths)


def scored_of(batch: Batch) -> list[tuple[int, ...]]:
    """Return the scored targets of each example of a packed batch, in any row."""
    actual = []
    for row in range(len(batch.tokens)):
        begins = [0] if batch.resets is None else batch.resets[row].nonzero().flatten().tolist()
        for start, stop in zip(begins, [*begins[1:], None], strict=True):
            mask = batch.completion_mask[row, start:stop]
            if mask.any():
                actual.append(tuple(batch.targets[row, start:stop][mask].tolist()))
    return sorted(actual)


@settings(max_examples=20)
@given(num_shards=st.integers(1, 4), seed=st.integers(0, 99))
def test_the_shards_of_a_batch_contain_its_windows_and_have_its_position(
    num_shards: int, seed: int
) -> None:
    def loader(shard: ProcessShard) -> WindowLoader:
        windows = Windows(MUSIC, TOKENIZER, prompt_bars=1, completion_bars=2)
        augment = RandomAugmentation(vocabulary=TOKENIZER.vocabulary)
        return WindowLoader(windows, batch_size=4, seed=seed, augment=augment, shard=shard)

    whole = loader(WHOLE_BATCH)
    parts = [loader(shard) for shard in shards(num_shards)]
    for _ in range(6):
        batch, batches = next(whole), [next(part) for part in parts]
        scored = [targets for part in batches for targets in scored_of(part)]
        assert sorted(scored) == scored_of(batch)
        assert all(part.position() == whole.position() for part in parts)


@settings(max_examples=20)
@given(num_shards=st.sampled_from([1, 2, 3, 6]), context=st.integers(1, 40))
def test_the_rows_of_a_long_context_batch_are_divided_in_order(
    num_shards: int, context: int
) -> None:
    def loader(shard: ProcessShard) -> LongContextLoader:
        return LongContextLoader(MUSIC, batch_size=6, context_length=context, seed=0, shard=shard)

    whole = loader(WHOLE_BATCH)
    parts = [loader(shard) for shard in shards(num_shards)]
    for _ in range(5):
        batch, batches = next(whole), [next(part) for part in parts]
        assert batch.tokens.tolist() == [row for part in batches for row in part.tokens.tolist()]
        assert all(part.position() == whole.position() for part in parts)


def test_an_empty_batch_is_one_padding_position() -> None:
    batch = empty_batch(padding_id=7)
    assert batch.tokens.tolist() == [[7]]
    assert batch.num_scored == 0


@pytest.mark.parametrize(("rank", "rows"), [(0, [0, 1]), (2, [4, 5])])
def test_rows_are_assigned_to_processes_in_order(rank: int, rows: list[int]) -> None:
    assert list(range(6))[ProcessShard(rank, 3).rows(6)] == rows
