"""Which device to compute on, and how busy it is.

A GPU is asked through NVML, a CPU through the operating system. Each figure is None where the
machine does not tell it: one that is missing never hides the others.
"""

import ctypes
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from types import TracebackType
from typing import Any

import psutil

from rwkv_music.errors import InputError

TORCH_ENVIRONMENT = {
    # Waiting OpenMP threads that spin slow a shared machine down many times over.
    "OMP_WAIT_POLICY": "PASSIVE",
}
"""What torch should find in the environment when it is loaded, where the user says nothing else:
set in processes of our own, and not in a notebook's, whose other libraries it would change too."""

_KEPT_BYTES = 2**31 - 1
"""The most that mallopt can be told."""
_LARGEST_HEAP_BLOCK = 32 * 2**20
"""Bytes; the most that glibc takes for its threshold of mmap."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_SAMPLES_PER_SECOND = 16
"""Ten at the least, also where waking up takes its time."""
_NVML_TEMPERATURE_GPU = 0


@dataclass(frozen=True)
class DeviceReading:
    """One look at a device."""

    kind: str
    """"cuda", "mps" or "cpu"."""
    name: str
    busy_percent: float | None
    """GPU: share of time in which a kernel ran. CPU: this process's share of all cores."""
    memory_used: int | None
    """Bytes in use: of the GPU, or by this process."""
    memory_total: int | None
    """Bytes the GPU or the machine has."""
    power_watts: float | None = None
    """What the whole GPU board draws."""
    temperature_celsius: float | None = None
    """Of the GPU's chip."""

    @property
    def unknown(self) -> tuple[str, ...]:
        """The names of the figures that this device does not tell, for a reader."""
        missing = [each.name for each in fields(self) if getattr(self, each.name) is None]
        return tuple(dict.fromkeys(name.partition("_")[0] for name in missing))


def busy_label(device: str) -> str:
    """What `DeviceReading.busy_percent` means on a device, for a reader.

    Example:
        >>> busy_label("cuda:0"), busy_label("mps"), busy_label("cpu")
        ('GPU busy', 'GPU busy', 'CPU share')
    """
    return "GPU busy" if device.partition(":")[0] in {"cuda", "mps"} else "CPU share"


