"""Experiment loggers: TensorBoard and Weights & Biases.

They receive a copy of metrics.jsonl, which stays the source of truth. Both are used through
accelerate and imported only when a run uses them.
"""

import hashlib
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from rwkv_music.errors import MissingExtraError
from rwkv_music.settings import settings_code
from rwkv_music.training.run.directory import RunDirectory

if TYPE_CHECKING:
    from accelerate.tracking import GeneralTracker

_FEATURE = {name: settings_code(logger=name) for name in ("tensorboard", "wandb")}


class MetricsLogger:
    """Passes each line of the metrics to one experiment logger, or to none.

    Args:
        tracker: A started tracker of accelerate, or None.
    """

    def __init__(self, tracker: "GeneralTracker | None" = None) -> None:
        self._tracker = tracker

    def log(self, line: Mapping[str, Any]) -> None:
        """Log every number of a line; those of a nested table as `table/name`."""
        if self._tracker is not None:
            self._tracker.log(dict(_numbers(line)), step=line["step"])

    def close(self) -> None:
        """Write what is still buffered."""
        if self._tracker is not None:
            self._tracker.finish()


def chosen_logger(logger: str, num_processes: int) -> str:
    """Return the logger of a run: "none", "tensorboard" or "wandb".

    Args:
        logger: The setting, which may be "auto".
        num_processes: Number of processes that train.

    Raises:
        MissingExtraError: If a package that the logger needs is missing.
    """
    if logger == "auto":
        is_there = find_spec("tensorboard") is not None
        return "tensorboard" if num_processes > 1 and is_there else "none"
    if logger == "none":
        return "none"
    for package in ("accelerate", logger):
        if find_spec(package) is None:
            extra = "wandb" if package == "wandb" else "cluster"
            raise MissingExtraError(_FEATURE[logger], package, extra)
    return logger


def open_logger(choice: str, run: RunDirectory, *, step: int) -> MetricsLogger:
    """Open the logger of a run.

    Args:
        choice: As `chosen_logger` returns it.
        run: Has its config.json. TensorBoard's files go into its folder `tensorboard`; W&B gets its
            name and settings.
        step: The step the run resumes from; what was logged for later steps is dropped.
    """
    if choice == "none":
        return MetricsLogger()
    from accelerate import PartialState
    from accelerate.tracking import TensorBoardTracker, WandBTracker

    PartialState(cpu=True)  # trackers ask it whether this is the main process
    tracker: GeneralTracker
    if choice == "tensorboard":
        tracker = TensorBoardTracker("tensorboard", run.path, purge_step=step + 1)
    else:
        tracker = WandBTracker(
            "rwkv-music",
            name=run.path.name,
            dir=str(run.path),
            id=_run_id(run),
            resume="allow",
            config=run.config()["config"],
        )
    tracker.start()
    return MetricsLogger(tracker)


def _run_id(run: RunDirectory) -> str:
    """Return an id that stays the same when the run is resumed, and that no other run has."""
    text = f"{run.path.name} {run.config()['sessions'][0]['started']}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _numbers(line: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, float]]:
    for name, value in line.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{before}{name}/")
        elif isinstance(value, int | float) and name != "step":
            yield f"{before}{name}", value
