"""One whole run, from the corpus to the last checkpoint, written into a run directory.

The command line, a background process, a notebook cell and a test all call `train`; there is no
second way.
"""

import contextlib
import os
import signal
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from rwkv_music.errors import InputError
from rwkv_music.settings import settings_text
from rwkv_music.training.callbacks import Callbacks
from rwkv_music.training.config import TrainingConfig
from rwkv_music.training.distributed.process_group import END, ProcessGroup, init_process_group
from rwkv_music.training.distributed.worker_loop import follow
from rwkv_music.training.loop import Session
from rwkv_music.training.monitoring.loggers import chosen_tracker
from rwkv_music.training.run.control import STOP
from rwkv_music.training.run.directory import RunDirectory
from rwkv_music.training.run.failures import explained

_OF_THE_SESSION = {"out", "device", "sharding", "logger"}
"""Settings that decide where and in how many parts a run is computed, not what it computes."""


def train(
    config: TrainingConfig,
    *,
    run: RunDirectory | None = None,
    resume: bool = False,
    callbacks: Callbacks | None = None,
    group: ProcessGroup | None = None,
) -> RunDirectory:
    """Train a model as the config says and leave everything in its run directory.

    Started in several processes (by torchrun, say), each trains on its share of every batch, and
    process 0 alone writes and tells.

    The first Ctrl-C (or SIGTERM) lets the step finish, saves, and returns; a second one raises.

    Args:
        config: The settings.
        run: The directory, when the caller has made it already; it then keeps the news of a
            failed preparation. Otherwise it is made, and taken away if preparation fails.
        resume: Go on with the run that is there, from its newest whole checkpoint. Without one it
            starts over, and says so.
        callbacks: Who is told of pieces, steps, evaluations and notes.
        group: The processes that train, which part when the caller says so; when None those that
            were started with this one, which part in the end.

    Returns:
        The run directory; its state is "finished", or "stopped" when somebody asked for that.

    Raises:
        InputError: If the settings, the corpus or the place cannot be used; as a
            `TrainingFailedError` if that shows while it trains.
    """
    callbacks = callbacks or Callbacks()
    if group is None:
        group = init_process_group(config.hardware.device)
        run = train(config, run=run, resume=resume, callbacks=callbacks, group=group)
        group.close()
        return run
    opened = group.run_on_main(lambda: _open(config, run, callbacks, group, resume=resume))
    if not opened.is_finished and group.is_main:
        _lead(config, opened, callbacks, group)
    elif not opened.is_finished:
        follow(config, group)
    return opened.run


class _Opened(NamedTuple):
    """A run directory, ready to be filled."""

    run: RunDirectory
    is_new: bool
    """Whether it was made here, and is taken away if preparation fails."""
    is_resumed: bool
    """Whether there is a checkpoint to go on from."""
    is_finished: bool
    """Whether there is nothing left to do."""


def _open(
    config: TrainingConfig,
    run: RunDirectory | None,
    callbacks: Callbacks,
    group: ProcessGroup,
    *,
    resume: bool,
) -> _Opened:
    """Make the run directory, or find out how to go on with the one that is there."""
    group.validate(config)
    chosen_tracker(config, group)
    is_new = run is None and not (resume and RunDirectory(config.out_path).exists())
    if is_new:
        run = RunDirectory.create(config.out_path)
        if resume:
            callbacks.on_note(
                f"there is no run in {config.run.out} yet: starting from the beginning"
            )
    run = run or RunDirectory(config.out_path)
    is_resumed = resume and not is_new and _can_go_on(run, config, callbacks)
    return _Opened(run, is_new, bool(is_resumed), is_resumed is None)


def _lead(
    config: TrainingConfig, opened: _Opened, callbacks: Callbacks, group: ProcessGroup
) -> None:
    """Prepare a session and run it to its end."""
    run = opened.run
    try:
        session = Session(config, run, callbacks, group, resume=opened.is_resumed)
    except BaseException as error:
        if opened.is_new:
            run.discard()
        else:
            message = str(error) or type(error).__name__
            run.write_status(
                "failed", step=run.status()["step"], steps=config.run.steps, message=message
            )
            run.log(f"failed: {error!r}")
        raise
    _train_on(session)
    group.send_command(END)


