"""What all benchmarks share: describing the machine, timing in turns, memory, writing results.

Contestants run in turns within one process, so that whatever else slows the machine down slows all
of them; the ratio of two is taken turn by turn.
"""

import ctypes
import gc
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import psutil
import torch
from torch import Tensor

from rwkv_music.ops.backends import describe_backends

REPOSITORY = Path(__file__).resolve().parents[1]
RESULTS = REPOSITORY / "benchmarks" / "results"
REPEATS = 5
"""Turns of which the median is taken, at least."""
Name = TypeVar("Name", bound=Hashable)
"""Of an implementation."""

_INSTRUCTION_SETS = (
    "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16",
    "avx512_fp16", "avx_vnni", "amx_tile", "amx_bf16", "amx_int8", "asimd", "asimddp", "bf16",
    "i8mm", "sve",
)  # fmt: skip
"""The flags that matter to matrix products, of those Linux lists."""


def machine(*packages: str) -> dict[str, Any]:
    """What figures were measured on, and when.

    Args:
        packages: Whose versions to tell besides those of Python, torch and numpy.
    """
    names = ("torch", "numpy", *packages)
    return {
        "processor": processor_name(),
        "architecture": platform.machine(),
        "system": platform.system(),
        "cores": psutil.cpu_count(logical=False) or os.cpu_count(),
        "threads": torch.get_num_threads(),
        "instruction_sets": instruction_sets(),
        "torch_uses": torch.backends.cpu.get_cpu_capability(),
        "kernels": describe_backends(),
        "versions": {
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in names},
        },
        "commit": commit(),
        "date": time.strftime("%Y-%m-%d"),
    }


def processor_name() -> str:
    """As the system tells it."""
    if sys.platform == "darwin":
        asked = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    return _cpuinfo().get("model name") or platform.processor() or platform.machine()


def instruction_sets() -> list[str]:
    """Those of the processor that matter here; empty where Linux does not list them."""
    cpuinfo = _cpuinfo()
    there = set((cpuinfo.get("flags") or cpuinfo.get("Features") or "").split())
    return [name for name in _INSTRUCTION_SETS if name in there]


def _cpuinfo() -> dict[str, str]:
    """The first processor's lines of /proc/cpuinfo; empty on systems without it."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return {}
    first = path.read_text(encoding="utf-8").split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def commit() -> str:
    """The commit measured, with "-dirty" after it if files differ; "none" outside a clone."""
    asked = ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty", "--exclude", "*"]
    result = subprocess.run(asked, capture_output=True, text=True, check=False)
    return result.stdout.strip() if result.returncode == 0 else "none"


@dataclass(frozen=True)
class Timing:
    """What one implementation took in each of its turns."""

    seconds: tuple[float, ...]
    """On the clock."""
    processor_seconds: tuple[float, ...]
    """Of all its threads together."""

    @property
    def median(self) -> float:
        """Median seconds on the clock."""
        return statistics.median(self.seconds)

    def to_dict(self) -> dict[str, float]:
        """Median and spread; the spread is the range over the median."""
        return {
            "seconds": rounded(self.median),
            "spread": rounded((max(self.seconds) - min(self.seconds)) / self.median),
            "processor_seconds": rounded(statistics.median(self.processor_seconds)),
        }


def alternate(
    implementations: Mapping[Name, Callable[[], object]],
    *,
    repeats: int = REPEATS,
    warm_up: int = 1,
) -> dict[Name, Timing]:
    """Time implementations in turns, every second round in reverse order.

    Args:
        implementations: What to call, by name.
        repeats: Rounds that count.
        warm_up: Rounds before them.
    """
    for _ in range(warm_up):
        for work in implementations.values():
            work()
    taken: dict[Name, list[tuple[float, float]]] = {name: [] for name in implementations}
    order = list(implementations)
    for _ in range(repeats):
        for name in order:
            gc.collect()
            wall, processor = time.perf_counter(), time.process_time()
            implementations[name]()
            taken[name].append((time.perf_counter() - wall, time.process_time() - processor))
        order.reverse()
    return {
        name: Timing(tuple(wall for wall, _ in turns), tuple(processor for _, processor in turns))
        for name, turns in taken.items()
    }


def time_ratio(ours: Timing, theirs: Timing) -> dict[str, float]:
    """Our time over theirs, turn by turn: median, lowest and highest on the clock.

    On a machine that does other work too, the median of processor time says more, as long as both
    use one thread.
    """
    ratios = [mine / other for mine, other in zip(ours.seconds, theirs.seconds, strict=True)]
    processor = [
        mine / other
        for mine, other in zip(ours.processor_seconds, theirs.processor_seconds, strict=True)
    ]
    figures = {
        "median": statistics.median(ratios),
        "lowest": min(ratios),
        "highest": max(ratios),
        "processor_median": statistics.median(processor),
    }
    return {name: rounded(value) for name, value in figures.items()}


def rounded(value: float, digits: int = 4) -> float:
    """To so many significant digits."""
    return float(f"{value:.{digits}g}")


def saved_bytes(forward: Callable[[], object], *, without: Iterable[Tensor] = ()) -> int:
    """Bytes that a forward keeps for its backward, each storage counted once.

    Args:
        forward: Whose result holds the graph.
        without: Tensors that would be in memory anyway: parameters and inputs.
    """
    known = {tensor.untyped_storage().data_ptr() for tensor in without}
    storages: dict[int, int] = {}

    def remember(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
        graph = forward()
    del graph  # alive until here, since addresses of freed storages are used again
    return sum(size for address, size in storages.items() if address not in known)


def held_bytes(forward: Callable[[], object]) -> int | None:
    """Bytes that are in use after a forward and were not before: its graph and its result.

    Unlike `saved_bytes` it sees what operators keep behind hooks of their own. None where the C
    library does not tell (it is glibc that does).
    """
    before = _heap_bytes()
    graph = forward()
    after = _heap_bytes()
    del graph  # alive until here
    return None if before is None or after is None else after - before


class _HeapReport(ctypes.Structure):
    """What glibc's mallinfo2 returns."""

    _fields_: ClassVar = [
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd",
            "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    ]  # fmt: skip


def _heap_bytes() -> int | None:
    try:
        report = ctypes.CDLL(None).mallinfo2
    except (AttributeError, OSError, TypeError):
        return None
    report.restype = _HeapReport
    heap = report()
    return int(heap.uordblks + heap.hblkhd)


def in_a_process(module: str, *arguments: str, environment: Mapping[str, str] | None = None) -> Any:  # noqa: ANN401 - any JSON
    """Run a benchmark's part in a process of its own and return the JSON it prints."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=REPOSITORY,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def write_report(report: Mapping[str, Any], path: Path | None) -> None:
    """Print a report with the command that made it, and write it if a path is given."""
    command = shlex.join(["python", "-m", f"benchmarks.{Path(sys.argv[0]).stem}", *sys.argv[1:]])
    text = json.dumps({"command": command, **report}, indent=1)
    print(text)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8")
