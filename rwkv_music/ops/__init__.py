"""Tensor operators of RWKV-7: WKV recurrence, token shift, time mixing, cross entropy.

This is the only package that knows kernels. It works on plain tensors and knows neither music nor
models. Backends of the recurrence are registered, listed and selected with the functions below.
"""

from rwkv_music.ops import wkv7  # registers the built-in backends
from rwkv_music.ops.backends import available_backends, choose_backend, describe_backends
from rwkv_music.ops.registry import (
    Backend,
    get_backend,
    register_backend,
    registered_backends,
    unregister_backend,
    use_backend,
)

__all__ = [
    "Backend",
    "available_backends",
    "choose_backend",
    "describe_backends",
    "get_backend",
    "register_backend",
    "registered_backends",
    "unregister_backend",
    "use_backend",
    "wkv7",
]
