"""A whole run, from the corpus to the last checkpoint, written into a run directory.

The command line, a background process, a notebook cell and a test all call `train`.
"""

import contextlib
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from types import FrameType

from rwkv_music.devices import DeviceMonitor, DeviceSampler, choose_device
from rwkv_music.errors import InputError, OtherProcessError
from rwkv_music.training.callbacks import Callbacks
from rwkv_music.training.config import TrainingConfig
from rwkv_music.training.data_module import DataModule
from rwkv_music.training.distributed import joined_process_group
from rwkv_music.training.distributed.process_group import END, ProcessGroup
from rwkv_music.training.loop import fit
from rwkv_music.training.memory import advice_when_full
from rwkv_music.training.monitoring.loggers import chosen_logger, open_logger
from rwkv_music.training.run.checkpoints import Checkpoints, SavedState
from rwkv_music.training.run.control import STOP
from rwkv_music.training.run.directory import RunDirectory
from rwkv_music.training.run.failures import disk_error_text, explained
from rwkv_music.training.run.reporter import RunReporter
from rwkv_music.training.run.resume import (
    OpenedRun,
    RunMode,
    newest_checkpoint,
    open_run,
    settings_of,
)
from rwkv_music.training.run.stop_signals import stop_signals_handled, stop_signals_interrupt
from rwkv_music.training.run_hooks import RunHooks
from rwkv_music.training.setup import TrainingSetup

__all__ = ["settings_of", "train"]


def train(
    config: TrainingConfig,
    *,
    run: RunDirectory | None = None,
    resume: bool = False,
    callbacks: Callbacks | None = None,
    group: ProcessGroup | None = None,
) -> RunDirectory:
    """Train a model and write everything into its run directory.

    Started in several processes (by torchrun, for example), each trains on its shard of every
    batch, and only rank 0 writes and calls the callbacks.

    The first Ctrl-C (or SIGTERM) finishes the step, saves, and returns; a second one raises.

    Args:
        config: The settings.
        run: A directory that the caller has made already; it is kept if preparation fails.
            Otherwise it is made, and removed if preparation fails.
        resume: Continue the run in the directory from its newest complete checkpoint. Without a
            checkpoint the run starts over; without a run a new one starts.
        callbacks: Functions called for pieces, steps, evaluations and notes.
        group: The processes that train; the caller closes it. When None, those that were started
            with this one, and the group is closed at the end.

    Returns:
        The run directory; its state is "finished", or "stopped" after a stop request.

    Raises:
        InputError: If the settings, the corpus or the directory cannot be used; a
            `TrainingFailedError` if training itself fails.
    """
    callbacks = callbacks or Callbacks()
    if group is None:
        with joined_process_group(config.hardware.device) as joined:
            return train(config, run=run, resume=resume, callbacks=callbacks, group=joined)
    config.require_trainable_by(group.world_size)
    chosen_logger(config.run.logger, group.world_size)
    with ExitStack() as locks:

        def open_directory() -> OpenedRun:
            with _disk_errors_explained():
                return open_run(config, run, resume=resume, note=callbacks.on_note, locks=locks)

        opened = group.run_on_main(open_directory)
        if not opened.is_finished and group.is_main:
            _train_as_main(config, opened, callbacks, group)
        elif not opened.is_finished:
            worker_loop(config, group)
    return opened.directory


def _train_as_main(
    config: TrainingConfig, opened: OpenedRun, callbacks: Callbacks, group: ProcessGroup
) -> None:
    directory = opened.directory
    device = choose_device(config.hardware.device)
    checkpoints = Checkpoints(directory.checkpoints_path, keep=config.run.keep_checkpoints)
    reporter = RunReporter(directory, callbacks, num_steps=config.run.steps, device=device)
    sampler = DeviceSampler(DeviceMonitor(device))
    with _preparation_undone(opened, reporter), _disk_errors_explained(), stop_signals_interrupt():
        if opened.mode is RunMode.RESUME:
            reporter.step = directory.status()["step"]
        reporter.write_status("preparing", f"reading the corpus {config.data.corpus}")
        setup = TrainingSetup(
            config,
            group,
            progress=callbacks.on_piece,
            load_checkpoint=lambda data, check: _checkpoint_to_resume(
                opened, checkpoints, data, check=check, note=reporter.note
            ),
        )
        hooks = RunHooks(config, setup, reporter, checkpoints, group=group, sampler=sampler)
        choice = chosen_logger(config.run.logger, group.world_size)
        reporter.logger = open_logger(choice, directory, step=reporter.step)
    with _end_reported(config, reporter, checkpoints), _stop_signals_save(reporter):
        reporter.write_status("running")
        with closing(reporter.logger), sampler, setup.loader:
            fit(setup.trainer, hooks)
        hooks.finish()
    group.send_command(END)


