"""Which process trains a run, and whether it is still alive."""

import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

_SAME_START_SECONDS = 5.0
_SILENCE_SECONDS = 600.0


def identity(process_id: int | None = None) -> dict[str, Any]:
    """Return what identifies a process: number, start and machine. This process when None."""
    process = psutil.Process(process_id)
    return {
        "pid": process.pid,
        "process_started": process.create_time(),
        "process_start_id": _start_id(process.pid),
        "host": platform.node(),
        "updated": time.time(),
    }


def is_alive(status: Mapping[str, Any]) -> bool:
    """Return whether the process that a status names is alive.

    A process that got the same number later does not count, nor does one that has ended and waits
    for its parent. On Linux the start of a process is compared in a unit that does not change when
    the clock is set. Of a process on another machine it is only known whether it wrote its status
    in the last ten minutes.
    """
    if status.get("host", platform.node()) != platform.node():
        # The clock of the other machine may be ahead, but not by as much as that.
        return abs(time.time() - _seconds(status, "updated", 0.0)) < _SILENCE_SECONDS
    try:
        process = psutil.Process(status["pid"])
        return _started_as(process, status) and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _started_as(process: psutil.Process, status: Mapping[str, Any]) -> bool:
    start_id = _start_id(process.pid)
    if start_id and status.get("process_start_id"):
        return bool(start_id == status["process_start_id"])
    started = _seconds(status, "process_started", process.create_time())
    return bool(abs(process.create_time() - started) < _SAME_START_SECONDS)


def _seconds(status: Mapping[str, Any], name: str, default: float) -> float:
    """Return a time of a status; the default if it is missing or no number."""
    value = status.get(name)
    return float(value) if isinstance(value, int | float) else default


def _start_id(process_id: int) -> str:
    """Return boot and clock ticks since then at which a process started; "" except on Linux."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        fields = Path(f"/proc/{process_id}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    # The second field is the program's name in parentheses, which may contain anything.
    return f"{boot}/{fields.rpartition(')')[2].split()[19]}"
