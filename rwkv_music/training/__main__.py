"""The process behind `start_training`: one config in, one run directory filled."""

import json
import sys

from rwkv_music.errors import InputError
from rwkv_music.training.config import TrainingConfig
from rwkv_music.training.pipeline import train
from rwkv_music.training.run.directory import RunDirectory


def main(arguments: list[str]) -> int:
    """Run the config given as JSON in the run directory its parent has made.

    Args:
        arguments: The config, and "resume" to go on with the run that is there.

    Returns:
        0, or 2 when something the user gave cannot be used; the status file then says what.
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
