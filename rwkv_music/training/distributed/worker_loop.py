"""The life of a process that does not lead: it does what the leader says, and writes nothing."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

from rwkv_music.errors import InputError, OtherProcessError
from rwkv_music.training.config import TrainingConfig
from rwkv_music.training.distributed.process_group import END, ProcessGroup
from rwkv_music.training.run.failures import explained
from rwkv_music.training.setup import set_up


def follow(config: TrainingConfig, group: ProcessGroup) -> None:
    """Prepare, and take part in all that the leader begins, until it says that it is over.

    Raises:
        InputError: If this process cannot go on, or the leader is gone; says which process it is.
    """
    try:
        setup = set_up(config, group)
        with _interrupts_are_the_leaders(), setup.stream:
            while (word := group.receive_command()) != END:
                setup.trainer.obey(word)
    except Exception as error:
        who = f"process {group.rank} of {group.world_size}"
        failure = explained(error, config, kept="what the leader has written is kept")
        if failure is None:
            raise
        kind = OtherProcessError if isinstance(error, OtherProcessError) else InputError
        raise kind(f"{who}: {failure}") from error


@contextlib.contextmanager
def _interrupts_are_the_leaders() -> Iterator[None]:
    """Ctrl-C and SIGTERM reach every process; the leader decides, saves, and says when it ends."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signals = [signal.SIGINT] if os.name == "nt" else [signal.SIGINT, signal.SIGTERM]
    before = {each: signal.signal(each, signal.SIG_IGN) for each in signals}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
