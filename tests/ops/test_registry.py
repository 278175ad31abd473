"""The registry of WKV backends: register, list, use, remove."""

import os
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from rwkv_music.errors import InputError
from rwkv_music.ops import (
    Backend,
    choose_backend,
    get_backend,
    register_backend,
    registered_backends,
    unregister_backend,
    use_backend,
)
from rwkv_music.ops.wkv7 import wkv7

BUILT_IN = ["cuda", "triton", "native", "chunked", "reference"]


@pytest.fixture
def dtypes() -> list[torch.dtype]:
    return []


@pytest.fixture
def doubling(dtypes: list[torch.dtype]) -> Backend:
    """A backend that returns 2 r and the state unchanged, and records the dtype of r."""

    def recurrence(
        r: Tensor, decay_logit: Tensor, k: Tensor, v: Tensor, alpha: Tensor, beta: Tensor,
        state: Tensor, resets: Tensor | None,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        dtypes.append(r.dtype)
        return 2 * r, state

    return Backend("doubling", recurrence)


@pytest.fixture
def registered(doubling: Backend) -> Iterator[Backend]:
    register_backend(doubling)
    yield doubling
    unregister_backend("doubling")


def test_the_built_in_backends_are_registered_in_order_of_preference() -> None:
    assert registered_backends() == BUILT_IN


@pytest.mark.usefixtures("registered")
def test_a_registered_backend_runs_when_requested_and_never_by_default() -> None:
    x = torch.randn(1, 3, 2, 64)
    y, state = wkv7(x, x, x, x, x, x, backend="doubling")
    assert torch.equal(y, 2 * x)
    assert not state.any()
    assert registered_backends() == [*BUILT_IN, "doubling"]
    assert choose_backend(x, 64) in BUILT_IN


@pytest.mark.usefixtures("registered")
def test_use_backend_applies_inside_the_block_only() -> None:
    x = torch.randn(1, 3, 1, 64)
    before = os.environ.get("RWKV_MUSIC_WKV")
    with use_backend("doubling"):
        assert torch.equal(wkv7(x, x, x, x, x, x)[0], 2 * x)
    assert os.environ.get("RWKV_MUSIC_WKV") == before
    assert not torch.equal(wkv7(x, x, x, x, x, x)[0], 2 * x)


def test_only_backends_that_read_bfloat16_receive_it(
    doubling: Backend, dtypes: list[torch.dtype]
) -> None:
    x = torch.randn(1, 2, 1, 64).bfloat16()
    for reads_bfloat16 in (False, True):
        register_backend(Backend("narrow", doubling.recurrence, reads_bfloat16=reads_bfloat16))
        y, _ = wkv7(x, x, x, x, x, x, backend="narrow")
        unregister_backend("narrow")
        assert y.dtype == torch.bfloat16
    assert dtypes == [torch.float32, torch.bfloat16]


def test_a_backend_that_cannot_take_the_tensors_says_why(doubling: Backend) -> None:
    register_backend(
        Backend("picky", doubling.recurrence, lambda x, head_size: f"no heads of {head_size}")
    )
    x = torch.zeros(1, 2, 1, 64)
    with pytest.raises(InputError, match="backend 'picky' cannot run here: no heads of 64"):
        wkv7(x, x, x, x, x, x, backend="picky")
    unregister_backend("picky")


@pytest.mark.usefixtures("registered")
def test_taken_and_unknown_names_are_refused(doubling: Backend) -> None:
    with pytest.raises(InputError, match="already a WKV backend 'doubling'"):
        register_backend(doubling)
    for call in (get_backend, unregister_backend):
        with pytest.raises(InputError, match="no WKV backend 'abacus': choose one of cuda, "):
            call("abacus")
    with pytest.raises(InputError, match="no WKV backend 'abacus'"), use_backend("abacus"):
        pass
