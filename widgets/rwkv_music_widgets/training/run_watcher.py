"""Refreshes the training panels of this process from one background thread."""

import threading
import time
from typing import Protocol

_TICK_SECONDS = 0.25


class Watched(Protocol):
    """A panel that the watcher refreshes."""

    refresh_seconds: float

    @property
    def is_hidden(self) -> bool:
        """Whether the panel was displayed once and no view of it is left."""

    @property
    def is_final(self) -> bool:
        """Whether its run has ended."""

    def refresh(self) -> None:
        """Read what is new and show it."""

    def show_failure(self, error: BaseException) -> None:
        """Show that refreshing has failed and stopped."""


class RunWatcher:
    """One thread for all panels: a notebook cell that is run again leaves no thread behind.

    The thread ends when no panel is left to refresh.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next_refresh: dict[Watched, float] = {}
        self._thread: threading.Thread | None = None

    def add(self, panel: Watched) -> None:
        """Refresh a panel from now on, until its run ends or it is removed."""
        with self._lock:
            self._next_refresh[panel] = time.monotonic() + panel.refresh_seconds
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._watch, name="training-panels", daemon=True
                )
                self._thread.start()

    def remove(self, panel: Watched) -> None:
        """Stop refreshing a panel."""
        with self._lock:
            self._next_refresh.pop(panel, None)

    def __contains__(self, panel: Watched) -> bool:
        with self._lock:
            return panel in self._next_refresh

    def _watch(self) -> None:
        while (due := self._due_panels()) is not None:
            for panel in due:
                self._refresh(panel)
            time.sleep(_TICK_SECONDS)

    def _due_panels(self) -> list[Watched] | None:
        """Return the panels to refresh now; None ends the thread, since there are no panels."""
        with self._lock:
            if not self._next_refresh:
                self._thread = None
                return None
            now = time.monotonic()
            due = [panel for panel, at in self._next_refresh.items() if at <= now]
            for panel in due:
                self._next_refresh[panel] = now + panel.refresh_seconds
        return [panel for panel in due if not panel.is_hidden]

    def _refresh(self, panel: Watched) -> None:
        try:
            panel.refresh()
        except Exception as error:  # noqa: BLE001 - shown in the panel, with its traceback
            self.remove(panel)
            panel.show_failure(error)
        else:
            if panel.is_final:
                self.remove(panel)


WATCHER = RunWatcher()
"""The watcher of this process."""
