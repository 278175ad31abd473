"""Functions that fail in different ways, for worker processes to run."""

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


_TASKS: dict[str, Callable[[], object]] = {
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


def run_task(kind: str) -> object:
    """Run the task of that name; return any other word in capitals."""
    return _TASKS[kind]() if kind in _TASKS else kind.upper()


def exit_once(flag: str) -> int:
    """Exit the process on the first call; return 1 on the second call."""
    try:
        Path(flag).touch(exist_ok=False)
    except FileExistsError:
        return 1
    os._exit(9)


def process_id(item: int) -> int:
    """Return the id of the process that runs the task."""
    time.sleep(0.001)
    return os.getpid()


def write_pid_and_sleep(folder: str) -> None:
    """Write the id of this process into a folder, then sleep."""
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(1000)


def write_pid_and_block(folder: str) -> None:
    """Write the id of this process into a folder, then block all threads of the process."""
    (Path(folder) / str(os.getpid())).touch()
    re.match("(a*)*b", "a" * 60)
