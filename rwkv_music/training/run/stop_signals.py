"""The signals that ask a program to end: Ctrl-C, SIGTERM, and closing its terminal."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

Handler = Callable[[int, FrameType | None], None] | signal.Handlers

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
"""SIGHUP exists on POSIX systems, SIGBREAK on Windows: both come when a terminal is closed."""


@contextlib.contextmanager
def stop_signals_handled(handler: Handler, *, names: tuple[str, ...] = _NAMES) -> Iterator[None]:
    """Handle the stop signals inside a `with` block; restore their handlers afterwards.

    A signal that is ignored (as nohup does with SIGHUP) stays ignored. Outside the main thread,
    where Python handles no signals, nothing changes.

    Args:
        handler: Called with signal and frame; or `signal.SIG_IGN`.
        names: The signals to handle; those that this system lacks are skipped.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signals = [getattr(signal, name) for name in names if hasattr(signal, name)]
    handled = [
        signal_number
        for signal_number in signals
        if signal.getsignal(signal_number) is not signal.SIG_IGN
    ]
    before = {signal_number: signal.signal(signal_number, handler) for signal_number in handled}
    try:
        yield
    finally:
        for signal_number, previous in before.items():
            signal.signal(signal_number, previous)


@contextlib.contextmanager
def stop_signals_interrupt() -> Iterator[None]:
    """Raise KeyboardInterrupt for every stop signal, as Python does for Ctrl-C."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with stop_signals_handled(interrupt, names=tuple(set(_NAMES) - {"SIGINT"})):
        yield
