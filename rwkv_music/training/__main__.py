"""Train in a process of its own: one config as JSON in, one run directory filled."""

import json
import sys

from rwkv_music.errors import InputError
from rwkv_music.training.config import TrainingConfig
from rwkv_music.training.pipeline import train
from rwkv_music.training.run.directory import RunDirectory


def main(arguments: list[str]) -> int:
    """Train as a JSON config says, in the run directory that the parent process has created.

    Args:
        arguments: The config, and "resume" to resume the run in the directory.

    Returns:
        0, or 2 for an error that the user can fix; the status file then says which.
    """
    config = TrainingConfig.from_dict(json.loads(arguments[0]))
    resume = arguments[1:] == ["resume"]
    try:
        train(config, run=RunDirectory(config.out_path), resume=resume)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
