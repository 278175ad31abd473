"""The loop of a process that is not the main one: it runs commands and writes nothing."""

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


def worker_loop(config: TrainingConfig, group: ProcessGroup) -> None:
    """Set up, then run the main process's commands until the run ends.

    Raises:
        InputError: If this process cannot continue, or the main process has ended; names the rank.
    """
    try:
        setup = set_up(config, group)
        with _interrupts_ignored(), setup.loader:
            while (command := group.receive_command()) != END:
                setup.trainer.run_command(command)
    except Exception as error:
        failure = explained(error, config, kept="what the main process has written is kept")
        if failure is None:
            raise
        kind = OtherProcessError if isinstance(error, OtherProcessError) else InputError
        raise kind(f"process {group.rank} of {group.world_size}: {failure}") from error


@contextlib.contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Ignore Ctrl-C and SIGTERM, which reach every process: the main process saves and ends."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signals = [signal.SIGINT] if os.name == "nt" else [signal.SIGINT, signal.SIGTERM]
    before = {number: signal.signal(number, signal.SIG_IGN) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
