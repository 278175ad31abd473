"""Registry of WKV backends: register your own, list them, use one inside a block."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor

from rwkv_music.environment import temporary_env_var
from rwkv_music.errors import InputError
from rwkv_music.ops.direct_calls import constant_when_compiled

BACKEND_VARIABLE = "RWKV_MUSIC_WKV"
"""Environment variable that forces one backend by name."""


def _always_available(_x: Tensor, _head_size: int) -> str | None:
    return None


@dataclass(frozen=True)
class Backend:
    """An implementation of the WKV recurrence."""

    name: str
    recurrence: Callable[..., tuple[Tensor, Tensor]]
    """Takes (r, decay_logit, k, v, alpha, beta, state, resets), checked by `wkv7`, and returns the
    outputs and the final state. `resets` is None or a boolean tensor [B, T]."""
    why_unavailable: Callable[[Tensor, int], str | None] = _always_available
    """Returns why it cannot run on tensors like the given one with the given head size, or None if
    it can."""
    reads_bfloat16: bool = False
    """Whether it takes bfloat16 sequences. If not, `wkv7` converts them to float32."""


_registry: dict[str, Backend] = {}


def register_backend(backend: Backend) -> None:
    """Make a backend available to `wkv7(..., backend=name)` and to `use_backend`.

    A registered backend is never selected automatically.

    Raises:
        InputError: If the name is taken.
    """
    if backend.name in _registry:
        raise InputError(
            f"there is already a WKV backend '{backend.name}': choose another name, or call "
            "unregister_backend first"
        )
    _registry[backend.name] = backend


def unregister_backend(name: str) -> None:
    """Remove a backend from the registry.

    Raises:
        InputError: If there is no such backend.
    """
    get_backend(name)
    del _registry[name]


def get_backend(name: str) -> Backend:
    """Return a registered backend.

    Raises:
        InputError: If there is no such backend.
    """
    if name not in _registry:
        raise InputError(
            f"there is no WKV backend '{name}': choose one of {', '.join(registered_backends())}"
        )
    return _registry[name]


def registered_backends() -> list[str]:
    """Return the names of all backends, whether or not they can run on this machine."""
    return list(_registry)


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Use one backend for every call inside a `with` block.

    It sets `RWKV_MUSIC_WKV`, so that it applies to all threads and to processes started inside.

    Raises:
        InputError: If there is no such backend.
    """
    get_backend(name)
    with temporary_env_var(BACKEND_VARIABLE, name):
        yield


@constant_when_compiled
def forced_backend() -> str:
    """Return the backend named by `RWKV_MUSIC_WKV`, or an empty string.

    A compiled graph keeps the value of its first call.
    """
    return os.environ.get(BACKEND_VARIABLE, "")
