"""The device report, with a GPU's driver played by the test: each figure fails alone."""

import mmap
import platform
import subprocess
import sys
import types
from typing import Any

import pytest

from rwkv_music import devices
from rwkv_music.devices import DeviceMonitor, DeviceReading, DeviceSampler, choose_device
from rwkv_music.errors import InputError


class NVMLError(Exception):
    """The driver refuses."""


def driver(*refused: str) -> types.SimpleNamespace:
    """A pynvml that answers everything but what is named."""
    answers: dict[str, Any] = {
        "nvmlInit": None,
        "nvmlDeviceGetHandleByUUID": "handle",
        "nvmlDeviceGetMemoryInfo": types.SimpleNamespace(used=3 * 2**30, total=80 * 2**30),
        "nvmlDeviceGetName": "Test GPU",
        "nvmlDeviceGetUtilizationRates": types.SimpleNamespace(gpu=87, memory=5),
        "nvmlDeviceGetPowerUsage": 412_500,
        "nvmlDeviceGetTemperatureV": 61,
    }

    def answer(name: str) -> Any:
        def ask(*_arguments: object) -> Any:
            if name in refused:
                raise NVMLError(name)
            return answers[name]

        return ask

    return types.SimpleNamespace(NVMLError=NVMLError, **{name: answer(name) for name in answers})


def gpu_reading(monkeypatch: pytest.MonkeyPatch, *refused: str) -> DeviceReading:
    monkeypatch.setitem(__import__("sys").modules, "pynvml", driver(*refused))
    monkeypatch.setattr(devices, "_current_uuid", lambda: "GPU-1")
    return DeviceMonitor("cuda").sample()


def test_a_gpu_tells_all(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = DeviceReading("cuda", "Test GPU", 87.0, 3 * 2**30, 80 * 2**30, 412.5, 61.0)
    assert gpu_reading(monkeypatch) == expected
    assert expected.unknown == ()


@pytest.mark.parametrize(
    ("refused", "missing"),
    [
        ("nvmlDeviceGetMemoryInfo", {"memory_used", "memory_total"}),
        ("nvmlDeviceGetUtilizationRates", {"busy_percent"}),
        ("nvmlDeviceGetPowerUsage", {"power_watts"}),
        ("nvmlDeviceGetTemperatureV", {"temperature_celsius"}),
        ("nvmlDeviceGetName", set()),
    ],
)
def test_a_figure_the_driver_refuses_is_none_and_the_others_stay(
    refused: str, missing: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reading = gpu_reading(monkeypatch, refused)
    absent = {name for name, value in vars(reading).items() if value is None}
    assert absent == missing


def test_a_driver_that_refuses_everything_leaves_a_reading(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reading = gpu_reading(
        monkeypatch,
        "nvmlDeviceGetMemoryInfo", "nvmlDeviceGetName", "nvmlDeviceGetUtilizationRates",
        "nvmlDeviceGetPowerUsage", "nvmlDeviceGetTemperatureV",
    )  # fmt: skip
    assert reading == DeviceReading("cuda", "GPU", None, None, None)
    assert reading.unknown == ("busy", "memory", "power", "temperature")


def test_an_older_driver_tells_its_temperature_in_the_older_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old = driver("nvmlDeviceGetTemperatureV")
    old.nvmlDeviceGetTemperature = lambda handle, sensor: 48
    monkeypatch.setitem(__import__("sys").modules, "pynvml", old)
    monkeypatch.setattr(devices, "_current_uuid", lambda: "GPU-1")
    assert DeviceMonitor("cuda").sample().temperature_celsius == 48.0


def test_an_apple_gpu_names_what_it_cannot_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 2**30)
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 2**34)
    reading = DeviceMonitor("mps").sample()
    assert (reading.memory_used, reading.memory_total) == (2**30, 2**34)
    assert reading.unknown == ("busy", "power", "temperature")


def test_a_cpu_tells_this_process_share_and_memory() -> None:
    monitor = DeviceMonitor("cpu")
    reading = monitor.sample()
    assert reading.kind == "cpu"
    assert reading.busy_percent is not None
    assert 0 <= reading.busy_percent <= 100
    assert reading.memory_used is not None
    assert reading.memory_total is not None
    assert 10 * 2**20 < reading.memory_used < reading.memory_total


class Scripted(DeviceMonitor):
    """Gives prepared readings, then the last one for ever."""

    def __init__(self, *busy: float | None) -> None:
        super().__init__("cpu")
        self.left = list(busy)

    def sample(self) -> DeviceReading:
        value = self.left.pop(0) if len(self.left) > 1 else self.left[0]
        return DeviceReading("cpu", "CPU", value, 1, 2)


def test_the_sampler_gives_the_mean_and_ends_its_thread() -> None:
    monitor = Scripted(30.0)
    with DeviceSampler(monitor) as sampler:
        while sampler.latest() is None:
            pass
        assert sampler.mean_busy_percent() == 30.0
        assert sampler.mean_busy_percent() == 30.0
    assert not sampler._thread.is_alive()


def test_the_sampler_counts_its_own_looks_and_cost() -> None:
    with DeviceSampler() as sampler:
        while sampler.samples_per_second() == 0:
            pass
        first = sampler._samples
        while sampler._samples < first + 10:
            pass
    # Asked for: one hundredth of a core. Processor time, so that a busy machine changes little.
    assert 0 < sampler.core_fraction() < 0.02


def test_a_device_that_does_not_tell_has_no_mean() -> None:
    with DeviceSampler(Scripted(None)) as sampler:
        while sampler.latest() is None:
            pass
        assert sampler.mean_busy_percent() is None


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device("auto") == choose_device("cpu") == "cpu"
    with pytest.raises(InputError, match="'cuda' is not available here: choose auto or cpu"):
        choose_device("cuda")
    with pytest.raises(InputError, match="'abacus' is not available here"):
        choose_device("abacus")


FAULTS = """
import resource, sys
from rwkv_music.devices import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    before = faults()
    blocks = [bytearray(2**20) for _ in range(200)]
    del blocks
print(faults() - before)
"""


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="only glibc can be told to keep freed memory"
)
def test_memory_that_was_freed_is_not_asked_from_the_system_again() -> None:
    def faults(manner: str) -> int:
        command = [sys.executable, "-c", FAULTS, manner]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    pages = 200 * 2**20 // mmap.PAGESIZE
    assert faults("keep") < pages / 100
    assert faults("give back") > pages / 2
