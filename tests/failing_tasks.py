"""Functions that go wrong in every way there is, for worker processes to run."""

import os
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from rwkv_music.errors import InputError, ScoreFileError


def _raise(error: Exception) -> NoReturn:
    raise error


_ACCIDENTS: dict[str, Callable[[], object]] = {
    "segfault": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "leave": lambda: os._exit(3),
    "hang": lambda: list(iter(int, 1)),
    "wait": lambda: time.sleep(1000),
    "rest": lambda: time.sleep(0.7) or "RESTED",
    "exit": lambda: sys.exit(4),
    "raise": lambda: _raise(ValueError("not\nso")),
    "refuse": lambda: _raise(ScoreFileError("some.mid", "is empty", offset=7)),
    "refuse plainly": lambda: _raise(InputError("too many parts")),
    "hunger": lambda: bytearray(1 << 42),
    "unsendable": lambda: lambda: None,
    "print": lambda: print("hello") or "PRINT",
    **{f"big {size}": lambda size=size: bytes(size << 20) for size in (0, 1, 3, 40)},
}


def accident(kind: str) -> object:
    """What the word says; harmless words come back in capitals."""
    return _ACCIDENTS[kind]() if kind in _ACCIDENTS else kind.upper()


def leave_once(flag: str) -> int:
    """End the process the first time, as when somebody else killed it; go well the second time."""
    try:
        Path(flag).touch(exist_ok=False)
    except FileExistsError:
        return 1
    os._exit(9)


def who(item: int) -> int:
    """The process that works on it."""
    time.sleep(0.001)
    return os.getpid()


def sleep_behind_a_note(folder: str) -> None:
    """Leave the number of this process in a folder, and never come back."""
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(1000)


def hold_on_behind_a_note(folder: str) -> None:
    """The same, and let no other thread of the process run."""
    (Path(folder) / str(os.getpid())).touch()
    re.match("(a*)*b", "a" * 60)
