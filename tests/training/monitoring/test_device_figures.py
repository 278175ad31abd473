"""What a line of metrics says of the device: all that the device tells, and None for the rest."""

from dataclasses import fields

from rwkv_music.devices import DeviceReading, DeviceSampler
from rwkv_music.training.loop import device_figures


class FakeSampler(DeviceSampler):
    """A device that has been looked at."""

    def __init__(self, reading: DeviceReading | None) -> None:
        super().__init__()
        self.reading = reading

    def latest(self) -> DeviceReading | None:
        return self.reading

    def mean_busy_percent(self) -> float | None:
        return 97.5


def test_every_figure_of_a_reading_is_logged() -> None:
    reading = DeviceReading("cuda", "GPU", 90.0, 3 * 2**29, 2**34)
    told = device_figures(FakeSampler(reading))
    assert (told["device_busy_percent"], told["memory_gib"]) == (97.5, 1.5)
    known = {"kind", "name", "busy_percent", "memory_used", "memory_total"}
    others = {each.name for each in fields(DeviceReading)} - known
    assert {f"device_{name}" for name in others} <= set(told)


def test_a_device_that_nobody_has_looked_at_is_unknown() -> None:
    told = device_figures(FakeSampler(None))
    assert told.pop("device_busy_percent") == 97.5
    assert set(told.values()) == {None}
