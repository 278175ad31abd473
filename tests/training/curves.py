"""What two runs of the same settings must share to the last bit."""

from typing import Any

from rwkv_music.training.run.directory import RunDirectory

_OF_THE_MACHINE = ("tokens_per_second", "elapsed_seconds", "memory_gib")


def curve(run: RunDirectory) -> list[dict[str, Any]]:
    """Every line of metrics.jsonl without what tells of time, memory and device."""
    return [
        {
            key: value
            for key, value in line.items()
            if key not in _OF_THE_MACHINE and not key.startswith("device_")
        }
        for line in run.metrics()
    ]
