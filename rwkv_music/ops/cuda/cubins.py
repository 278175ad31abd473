"""Compiled kernels on disk: compiled once per machine, checked whenever they are read."""

import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path

from rwkv_music.atomic import write_atomic
from rwkv_music.cache import cache_folder

_DIGEST = hashlib.sha256
_DIGEST_SIZE = _DIGEST().digest_size


def cached(name: str, key: str, make: Callable[[], bytes], *, anew: bool = False) -> bytes:
    """What `make` returns, from the cache where it is there and whole.

    A folder that cannot be written costs a compilation in every process, and a warning.

    Args:
        name: Begins the file's name.
        key: Everything the content depends on.
        make: Called if nothing usable is there.
        anew: Whether to make it again although it is there.
    """
    try:
        path = cache_folder() / "cubins" / f"{name}-{_DIGEST(key.encode()).hexdigest()[:24]}"
        found = None if anew else _read(path)
    except OSError as error:
        return _without_cache(error, make())
    if found is not None:
        return found
    made = make()
    try:
        write_atomic(path, _DIGEST(made).digest() + made)
    except OSError as error:
        return _without_cache(error, made)
    return made


def _without_cache(error: OSError, made: bytes) -> bytes:
    warnings.warn(
        f"compiled GPU kernels cannot be kept ({error}) and are compiled in every process: let "
        "RWKV_MUSIC_CACHE name a folder that can be written",
        RuntimeWarning,
        stacklevel=2,
    )
    return made


def _read(path: Path) -> bytes | None:
    """The content; None if there is none or it is not what was written."""
    if not path.exists():
        return None
    data = path.read_bytes()
    digest, content = data[:_DIGEST_SIZE], data[_DIGEST_SIZE:]
    return content if content and _DIGEST(content).digest() == digest else None
