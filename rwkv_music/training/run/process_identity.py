"""Which process trains a run, and whether it still lives."""

import platform
import time
from collections.abc import Mapping
from typing import Any

import psutil

_SAME_START_SECONDS = 5.0
_SILENCE_SECONDS = 600.0


def identity(process_id: int | None = None) -> dict[str, Any]:
    """What tells a process from every other: number, start and machine. This process when None."""
    process = psutil.Process(process_id)
    return {
        "pid": process.pid,
        "process_started": process.create_time(),
        "host": platform.node(),
        "updated": time.time(),
    }


def is_alive(status: Mapping[str, Any]) -> bool:
    """Whether the process that a status names still lives.

    A number that another process has got since does not count, nor does a process that has ended
    and waits for its parent to notice. Of a process on another machine one knows only that it was
    heard of in the last ten minutes.
    """
    if status.get("host", platform.node()) != platform.node():
        return time.time() - float(status.get("updated", 0.0)) < _SILENCE_SECONDS
    try:
        process = psutil.Process(status["pid"])
        started = status.get("process_started", process.create_time())
        is_same = abs(process.create_time() - started) < _SAME_START_SECONDS
        return bool(is_same and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
