"""All matrices in one block: same numbers, in order, in large pages where Linux has them."""

import re
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rwkv_music.ops.decoding import contiguous_copies

LARGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
SHAPES = st.lists(st.lists(st.integers(0, 5), max_size=3), max_size=6)
DTYPES = st.sampled_from([torch.float32, torch.bfloat16, torch.int8])


@given(shapes=SHAPES, dtype=DTYPES)
def test_copies_hold_the_same_numbers_and_lie_in_order_each_at_a_cache_line(
    shapes: list[list[int]], dtype: torch.dtype
) -> None:
    originals = {str(index): torch.randn(shape).to(dtype) for index, shape in enumerate(shapes)}
    copies = contiguous_copies(originals)
    torch.testing.assert_close(copies, originals, rtol=0, atol=0)
    assert list(copies) == list(originals)
    there = [copy for copy in copies.values() if copy.numel()]
    assert all(tensor.data_ptr() % 64 == 0 for tensor in there)
    for first, second in pairwise(there):
        assert 0 <= second.data_ptr() - (first.data_ptr() + first.nbytes) < 64


def test_a_copy_outlives_the_others() -> None:
    kept = contiguous_copies({"first": torch.zeros(2**20), "kept": torch.arange(2**20)})["kept"]
    other = contiguous_copies({"other": torch.full((2**21,), 7.0)})
    torch.testing.assert_close(kept, torch.arange(2**20))
    assert other["other"][-1] == 7


@pytest.mark.skipif(not LARGE_PAGES.exists(), reason="this system has no transparent large pages")
def test_a_large_block_asks_linux_for_large_pages() -> None:
    copy = contiguous_copies({"weights": torch.ones(2**20)})["weights"]
    flags = ""
    for mapping in re.split(r"\n(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text()):
        first, last = (int(text, 16) for text in mapping.split()[0].split("-"))
        if first <= copy.data_ptr() < last:
            flags = re.findall(r"VmFlags: (.*)", mapping)[0]
    assert "hg" in flags.split()
    assert copy.data_ptr() % 2**21 == 0
