"""The device's figures in a line of metrics."""

from rwkv_music.devices import DeviceReading, DeviceSampler
from rwkv_music.training.run_hooks import device_figures


class FakeSampler(DeviceSampler):
    """A sampler with a given reading."""

    def __init__(self, reading: DeviceReading | None) -> None:
        super().__init__()
        self.reading = reading

    def latest(self) -> DeviceReading | None:
        return self.reading

    def mean_busy_percent(self) -> float | None:
        return 97.5


def test_every_figure_of_a_reading_is_logged_under_its_documented_key() -> None:
    reading = DeviceReading(
        kind="cuda",
        name="GPU",
        busy_percent=90.0,
        memory_used=3 * 2**29,
        memory_total=2**34,
        power_watts=212.5,
        temperature_celsius=61.0,
    )
    assert device_figures(FakeSampler(reading)) == {
        # The mean since the last step, not the latest reading.
        "device_busy_percent": 97.5,
        "memory_gib": 1.5,
        "device_power_watts": 212.5,
        "device_temperature_celsius": 61.0,
    }


def test_figures_that_a_device_does_not_tell_are_none() -> None:
    reading = DeviceReading("cpu", "CPU", 50.0, None, 2**34, temperature_celsius=40.0)
    assert device_figures(FakeSampler(reading)) == {
        "device_busy_percent": 97.5,
        "memory_gib": None,
        "device_power_watts": None,
        "device_temperature_celsius": 40.0,
    }


def test_without_a_reading_only_the_mean_is_known() -> None:
    assert device_figures(FakeSampler(None)) == {
        "device_busy_percent": 97.5,
        "memory_gib": None,
        "device_power_watts": None,
        "device_temperature_celsius": None,
    }
