"""Cache of compiled kernels on disk, with a checksum verified at every read."""

import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path

from rwkv_music.atomic import write_atomic
from rwkv_music.cache import cache_folder

_DIGEST = hashlib.sha256
_DIGEST_SIZE = _DIGEST().digest_size


def cached(
    name: str, key: str, compile_kernel: Callable[[], bytes], *, refresh: bool = False
) -> bytes:
    """Return a compiled kernel from the cache, compiling it if it is missing or damaged.

    If the cache folder cannot be written, a warning says that every process compiles again.

    Args:
        name: First part of the file name.
        key: Everything the machine code depends on.
        compile_kernel: Returns the machine code.
        refresh: Compile again even if the cache has it.
    """
    try:
        path = cache_folder() / "cubins" / f"{name}-{_DIGEST(key.encode()).hexdigest()[:24]}"
        cached_code = None if refresh else _read(path)
    except OSError as error:
        return _warn_no_cache(error, compile_kernel())
    if cached_code is not None:
        return cached_code
    code = compile_kernel()
    try:
        write_atomic(path, _DIGEST(code).digest() + code)
    except OSError as error:
        return _warn_no_cache(error, code)
    return code


def _warn_no_cache(error: OSError, code: bytes) -> bytes:
    warnings.warn(
        f"compiled GPU kernels cannot be cached ({error}), so every process compiles them: set "
        "RWKV_MUSIC_CACHE to a writable folder",
        RuntimeWarning,
        stacklevel=2,
    )
    return code


def _read(path: Path) -> bytes | None:
    """Return the content, or None if the file is missing or damaged."""
    if not path.exists():
        return None
    data = path.read_bytes()
    digest, content = data[:_DIGEST_SIZE], data[_DIGEST_SIZE:]
    return content if content and _DIGEST(content).digest() == digest else None
