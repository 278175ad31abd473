"""Training one model in one process or in several."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from rwkv_music.errors import MissingExtraError
from rwkv_music.training.distributed.process_group import ProcessGroup, single_process

__all__ = ["ProcessGroup", "init_process_group", "joined_process_group", "single_process"]


def init_process_group(device: str = "auto") -> ProcessGroup:
    """Join the processes that torchrun, accelerate launch or similar started with this one.

    Args:
        device: "auto", "cpu" or "cuda"; each process on a machine gets a GPU of its own.

    Raises:
        InputError: If there are several processes and accelerate is not installed.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or "RANK" not in os.environ:
        return single_process()
    try:
        from rwkv_music.training.distributed.multi_process import MultiProcessGroup
    except ModuleNotFoundError as error:
        if error.name != "accelerate":
            raise
        raise MissingExtraError("training in several processes", "accelerate", "cluster") from error
    return MultiProcessGroup(device)


@contextmanager
def joined_process_group(device: str = "auto") -> Iterator[ProcessGroup]:
    """Join the group of processes inside a `with` block and leave it behind (collective).

    After an error the group is not left: the other processes may not get there.

    Args:
        device: As in `init_process_group`.
    """
    group = init_process_group(device)
    yield group
    group.close()