def worker_loop(config: TrainingConfig, group: ProcessGroup) -> None:
    """Set up, then run the main process's commands until the run ends; write nothing.

    Raises:
        InputError: If this process cannot continue, or the main process has ended; names the rank.
    """
    try:
        setup = TrainingSetup(config, group)
        # The signals reach every process; the main one saves and ends the run.
        with stop_signals_handled(signal.SIG_IGN), setup.loader:
            while (command := group.receive_command()) != END:
                setup.trainer.run_command(command)
    except Exception as error:
        failure = explained(
            error,
            memory_advice=partial(advice_when_full, config),
            kept="what the main process has written is kept",
        )
        if failure is None:
            raise
        error_type = OtherProcessError if isinstance(error, OtherProcessError) else InputError
        raise error_type(f"process {group.rank} of {group.world_size}: {failure}") from error


def _checkpoint_to_resume(
    opened: OpenedRun,
    checkpoints: Checkpoints,
    data: DataModule,
    *,
    check: Callable[[SavedState], None],
    note: Callable[[str], None],
) -> SavedState | None:
    if opened.mode is not RunMode.RESUME:
        return None
    return newest_checkpoint(
        opened.directory,
        checkpoints,
        tokenizer_settings=data.tokenizer.settings,
        content_hash=data.corpus.content_hash,
        check=check,
        note=note,
    )


@contextlib.contextmanager
def _end_reported(
    config: TrainingConfig, reporter: RunReporter, checkpoints: Checkpoints
) -> Iterator[None]:
    """Write into status and log how a run ended that was interrupted or failed."""
    try:
        yield
    except KeyboardInterrupt:
        reporter.end("stopped", f"interrupted; {checkpoints.newest_in_words()}")
        raise
    except BaseException as error:
        kept = checkpoints.newest_in_words()
        failure = explained(error, memory_advice=partial(advice_when_full, config), kept=kept)
        message = str(failure or f"a bug ended the run ({error!r}); {kept}")
        # The disk may be full: the user needs the first error, not this one.
        with contextlib.suppress(OSError):
            reporter.end("failed", message)
            reporter.directory.log("".join(traceback.format_exception(error)).rstrip())
        if failure is None:
            raise
        raise failure from error


@contextlib.contextmanager
def _stop_signals_save(reporter: RunReporter) -> Iterator[None]:
    """Make the first stop signal request a stop; a second one raises KeyboardInterrupt."""
    control = reporter.directory.control

    def handle(signal_number: int, _frame: FrameType | None) -> None:
        if control.holds(STOP):
            if signal_number == getattr(signal, "SIGHUP", None):
                return  # kernel and shell both send it when a terminal is closed
            raise KeyboardInterrupt
        reporter.note("finishing this step and saving; Ctrl-C again ends at once")
        control.ask(STOP)

    with stop_signals_handled(handle):
        yield


@contextlib.contextmanager
def _preparation_undone(opened: OpenedRun, reporter: RunReporter) -> Iterator[None]:
    """Remove a directory that was made here, or write why it failed, if preparation fails."""
    try:
        yield
    except BaseException as error:
        with contextlib.suppress(OSError):
            if opened.is_made_here:
                opened.directory.discard()
            else:
                is_interrupt = isinstance(error, KeyboardInterrupt)
                state = "stopped" if is_interrupt else "failed"
                text = "interrupted while preparing" if is_interrupt else str(error)
                reporter.end(state, text or type(error).__name__)
        raise


@contextlib.contextmanager
def _disk_errors_explained() -> Iterator[None]:
    """Raise errors of the disk as an `InputError` of one line."""
    try:
        yield
    except OSError as error:
        raise InputError(disk_error_text(error)) from error
