"""How much memory a process has had; apart, so that asking costs no import of torch."""

import sys
from pathlib import Path

import psutil


def peak_memory() -> int:
    """Most bytes of memory this process has had so far."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count what the parent had when it started us
        lines = status.read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS
