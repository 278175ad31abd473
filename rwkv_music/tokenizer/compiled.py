"""The inner loops, compiled by numba where it is installed.

numba takes a second to load, far longer than numpy needs for one piece. So the loops are compiled
(once; numba keeps them on disk) when a process has met `PATIENCE` pieces. What they give is the
same, bit for bit. Worker processes use numpy unless they are told. `RWKV_MUSIC_TOKENIZER` forces
one of them from the first piece on.
"""

import inspect
import os
from collections.abc import Callable
from functools import cache
from importlib import util
from typing import Any, NamedTuple

from rwkv_music.errors import InputError
from rwkv_music.tokenizer import loops
from rwkv_music.worker_process import in_worker

VARIABLE = "RWKV_MUSIC_TOKENIZER"
"""The environment variable that forces "numpy" or "numba"."""
PATIENCE = 100
"""Pieces, encoded or decoded, before numba is loaded."""


class Loops(NamedTuple):
    """The functions of `loops`, compiled."""

    note_keys: Callable[..., Any]
    pedal_keys: Callable[..., Any]
    emit: Callable[..., Any]
    count_kinds: Callable[..., Any]
    read: Callable[..., Any]
    split: Callable[..., Any]


def compiled_loops() -> Loops | None:
    """The compiled loops, where they are to be used; to be asked once for each piece.

    Raises:
        InputError: If the environment variable says something else, or numba is not installed and
            it says "numba".
    """
    forced = os.environ.get(VARIABLE, "")
    if forced == "numpy" or (not forced and not _is_worth_it()):
        return None
    if forced not in {"", "numba"}:
        raise InputError(f"{VARIABLE} must be numpy or numba, got '{forced}'")
    if forced and not has_numba():
        raise InputError(
            f"{VARIABLE}=numba, but numba is not installed: pip install 'rwkv-music[fast]'"
        )
    return _compile()


def describe_loops() -> str:
    """Which loops run on this machine and why, in one line."""
    forced = os.environ.get(VARIABLE, "")
    if forced:
        return f"{forced} ({VARIABLE} says so)"
    if has_numba():
        return f"numpy, and numba from piece {PATIENCE} of a process on"
    return "numpy (numba is not installed: pip install 'rwkv-music[fast]')"


class _Met:
    """How many pieces this process has met."""

    pieces = 0


def _is_worth_it() -> bool:
    if in_worker():
        return False  # there, each piece has a time limit that compiling would exceed
    if _Met.pieces < PATIENCE:
        _Met.pieces += 1
        return False
    return has_numba()


@cache
def has_numba() -> bool:
    """Whether numba is installed."""
    return util.find_spec("numba") is not None


@cache
def _compile() -> Loops:
    import numba

    # Unwrapped, since what checks types in the tests is nothing for a compiler.
    plain = {name: inspect.unwrap(getattr(loops, name)) for name in Loops._fields}
    return Loops(**{name: numba.njit(each, cache=True) for name, each in plain.items()})
