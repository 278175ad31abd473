"""Timing work on a device, in turns, with what was cached put out of the cache."""

import statistics
import time
from collections.abc import Callable, Mapping

import torch

REPEATS = 20
_FLUSHED = 256 * 2**20
"""Bytes written between two runs: several times the cache of any GPU."""


class Deadline:
    """How much time is left for everything.

    Args:
        seconds: From now on.
    """

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds; never negative."""
        return max(0.0, self._end - time.monotonic())


class Stopwatch:
    """Takes the time of work on a device: by CUDA events on a GPU, by the clock elsewhere.

    Args:
        device: Where the work is done.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._on_gpu = device.type == "cuda"
        size = _FLUSHED if self._on_gpu else 1
        self._scratch = torch.empty(size, dtype=torch.int8, device=device)

    def seconds(self, work: Callable[[], object]) -> float:
        """One run, from a cold cache."""
        self._scratch.zero_()
        if not self._on_gpu:
            began = time.perf_counter()
            work()
            return time.perf_counter() - began
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        with torch.cuda.device(self._device):
            begin.record()
            work()
            end.record()
            end.synchronize()
        return float(begin.elapsed_time(end)) / 1000

    def in_turns(
        self,
        contestants: Mapping[str, Callable[[], object]],
        *,
        repeats: int = REPEATS,
        deadline: Deadline | None = None,
    ) -> dict[str, list[float]]:
        """Each contestant's seconds, after two runs that do not count.

        Ends after three rounds if the deadline has passed. One that is out of memory has none.
        """
        taken: dict[str, list[float]] = {}
        for name, work in contestants.items():
            try:
                for _ in range(2):
                    self.seconds(work)
            except torch.OutOfMemoryError:
                torch.cuda.empty_cache()
            else:
                taken[name] = []
        for turn in range(repeats):
            if turn >= 3 and deadline is not None and not deadline.left:
                break
            for name, seconds in taken.items():
                seconds.append(self.seconds(contestants[name]))
        return taken


def summary(seconds: list[float]) -> dict[str, float | int]:
    """Median milliseconds, the spread (range over median), and of how many runs."""
    median = statistics.median(seconds)
    return {
        "milliseconds": float(f"{1000 * median:.4g}"),
        "spread": round((max(seconds) - min(seconds)) / median, 3),
        "runs": len(seconds),
    }
