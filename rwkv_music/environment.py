"""Temporary changes of environment variables."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def temporary_env_var(name: str, value: str) -> Iterator[None]:
    """Set an environment variable inside a `with` block; restore it afterwards."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before
