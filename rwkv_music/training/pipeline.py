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
from dataclasses import replace
from pathlib import Path

from rwkv_music.errors import InputError
from rwkv_music.training.config import TrainingConfig
from rwkv_music.training.control import STOP
from rwkv_music.training.failures import explained
from rwkv_music.training.run import RunDirectory
from rwkv_music.training.session import Listeners, Session


def train(
    config: TrainingConfig,
    *,
    run: RunDirectory | None = None,
    resume: bool = False,
    listeners: Listeners | None = None,
) -> RunDirectory:
    """Train a model as the config says and leave everything in its run directory.

    The first Ctrl-C (or SIGTERM) lets the step finish, saves, and returns; a second one raises.

    Args:
        config: The settings.
        run: The directory, when the caller has made it already; it then keeps the news of a
            failed preparation. Otherwise it is made, and taken away if preparation fails.
        resume: Go on with the run that is there, from its newest whole checkpoint. Without one it
            starts over, and says so.
        listeners: Who is told of pieces, steps, evaluations and notes.

    Returns:
        The run directory; its state is "finished", or "stopped" when somebody asked for that.

    Raises:
        InputError: If the settings, the corpus or the place cannot be used; as a
            `TrainingFailedError` if that shows while it trains.
    """
    listeners = listeners or Listeners()
    made_here = run is None and not (resume and RunDirectory(config.out_path).exists())
    if made_here:
        run = RunDirectory.create(config.out_path)
        if resume:
            listeners.on_note(f"there is no run in {config.out} yet: starting from the beginning")
    run = run or RunDirectory(config.out_path)
    is_resumed = resume and not made_here and _can_go_on(run, config, listeners)
    if is_resumed is None:
        return run
    try:
        session = Session(config, run, listeners, resume=is_resumed)
    except BaseException as error:
        if made_here:
            run.discard()
        else:
            run.write_status("failed", message=str(error) or type(error).__name__)
            run.log(f"failed: {error!r}")
        raise
    _train_on(session)
    return run


def settings_of(path: str | Path) -> TrainingConfig:
    """The settings a run was made with, to go on with it where its directory is now.

    Raises:
        InputError: If there is no run, or it was made by a version whose runs cannot be resumed.
    """
    run = RunDirectory(path)
    return replace(TrainingConfig.from_dict(run.config()["config"]), out=str(path))


def _can_go_on(run: RunDirectory, config: TrainingConfig, listeners: Listeners) -> bool | None:
    """Whether to go on from a checkpoint; None if the run is finished already.

    Raises:
        InputError: If somebody else is training it, or it was made with other settings.
    """
    run.require_idle()
    if run.config_path.exists():
        _require_same(run, config)
        if run.status()["state"] == "finished" and run.status()["step"] == config.steps:
            listeners.on_note(f"the run in {run.path} is finished already: nothing to do")
            return None
    run.control.clear()
    if run.config_path.exists() and run.checkpoints().steps():
        return True
    note = f"the run in {run.path} has no checkpoint yet: starting over from step 0"
    run.checkpoints().clear()
    run.truncate_metrics(after=-1)
    run.log(note)
    listeners.on_note(note)
    return False


def _require_same(run: RunDirectory, config: TrainingConfig) -> None:
    before = run.config()
    if "threads" not in before:
        raise InputError(
            f"{run.path} was made by an older version, which kept no optimizer: it can be watched "
            "and its models used, but not resumed; begin a new run with another --out"
        )
    was, now = TrainingConfig.from_dict(before["config"]).to_dict(), config.to_dict()
    for name in was:
        if was[name] != now[name] and name not in {"out", "device"}:
            raise InputError(
                f"{run.path} was begun with {name}={was[name]}, not {now[name]}: leave that "
                "setting out to go on with it, or begin a new run with another --out"
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
        failure = explained(error, kept=session.kept())
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
