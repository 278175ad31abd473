"""Environment variables, set for a while."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def temporary_env_var(name: str, value: str) -> Iterator[None]:
    """Have a variable of the environment say something inside, and what it said before behind."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before
