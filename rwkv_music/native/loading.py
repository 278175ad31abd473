"""Loading of the native library in the best variant for this machine."""

import ctypes
import functools
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rwkv_music.errors import InputError
from rwkv_music.native.build import sources_hash

_VARIANTS = ("baseline", "avx2", "avx512", "amx")
"""In ascending order, as numbered by `rwkv_music_level`."""
_FOLDER = Path(__file__).parent / "lib"


@dataclass(frozen=True)
class NativeLibrary:
    """The loaded library, or the reason why there is none."""

    functions: ctypes.CDLL | None
    variant: str
    """The instruction set: "baseline", "avx2", "avx512" or "amx"; empty without a library."""
    explanation: str
    """One sentence for `rwkv-music --version --verbose`."""

    def call(self, name: str, arguments: ctypes.Structure) -> None:
        """Call `rwkv_music_NAME` with a pointer to its arguments, without holding the GIL."""
        if self.functions is None:
            raise InputError(f"the native library is not available: {self.explanation}")
        getattr(self.functions, f"rwkv_music_{name}")(ctypes.byref(arguments))


@functools.cache
def load_library() -> NativeLibrary:
    """Return the library for this machine, loaded once.

    `RWKV_MUSIC_NATIVE=baseline|avx2|avx512|amx` selects a lower variant for tests and comparisons;
    `off` disables the library.

    Raises:
        InputError: If the variable has another value, or this machine lacks the variant.
    """
    requested = os.environ.get("RWKV_MUSIC_NATIVE", "")
    if requested == "off":
        return NativeLibrary(None, "", "switched off by RWKV_MUSIC_NATIVE=off")
    if requested and requested not in _VARIANTS:
        raise InputError(
            f"RWKV_MUSIC_NATIVE is '{requested}': set it to off, {', '.join(_VARIANTS)}, "
            "or unset it"
        )
    files = {name: path for name in _VARIANTS if (path := _FOLDER / _file_name(name)).exists()}
    if "baseline" not in files:
        return NativeLibrary(
            None,
            "",
            "it was not built, since no C++ compiler was found when rwkv-music was installed from "
            "source; install a wheel, or a compiler (g++ or clang++) and rwkv-music again",
        )
    baseline = ctypes.CDLL(str(files["baseline"]))
    if _sources_of(baseline) != sources_hash():
        return NativeLibrary(
            None,
            "",
            "it was built from other sources; run python "
            "rwkv_music/native/build.py, or install rwkv-music again",
        )
    usable = _VARIANTS[: baseline.rwkv_music_level() + 1]
    if requested and requested not in usable:
        raise InputError(
            f"RWKV_MUSIC_NATIVE asks for {requested}, this machine has "
            f"{' and '.join(usable)}: unset it"
        )
    variant = requested or _best(files, usable)
    if variant not in files:
        raise InputError(f"RWKV_MUSIC_NATIVE asks for {variant}, which was not built: unset it")
    return NativeLibrary(
        ctypes.CDLL(str(files[variant])),
        variant,
        f"{variant} variant, "
        + ("asked for by RWKV_MUSIC_NATIVE" if requested else "the best for this machine"),
    )


def _sources_of(library: ctypes.CDLL) -> int | None:
    """Return the hash of the sources of a library; None if it has none."""
    try:
        function = library.rwkv_music_sources
    except AttributeError:
        return None
    function.restype = ctypes.c_int64
    return int(function())


def _best(files: dict[str, Path], usable: Sequence[str]) -> str:
    return next(name for name in reversed(usable) if name in files)


def _file_name(variant: str) -> str:
    suffix = {"win32": "dll", "darwin": "dylib"}.get(sys.platform, "so")
    return f"rwkv_music-{variant}.{suffix}"
