"""Timing of functions on a device, in turns, each from a cold cache."""

import statistics
import time
from collections.abc import Callable, Mapping

import torch

REPEATS = 20
_FLUSH_BYTES = 256 * 2**20
"""Bytes written between two runs: several times the cache of any GPU."""


class Deadline:
    """Time limit of the whole benchmark.

    Args:
        seconds: Seconds from now.
    """

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds left; 0 after the deadline."""
        return max(0.0, self._end - time.monotonic())


class Stopwatch:
    """Measures time with CUDA events on a GPU and with the system clock elsewhere.

    Args:
        device: Device that the measured functions run on.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._on_gpu = device.type == "cuda"
        size = _FLUSH_BYTES if self._on_gpu else 1
        self._scratch = torch.empty(size, dtype=torch.int8, device=device)

    def seconds(self, function: Callable[[], object]) -> float:
        """Return the seconds of one run from a cold cache."""
        self._scratch.zero_()
        if not self._on_gpu:
            began = time.perf_counter()
            function()
            return time.perf_counter() - began
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        with torch.cuda.device(self._device):
            begin.record()
            function()
            end.record()
            end.synchronize()
        return float(begin.elapsed_time(end)) / 1000

    def time_in_turns(
        self,
        functions: Mapping[str, Callable[[], object]],
        *,
        repeats: int = REPEATS,
        deadline: Deadline | None = None,
    ) -> dict[str, list[float]]:
        """Return the seconds of each run by name, after two warm-up runs.

        Stops after three rounds once the deadline has passed. A function that runs out of memory is
        left out.
        """
        timings: dict[str, list[float]] = {}
        for name, function in functions.items():
            try:
                for _ in range(2):
                    self.seconds(function)
            except torch.OutOfMemoryError:
                torch.cuda.empty_cache()
            else:
                timings[name] = []
        for turn in range(repeats):
            if turn >= 3 and deadline is not None and not deadline.left:
                break
            for name, seconds in timings.items():
                seconds.append(self.seconds(functions[name]))
        return timings


def summary(seconds: list[float]) -> dict[str, float | int]:
    """Return the median in milliseconds, the spread (range over median) and the number of runs."""
    median = statistics.median(seconds)
    return {
        "milliseconds": float(f"{1000 * median:.4g}"),
        "spread": round((max(seconds) - min(seconds)) / median, 3),
        "runs": len(seconds),
    }
