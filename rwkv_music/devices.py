"""Choice of the device to compute on, and its load.

GPUs are read through NVML, the CPU through the operating system. A figure is None if the machine
does not report it.
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
    # Spinning OpenMP threads slow a shared machine down many times over.
    "OMP_WAIT_POLICY": "PASSIVE",
}
"""Environment variables for torch, set in processes that this library starts unless the user set
them. They are not set in a notebook's process, where they would affect other libraries."""

_MAX_TRIM_THRESHOLD = 2**31 - 1
"""Largest value of mallopt."""
_MAX_MMAP_THRESHOLD = 32 * 2**20
"""Bytes; largest mmap threshold of glibc."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_SAMPLES_PER_SECOND = 16
"""At least ten are needed; the margin is for late wake-ups."""
_NVML_TEMPERATURE_GPU = 0


@dataclass(frozen=True)
class DeviceReading:
    """One reading of a device."""

    kind: str
    """"cuda", "mps" or "cpu"."""
    name: str
    busy_percent: float | None
    """GPU: percentage of time with a running kernel. CPU: percentage of all cores, this process."""
    memory_used: int | None
    """Bytes in use, on the GPU or by this process."""
    memory_total: int | None
    """Bytes of the GPU or the machine."""
    power_watts: float | None = None
    """Power draw of the GPU board."""
    temperature_celsius: float | None = None
    """Temperature of the GPU."""

    @property
    def unknown(self) -> tuple[str, ...]:
        """Names of the figures that this device does not report, for display."""
        missing = [field.name for field in fields(self) if getattr(self, field.name) is None]
        return tuple(dict.fromkeys(name.partition("_")[0] for name in missing))


def busy_label(device: str) -> str:
    """Return what `DeviceReading.busy_percent` means on a device, for display.

    Example:
        >>> busy_label("cuda:0"), busy_label("mps"), busy_label("cpu")
        ('GPU busy', 'GPU busy', 'CPU share')
    """
    return "GPU busy" if device.partition(":")[0] in {"cuda", "mps"} else "CPU share"


def keep_freed_memory() -> bool:
    """Make this process keep freed memory for reuse.

    A training step on a CPU frees hundreds of megabytes and allocates them again in the next step.
    By default glibc returns them to the system, which then clears every page: a tenth of a step.
    Peak memory does not change.

    Returns:
        Whether it worked; only glibc has this setting.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # not glibc, or Windows
        return False
    trim_set = mallopt(_M_TRIM_THRESHOLD, _MAX_TRIM_THRESHOLD)
    return bool(mallopt(_M_MMAP_THRESHOLD, _MAX_MMAP_THRESHOLD) and trim_set)


def choose_device(name: str = "auto") -> str:
    """Return the device to compute on: "cuda", "mps" or "cpu".

    Args:
        name: One of these, or "auto" for the fastest available.

    Raises:
        InputError: If the device is unknown or not available.
    """
    import torch

    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        return next(device for device, is_available in available.items() if is_available)
    if not available.get(name, False):
        usable = ", ".join(device for device, is_available in available.items() if is_available)
        raise InputError(f"the device '{name}' is not available here: choose auto or {usable}")
    return name


class DeviceMonitor:
    """Reads the load of a device.

    Args:
        kind: "cuda", "mps" or "cpu".
        process_id: Process to measure on a CPU; this process when None.
    """

    def __init__(self, kind: str = "cpu", *, process_id: int | None = None) -> None:
        self.kind = kind
        self._process = psutil.Process(process_id)
        self._process.cpu_percent()  # the first call starts the measurement
        self._cores = psutil.cpu_count() or 1
        self._memory_total = int(psutil.virtual_memory().total)
        self._nvml = _Nvml.open() if kind == "cuda" else None

    def sample(self) -> DeviceReading:
        """Return the load of the device since the last reading."""
        if self._nvml is not None:
            return self._nvml.sample()
        if self.kind == "cpu":
            percent = self._process.cpu_percent() / self._cores
            used = int(self._process.memory_info().rss)
            return DeviceReading("cpu", "CPU", percent, used, self._memory_total)
        return self._torch_reading()

    def _torch_reading(self) -> DeviceReading:
        """Return what torch reports about a GPU without NVML: its memory only.

        Metal reports neither the load of an Apple GPU, nor its power or temperature.
        """
        import torch

        if self.kind == "cuda":
            free, total = torch.cuda.mem_get_info()
            return DeviceReading("cuda", torch.cuda.get_device_name(), None, total - free, total)
        used = int(torch.mps.driver_allocated_memory())
        total = int(torch.mps.recommended_max_memory())
        return DeviceReading("mps", "Apple GPU (utilization unknown)", None, used, total)


class _Nvml:
    """The current GPU of torch, read through NVML."""

    def __init__(self, nvml: Any, handle: Any) -> None:  # noqa: ANN401 - pynvml has no types
        self._nvml = nvml
        self._handle = handle
        self._name = str(self._query("nvmlDeviceGetName") or "GPU")

    @classmethod
    def open(cls) -> "_Nvml | None":
        """Return a reader for the current GPU, or None if NVML is missing or fails.

        The GPU is found by its UUID, since NVML numbers GPUs in its own order.
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
        """Return every figure of NVML; None for one that fails."""
        memory = self._query("nvmlDeviceGetMemoryInfo")
        utilization = self._query("nvmlDeviceGetUtilizationRates")
        milliwatts = self._query("nvmlDeviceGetPowerUsage")
        celsius = self._query("nvmlDeviceGetTemperatureV", _NVML_TEMPERATURE_GPU)
        if celsius is None:  # not supported by older drivers
            celsius = self._query("nvmlDeviceGetTemperature", _NVML_TEMPERATURE_GPU)
        return DeviceReading(
            kind="cuda",
            name=self._name,
            busy_percent=None if utilization is None else float(utilization.gpu),
            memory_used=None if memory is None else int(memory.used),
            memory_total=None if memory is None else int(memory.total),
            power_watts=None if milliwatts is None else milliwatts / 1000,
            temperature_celsius=None if celsius is None else float(celsius),
        )

    def _query(self, name: str, *arguments: int) -> Any:  # noqa: ANN401
        """Return the result of an NVML function, or None if it is missing or fails."""
        function: Callable[..., Any] | None = getattr(self._nvml, name, None)
        if function is None:
            return None
        try:
            return function(self._handle, *arguments)
        except self._nvml.NVMLError:
            return None


def _current_uuid() -> str:
    import torch

    return f"GPU-{torch.cuda.get_device_properties(torch.cuda.current_device()).uuid}"


class DeviceSampler:
    """Reads a device at least ten times per second in a thread.

    A reading takes about 0.1 ms, so that the thread uses well under 1 % of a core (measured by
    `core_fraction`).

    Args:
        monitor: Monitor to read; one for this process on the CPU when None.

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
        error_type: type[BaseException] | None,
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
        """Return the readings per second so far."""
        with self._lock:
            return self._samples / (time.perf_counter() - self._began)

    def core_fraction(self) -> float:
        """Return the fraction of one core that this thread has used so far."""
        with self._lock:
            return self._processor_seconds / (time.perf_counter() - self._began)

    def latest(self) -> DeviceReading | None:
        """Return the latest reading, or None before the first."""
        with self._lock:
            return self._latest

    def mean_busy_percent(self) -> float | None:
        """Return the mean since the last call, or the latest value; None without any."""
        with self._lock:
            if self._busy:
                mean = sum(self._busy) / len(self._busy)
                self._busy = []
                return round(mean, 1)
            return self._latest.busy_percent if self._latest is not None else None
