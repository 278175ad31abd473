"""The loop of a process that is not the main one: it runs commands and writes nothing."""

import signal

from rwkv_music.errors import InputError, OtherProcessError
from rwkv_music.training.config import TrainingConfig
from rwkv_music.training.distributed.process_group import END, ProcessGroup
from rwkv_music.training.run.failures import explained
from rwkv_music.training.run.stop_signals import stop_signals_handled
from rwkv_music.training.setup import set_up


def worker_loop(config: TrainingConfig, group: ProcessGroup) -> None:
    """Set up, then run the main process's commands until the run ends.

    Raises:
        InputError: If this process cannot continue, or the main process has ended; names the rank.
    """
    try:
        setup = set_up(config, group)
        # The signals reach every process; the main one saves and ends the run.
        with stop_signals_handled(signal.SIG_IGN), setup.loader:
            while (command := group.receive_command()) != END:
                setup.trainer.run_command(command)
    except Exception as error:
        failure = explained(error, config, kept="what the main process has written is kept")
        if failure is None:
            raise
        kind = OtherProcessError if isinstance(error, OtherProcessError) else InputError
        raise kind(f"process {group.rank} of {group.world_size}: {failure}") from error
