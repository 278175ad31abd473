"""Loaders of a mixture: the weights of the sets, whole epochs, and exact positions."""

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rwkv_music.data import Batch, Piece, Windows
from rwkv_music.data.loading.mixture_loader import (
    MixtureLongContextLoader,
    MixtureWindowLoader,
    RangesOf,
    evenly_spaced,
    quotas,
)
from rwkv_music.data.loading.process_shard import ProcessShard
from rwkv_music.errors import InputError
from rwkv_music.tokenizer import Tokenizer
from tests.music import tune

TOKENIZER = Tokenizer()
PITCH = TOKENIZER.vocabulary.pitch


def piece_at(low: int, *, seed: int) -> Piece:
    ids = TOKENIZER.encode(tune(bars=8, seed=seed, low=low))
    return Piece(name=f"{low}-{seed}", ids=ids, group=str(seed))


# The first set is large and low, the second one small and high.
SMALL = [piece_at(60, seed=seed) for seed in range(2)]
LARGE = [piece_at(20, seed=seed) for seed in range(10, 22)]
PIECES = LARGE + SMALL


def piece_ranges(pieces: list[Piece]) -> list[range]:
    large = sum(any(piece is own for own in LARGE) for piece in pieces)
    return [range(large), range(large, len(pieces))]


def is_high(ids: np.ndarray) -> bool:
    pitches = ids[(ids >= PITCH.start) & (ids < PITCH.stop)] - PITCH.start
    return bool(pitches.min() >= 72)


def windows() -> Windows:
    return Windows(PIECES, TOKENIZER, prompt_bars=2, completion_bars=2)


def window_loader(
    weights: tuple[float, float] = (1, 1), *, seed: int = 3, shard: ProcessShard | None = None
) -> MixtureWindowLoader:
    given = {} if shard is None else {"shard": shard}
    return MixtureWindowLoader(
        windows(), ranges_of=piece_ranges, weights=weights, batch_size=4, seed=seed, packing=False,
        **given,
    )  # fmt: skip


def high_rows(batch: Batch) -> int:
    return sum(is_high(row.numpy()) for row in batch.tokens)


@pytest.mark.parametrize(("weights", "expected"), [((1, 1), 0.5), ((3, 1), 0.25), ((1, 9), 0.9)])
def test_windows_are_drawn_in_proportion_to_the_weights(
    weights: tuple[float, float], expected: float
) -> None:
    batches = window_loader(weights)
    per_epoch = len(windows())
    rows = [next(batches) for _ in range(per_epoch // 4)]
    high = sum(map(high_rows, rows))
    total = sum(len(batch.tokens) for batch in rows)
    assert total == per_epoch
    assert abs(high - expected * total) <= 1


def test_no_window_of_a_set_comes_twice_before_the_others_came_once() -> None:
    batches = window_loader((1, 1))
    rows: list[bytes] = []
    for _ in range(len(windows()) // 4):
        rows += [row.numpy().tobytes() for row in next(batches).tokens if not is_high(row.numpy())]
    assert len(set(rows)) == len(rows)


@settings(max_examples=10)
@given(taken=st.integers(0, 60))
def test_a_mixture_continues_from_a_position_with_the_same_batches(taken: int) -> None:
    first = window_loader((1, 3))
    for _ in range(taken):
        next(first)
    position = json.loads(json.dumps(first.position()))
    second = window_loader((1, 3), seed=77)
    next(second)
    second.seek(position)
    for _ in range(30):
        assert next(first).tokens.tolist() == next(second).tokens.tolist()


def test_processes_share_the_batches_of_one() -> None:
    whole = window_loader()
    shards = [window_loader(shard=ProcessShard(rank, 2)) for rank in range(2)]
    for _ in range(30):
        expected = Counter(_rows(next(whole)))
        assert Counter(row for shard in shards for row in _rows(next(shard))) == expected


def _rows(batch: Batch) -> list[tuple[int, ...]]:
    return [tuple(token for token in row if token) for row in batch.tokens.tolist()]


def long_loader(weights: tuple[float, float], *, seed: int = 5) -> MixtureLongContextLoader:
    return MixtureLongContextLoader(
        PIECES, ranges_of=piece_ranges, weights=weights, batch_size=2, context_length=50, seed=seed
    )


def test_whole_pieces_are_drawn_in_proportion_to_the_weights() -> None:
    batches = long_loader((1, 3))
    starts = Counter[bool]()
    order = [batches._order(epoch) for epoch in range(4)]
    for epoch in order:
        assert len(epoch) == len(PIECES)
        starts.update(index >= len(LARGE) for index in epoch)
    assert starts[True] / starts.total() == pytest.approx(0.75, abs=0.04)


def test_a_mixture_of_whole_pieces_continues_from_a_position() -> None:
    first = long_loader((1, 3))
    for _ in range(25):
        next(first)
    second = long_loader((1, 3))
    second.seek(json.loads(json.dumps(first.position())))
    for _ in range(25):
        assert next(first).tokens.tolist() == next(second).tokens.tolist()


@given(
    total=st.integers(0, 1000),
    weights=st.lists(st.floats(0.01, 100), min_size=1, max_size=6),
)
def test_quotas_are_within_one_of_the_exact_numbers(total: int, weights: list[float]) -> None:
    values = quotas(total, weights)
    assert sum(values) == total
    for quota, weight in zip(values, weights, strict=True):
        assert abs(quota - total * weight / sum(weights)) < 1


def test_evaluated_windows_are_spread_over_the_sets() -> None:
    sets = [range(100), range(100, 110)]
    assert evenly_spaced(sets, [1, 1], most=110) == list(range(110))
    chosen = evenly_spaced(sets, [1, 1], most=20)
    assert chosen[:10] == [0, 11, 22, 33, 44, 55, 66, 77, 88, 99]
    assert chosen[10:] == list(range(100, 110))


def test_a_set_without_windows_is_refused() -> None:
    ranges_of: RangesOf = lambda pieces: [range(len(pieces)), range(0)]  # noqa: E731
    with pytest.raises(InputError, match="corpus 2 of the mixture has no piece"):
        MixtureWindowLoader(windows(), ranges_of=ranges_of, weights=(1, 1), batch_size=2, seed=0)
    with pytest.raises(InputError, match="corpus 2 of the mixture has no piece"):
        MixtureLongContextLoader(
            PIECES, ranges_of=ranges_of, weights=(1, 1), batch_size=2, context_length=9, seed=0
        )
