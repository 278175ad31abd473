"""Prefetched batches are the same batches, with the right positions."""

import json
import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rwkv_music.data import Batch
from rwkv_music.data.loading.prefetch_loader import PrefetchLoader
from rwkv_music.data.loading.window_loader import WindowLoader
from tests.data.loading.test_window_loader import as_lists, loader


@settings(max_examples=15)
@given(
    ahead=st.integers(1, 6), taken=st.integers(0, 25), batch_size=st.integers(1, 4),
    packing=st.booleans(),
)  # fmt: skip
def test_the_position_is_that_of_the_next_batch_returned(
    ahead: int, taken: int, batch_size: int, packing: bool
) -> None:
    plain = loader(batch_size, packing=packing)
    with PrefetchLoader(loader(batch_size, packing=packing), ahead=ahead) as batches:
        for _ in range(taken):
            assert as_lists(next(batches)) == as_lists(next(plain))
        position = json.loads(json.dumps(batches.position()))
        assert position == plain.position()
        expected = [as_lists(next(plain)) for _ in range(5)]
        assert [as_lists(next(batches)) for _ in range(5)] == expected
        batches.seek(position)
        assert [as_lists(next(batches)) for _ in range(5)] == expected
    again = loader(batch_size, seed=99, packing=packing)
    again.seek(position)
    assert [as_lists(next(again)) for _ in range(5)] == expected


def test_closing_skips_no_batch() -> None:
    plain, batches = loader(), PrefetchLoader(loader())
    for _ in range(3):
        assert as_lists(next(batches)) == as_lists(next(plain))
        batches.close()
    batches.close()
    assert threading.active_count() == 1 or "prefetch" not in {
        thread.name for thread in threading.enumerate()
    }


class Counting(WindowLoader):
    """Tells when so many batches have been made, and breaks after that."""

    def __init__(self, source: WindowLoader, *, good: int) -> None:
        self.source = source
        self.left = good
        self.made_all = threading.Event()

    def __next__(self) -> Batch:
        if not self.left:
            raise ValueError("the disk is gone")
        self.left -= 1
        if not self.left:
            self.made_all.set()
        return next(self.source)

    def position(self) -> dict[str, Any]:
        return self.source.position()

    def seek(self, position: dict[str, Any]) -> None:
        self.source.seek(position)


def test_batches_are_made_in_advance() -> None:
    source = Counting(loader(), good=4)
    with PrefetchLoader(source, ahead=3) as batches:
        next(batches)
        # Nobody asks for the other three; a stream that waits for that would never end here.
        assert source.made_all.wait(timeout=60)


def test_an_exception_in_the_thread_is_raised_in_order() -> None:
    with PrefetchLoader(Counting(loader(), good=2), ahead=5) as batches:
        next(batches)
        next(batches)
        for _ in range(2):  # somebody who asks again must not wait for a thread that has ended
            with pytest.raises(ValueError, match="the disk is gone"):
                next(batches)
