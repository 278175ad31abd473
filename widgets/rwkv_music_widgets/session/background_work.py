"""Work that buttons start: one thread at a time, whose errors are shown as messages."""

import threading
from collections.abc import Callable

from rwkv_music.errors import InputError
from rwkv_music_widgets.messages import MessageBox


class BackgroundWork:
    """Runs functions in a thread, one at a time.

    Args:
        message_box: Shows errors.
    """

    def __init__(self, message_box: MessageBox) -> None:
        self.message_box = message_box
        self.stop = threading.Event()
        """Set to ask the work that is running to end early."""
        self._thread: threading.Thread | None = None

    def start(self, work: Callable[[], object]) -> None:
        """Run `work` in a thread, unless earlier work is still running."""
        if self._thread is not None and self._thread.is_alive():
            if self._thread is not threading.current_thread():
                self.message_box.show_error("still working: wait until it is done, or press Stop")
            return
        self._thread = threading.Thread(
            target=self.guarded, args=(work,), name="continuation", daemon=True
        )
        self._thread.start()

    def guarded(self, work: Callable[[], object]) -> None:
        """Run `work` here and show its error, if there is one."""
        self.message_box.clear()
        try:
            work()
        except InputError as error:
            self.message_box.show_error(str(error))
        except Exception as error:  # noqa: BLE001 - shown where the user clicked
            self.message_box.show_failure(error)

    def wait(self, timeout_seconds: float) -> None:
        """Wait for the work that is running.

        Raises:
            TimeoutError: If it takes longer.
        """
        if self._thread is not None:
            self._thread.join(timeout_seconds)
            if self._thread.is_alive():
                raise TimeoutError(f"still working after {timeout_seconds} seconds")
