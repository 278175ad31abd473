"""A training process that dies in the middle of writing, or finds its disk full.

python -m tests.training.run.dying_worker MODE NUMBER CONFIG

killed: SIGKILL before the NUMBERth flush of a file or folder of checkpoints.
untold: SIGKILL before the NUMBERth flush of status or settings.
full: no file may grow beyond NUMBER bytes after the first evaluation.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from rwkv_music import atomic
from rwkv_music.errors import InputError
from rwkv_music.model import load_model
from rwkv_music.training import Callbacks, TrainingConfig, train
from rwkv_music.training.run.directory import RunDirectory


def die_at_flush(number: int, *, of_checkpoints: bool) -> None:
    """Kill this process before its NUMBERth flush of checkpoints, or of all else in the run."""
    calls = [0]
    real = atomic.flush_to_disk

    def flush(path: Path) -> None:
        calls[0] += ("checkpoints" in (path.name, path.parent.name)) == of_checkpoints
        if calls[0] == number:
            os.kill(os.getpid(), signal.SIGKILL)
        real(path)

    atomic.flush_to_disk = flush


def fill_disk(limit: int) -> None:
    """From now on writing beyond so many bytes of a file fails, as on a full disk."""
    import resource

    sys.dont_write_bytecode = True  # or half a compiled module stays for all who come later
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))


def main(kind: str, number: int, config: TrainingConfig) -> int:
    """Train until it happens."""

    def on_evaluation(_line: dict[str, Any]) -> None:
        if kind == "full":
            fill_disk(number)

    if kind in {"killed", "untold"}:
        die_at_flush(number, of_checkpoints=kind == "killed")
    try:
        train(config, callbacks=Callbacks(on_evaluation=on_evaluation))
    except InputError as error:
        print(error)
        print(load_model(RunDirectory(config.out_path).checkpoint_path("last")).metadata["step"])
        return 2
    return 0


if __name__ == "__main__":
    given = TrainingConfig.from_dict(json.loads(sys.argv[3]))
    sys.exit(main(sys.argv[1], int(sys.argv[2]), given))
