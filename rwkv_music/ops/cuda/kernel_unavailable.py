"""Errors of GPU kernels."""

from rwkv_music.errors import InputError


class KernelUnavailable(InputError):  # noqa: N818 - a fact about the machine, not a mistake
    """A kernel cannot run on this machine; the message has the reason and the remedy."""
