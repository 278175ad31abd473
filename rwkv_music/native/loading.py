"""Finds the native library and the variant of it that suits this machine."""

import ctypes
import functools
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rwkv_music.errors import InputError
from rwkv_music.native.build import sources_number

_VARIANTS = ("baseline", "avx2", "avx512", "amx")
"""In rising order, as `rwkv_music_level` counts them."""
_FOLDER = Path(__file__).parent / "lib"


@dataclass(frozen=True)
class NativeLibrary:
    """What was loaded, or why nothing was."""

    functions: ctypes.CDLL | None
    variant: str
    """The instruction set: "baseline", "avx2", "avx512" or "amx"; empty without a library."""
    explanation: str
    """One sentence for `rwkv-music --version --verbose`."""

    def call(self, name: str, arguments: ctypes.Structure) -> None:
        """Call `rwkv_music_NAME` with a pointer to its arguments; other Python threads go on."""
        if self.functions is None:
            raise InputError(f"the native library is not there: {self.explanation}")
        getattr(self.functions, f"rwkv_music_{name}")(ctypes.byref(arguments))


@functools.cache
def load_library() -> NativeLibrary:
    """The library for this machine, loaded once.

    `RWKV_MUSIC_NATIVE=baseline|avx2|avx512|amx` takes a lesser variant than the machine allows, for
    tests and comparisons; `off` takes none.

    Raises:
        InputError: If the variable names something else, or more than the machine has.
    """
    asked = os.environ.get("RWKV_MUSIC_NATIVE", "")
    if asked == "off":
        return NativeLibrary(None, "", "switched off by RWKV_MUSIC_NATIVE=off")
    if asked and asked not in _VARIANTS:
        raise InputError(
            f"RWKV_MUSIC_NATIVE is '{asked}': set it to off, {', '.join(_VARIANTS)}, or unset it"
        )
    found = {name: path for name in _VARIANTS if (path := _FOLDER / _file_name(name)).exists()}
    if "baseline" not in found:
        return NativeLibrary(
            None,
            "",
            "it was not built, since no C++ compiler was found when rwkv-music was installed from "
            "source; install a wheel, or a compiler (g++ or clang++) and rwkv-music once more",
        )
    baseline = ctypes.CDLL(str(found["baseline"]))
    if _sources_of(baseline) != sources_number():
        return NativeLibrary(
            None,
            "",
            "it was built from other sources than these; run python "
            "rwkv_music/native/build.py, or install rwkv-music once more",
        )
    usable = _VARIANTS[: baseline.rwkv_music_level() + 1]
    if asked and asked not in usable:
        raise InputError(
            f"RWKV_MUSIC_NATIVE asks for {asked}, this machine has {' and '.join(usable)}: unset it"
        )
    variant = asked or _best(found, usable)
    if variant not in found:
        raise InputError(f"RWKV_MUSIC_NATIVE asks for {variant}, which was not built: unset it")
    return NativeLibrary(
        ctypes.CDLL(str(found[variant])),
        variant,
        f"{variant} variant, "
        + ("asked for by RWKV_MUSIC_NATIVE" if asked else "the best for this machine"),
    )


def _sources_of(library: ctypes.CDLL) -> int | None:
    """The number of the sources it was built from; None if it is older than such numbers."""
    try:
        ask = library.rwkv_music_sources
    except AttributeError:
        return None
    ask.restype = ctypes.c_int64
    return int(ask())


def _best(found: dict[str, Path], usable: Sequence[str]) -> str:
    return next(name for name in reversed(usable) if name in found)


def _file_name(variant: str) -> str:
    suffix = {"win32": "dll", "darwin": "dylib"}.get(sys.platform, "so")
    return f"rwkv_music-{variant}.{suffix}"