def settings_of(path: str | Path, **settings: Any) -> TrainingConfig:  # noqa: ANN401
    """Return the settings of a run, to resume it where its directory is now.

    Args:
        path: The run directory.
        settings: Settings of this session, by name. Only those of `_OF_THE_SESSION` may differ
            from the run's own.

    Raises:
        InputError: If there is no run, it was made by a version whose runs cannot be resumed, or a
            setting differs.
    """
    own = TrainingConfig.from_dict(RunDirectory(path).config()["config"])
    _require_same(path, own, settings)
    return own.replace(**settings, **({} if "out" in settings else {"out": str(path)}))


def _can_go_on(run: RunDirectory, config: TrainingConfig, callbacks: Callbacks) -> bool | None:
    """Whether to go on from a checkpoint; None if the run is finished already.

    Raises:
        InputError: If somebody else is training it, or it was made with other settings.
    """
    run.require_idle()
    run.sweep()
    if run.config_path.exists():
        _require_resumable(run, config)
        if run.status()["state"] == "finished" and run.status()["step"] == config.run.steps:
            callbacks.on_note(f"the run in {run.path} is finished already: nothing to do")
            return None
    has_checkpoint = run.config_path.exists() and bool(run.checkpoints().steps())
    if not has_checkpoint:
        _require_no_models(run)
    run.control.clear()
    if has_checkpoint:
        return True
    note = f"the run in {run.path} has no checkpoint yet: starting over from step 0"
    run.checkpoints().tidy(after=-1)
    run.truncate_metrics(after=-1)
    run.log(note)
    callbacks.on_note(note)
    return False


def _require_no_models(run: RunDirectory) -> None:
    """Refuse to start over where models are; a run that was killed leaves none without the rest."""
    models = run.checkpoints().models()
    if models:
        is_told = run.config_path.exists()
        missing = "the step-N.training.safetensors of a step" if is_told else "config.json"
        raise InputError(
            f"{run.path} holds models ({', '.join(models)}) but not {missing}, without which "
            "nothing can go on from them: bring it back, or begin a new run with another --out "
            f"(--init {run.path} takes the best model's weights)"
        )


def _require_resumable(run: RunDirectory, config: TrainingConfig) -> None:
    before = run.config()
    if "threads" not in before:
        raise InputError(
            f"{run.path} was made by an older version, which kept no optimizer: it can be watched "
            "and its models used, but not resumed; begin a new run with another --out"
        )
    _require_same(run.path, TrainingConfig.from_dict(before["config"]), config.flat())


def _require_same(path: str | Path, own: TrainingConfig, settings: dict[str, Any]) -> None:
    """Refuse settings that differ from a run's own, unless they belong to the session."""
    values = own.flat()
    for name, value in settings.items():
        if value != values[name] and name not in _OF_THE_SESSION:
            raise InputError(
                f"{path} was started with {settings_text(**{name: values[name]})}, not "
                f"{settings_text(**{name: value})}: leave that setting out to resume the run, or "
                "start a new run with another `out`"
            )


def _train_on(session: Session) -> None:
    """Run a session to its end, and say how it ended whatever happens."""
    try:
        with _interrupt_asks_to_stop(session):
            session.run_to_end()
    except KeyboardInterrupt:
        session.end("stopped", f"interrupted; {session.kept()}")
        raise
    except BaseException as error:
        failure = explained(error, session.config, kept=session.kept())
        message = str(failure or f"a bug ended the run ({error!r}); {session.kept()}")
        # The disk may be full: what has to be told is the first error, not this one.
        with contextlib.suppress(OSError):
            session.end("failed", message)
            session.directory.log("".join(traceback.format_exception(error)).rstrip())
        if failure is None:
            raise
        raise failure from error


@contextlib.contextmanager
def _interrupt_asks_to_stop(session: Session) -> Iterator[None]:
    """The first Ctrl-C finishes the step and saves; a second one ends at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(_signal: int, _frame: object) -> None:
        if session.directory.control.holds(STOP):
            raise KeyboardInterrupt
        session.note("finishing this step and saving; Ctrl-C again ends at once")
        session.directory.control.ask(STOP)

    signals = [signal.SIGINT] if os.name == "nt" else [signal.SIGINT, signal.SIGTERM]
    before = {each: signal.signal(each, handle) for each in signals}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