def keep_freed_memory() -> bool:
    """Have this process keep the memory it frees, to use it again.

    A training step on a CPU frees hundreds of megabytes and asks for them again in the next one.
    glibc gives them back in between, and the system then clears every page anew: a tenth of a step.
    What a process needs at most stays the same.

    Returns:
        Whether the C library is glibc, which can be told so.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # no glibc; Windows has no such library at all
        return False
    kept = mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
    return bool(mallopt(_M_MMAP_THRESHOLD, _LARGEST_HEAP_BLOCK) and kept)


def choose_device(name: str = "auto") -> str:
    """The device to compute on: "cuda", "mps" or "cpu".

    Args:
        name: One of those, or "auto" for the fastest there is.

    Raises:
        InputError: If the device is unknown or not there.
    """
    import torch

    present = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        return next(each for each, there in present.items() if there)
    if not present.get(name, False):
        usable = ", ".join(each for each, there in present.items() if there)
        raise InputError(f"the device '{name}' is not available here: choose auto or {usable}")
    return name


class DeviceMonitor:
    """Looks at a device.

    Args:
        kind: "cuda", "mps" or "cpu".
        process_id: Whose share of a CPU to tell; this process's when None.
    """

    def __init__(self, kind: str = "cpu", *, process_id: int | None = None) -> None:
        self.kind = kind
        self._process = psutil.Process(process_id)
        self._process.cpu_percent()  # the first call only begins the measurement
        self._cores = psutil.cpu_count() or 1
        self._memory_total = int(psutil.virtual_memory().total)
        self._nvml = _Nvml.open() if kind == "cuda" else None

    def sample(self) -> DeviceReading:
        """How busy the device has been since the last look."""
        if self._nvml is not None:
            return self._nvml.sample()
        if self.kind == "cpu":
            share = self._process.cpu_percent() / self._cores
            used = int(self._process.memory_info().rss)
            return DeviceReading("cpu", "CPU", share, used, self._memory_total)
        return self._torch_reading()

    def _torch_reading(self) -> DeviceReading:
        """What torch knows of a GPU without NVML: its memory only.

        Metal tells neither how busy an Apple GPU is, nor its power or temperature.
        """
        import torch

        if self.kind == "cuda":
            free, total = torch.cuda.mem_get_info()
            return DeviceReading("cuda", torch.cuda.get_device_name(), None, total - free, total)
        used = int(torch.mps.driver_allocated_memory())
        total = int(torch.mps.recommended_max_memory())
        return DeviceReading("mps", "Apple GPU (utilization unknown)", None, used, total)


class _Nvml:
    """The first GPU torch uses, seen through NVML."""

    def __init__(self, nvml: Any, handle: Any) -> None:  # noqa: ANN401 - pynvml has no types
        self._nvml = nvml
        self._handle = handle
        self._name = str(self._ask("nvmlDeviceGetName") or "GPU")

    @classmethod
    def open(cls) -> "_Nvml | None":
        """NVML and the current GPU by its UUID, since NVML numbers GPUs in its own order.

        None where NVML is not installed or does not answer.
        """
        try:
            import pynvml
        except ImportError:
            return None
        try:
            pynvml.nvmlInit()
            return cls(pynvml, pynvml.nvmlDeviceGetHandleByUUID(_current_uuid()))
        except pynvml.NVMLError:
            return None

    def sample(self) -> DeviceReading:
        """Every figure NVML gives; None for one it refuses."""
        memory = self._ask("nvmlDeviceGetMemoryInfo")
        utilization = self._ask("nvmlDeviceGetUtilizationRates")
        milliwatts = self._ask("nvmlDeviceGetPowerUsage")
        celsius = self._ask("nvmlDeviceGetTemperatureV", _NVML_TEMPERATURE_GPU)
        if celsius is None:  # a driver older than that question
            celsius = self._ask("nvmlDeviceGetTemperature", _NVML_TEMPERATURE_GPU)
        return DeviceReading(
            kind="cuda",
            name=self._name,
            busy_percent=None if utilization is None else float(utilization.gpu),
            memory_used=None if memory is None else int(memory.used),
            memory_total=None if memory is None else int(memory.total),
            power_watts=None if milliwatts is None else milliwatts / 1000,
            temperature_celsius=None if celsius is None else float(celsius),
        )

    def _ask(self, name: str, *more: int) -> Any:  # noqa: ANN401
        """None where the driver, or this version of its Python package, does not know it."""
        question: Callable[..., Any] | None = getattr(self._nvml, name, None)
        if question is None:
            return None
        try:
            return question(self._handle, *more)
        except self._nvml.NVMLError:
            return None


def _current_uuid() -> str:
    import torch

    return f"GPU-{torch.cuda.get_device_properties(torch.cuda.current_device()).uuid}"


class DeviceSampler:
    """Looks at a device at least ten times a second in a thread of its own.

    A look takes about a tenth of a millisecond, so that the thread costs well under 1 % of a core;
    `processor_share` tells what it was.

    Args:
        monitor: What to look with; one for the CPU and this process when None.

    Example:
        with DeviceSampler() as sampler:
            ...
            sampler.mean_busy_percent()
    """

    def __init__(self, monitor: DeviceMonitor | None = None) -> None:
        self._monitor = monitor or DeviceMonitor()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._busy: list[float] = []
        self._latest: DeviceReading | None = None
        self._samples = 0
        self._began = time.perf_counter()
        self._processor_seconds = 0.0
        self._thread = threading.Thread(target=self._run, name="device-sampler", daemon=True)

    def __enter__(self) -> "DeviceSampler":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        self._began = time.perf_counter()
        while not self._stop.wait(1 / _SAMPLES_PER_SECOND):
            reading = self._monitor.sample()
            with self._lock:
                self._samples += 1
                self._processor_seconds = time.thread_time()
                self._latest = reading
                if reading.busy_percent is not None:
                    self._busy.append(reading.busy_percent)

    def samples_per_second(self) -> float:
        """How often it has looked, so far."""
        with self._lock:
            return self._samples / (time.perf_counter() - self._began)

    def processor_share(self) -> float:
        """The share of one core that this thread has taken, so far."""
        with self._lock:
            return self._processor_seconds / (time.perf_counter() - self._began)

    def latest(self) -> DeviceReading | None:
        """The newest reading; None before the first."""
        with self._lock:
            return self._latest

    def mean_busy_percent(self) -> float | None:
        """Mean since the last call; the newest value if none came since, None if none at all."""
        with self._lock:
            if self._busy:
                mean = sum(self._busy) / len(self._busy)
                self._busy = []
                return round(mean, 1)
            return self._latest.busy_percent if self._latest is not None else None
