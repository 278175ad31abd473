"""Shows the notes of candidates in their rows while they are sampled."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import symusic

from rwkv_music.generation import BarEnd, Continuation, Filling, NewNote, Stream
from rwkv_music.score import bar_starts
from rwkv_music_widgets.roll.piano_roll import PianoRoll
from rwkv_music_widgets.session.candidate_row import CandidateRows

_SECONDS_BETWEEN_UPDATES = 0.15


class GrowingCandidates:
    """Candidates that are not complete yet.

    Args:
        rows: The rows in which they are shown; each begins with the prompt.
        prompt: The score that is continued.
        settings: Has the number of `candidates` and of new `bars`.
        on_bars: Called with the number of bars that every candidate has.
    """

    def __init__(
        self,
        rows: CandidateRows,
        prompt: symusic.Score,
        settings: Mapping[str, Any],
        *,
        on_bars: Callable[[int], None],
    ) -> None:
        num_candidates = settings["candidates"]
        self._start = int(bar_starts(prompt)[-1])
        self._on_bars = on_bars
        self._scores = [prompt.copy() for _ in range(num_candidates)]
        self._num_bars = [0] * num_candidates
        self._changed: set[int] = set()
        self._shown_at = time.monotonic()
        self._rolls: list[PianoRoll] = []
        for row in rows.show_growing(prompt, num_candidates, self._start):
            row.roll.extend_bars(settings["bars"])
            self._rolls.append(row.roll)

    def follow(
        self, events: Stream, should_stop: Callable[[], bool]
    ) -> list[Continuation | Filling]:
        """Show all events, or those until `should_stop` returns True; return what was sampled."""
        for event in events:
            self.add(event)
            if should_stop():
                break
        return events.results(whole_bars=False)

    def add(self, event: NewNote | BarEnd) -> None:
        """Take a note or the end of a bar; rows are drawn at most seven times a second."""
        if isinstance(event, BarEnd):
            self._num_bars[event.candidate] = event.bars
            self._on_bars(min(self._num_bars))
            return
        note = symusic.Note(
            self._start + event.time, event.duration, event.pitch, max(1, event.velocity)
        )
        self._scores[event.candidate].tracks[event.track].notes.append(note)
        self._changed.add(event.candidate)
        if time.monotonic() - self._shown_at > _SECONDS_BETWEEN_UPDATES:
            self.show()

    def show(self) -> None:
        """Draw the notes that have come since the last time."""
        for index in sorted(self._changed):
            self._rolls[index].replace_notes(self._scores[index])
        self._changed.clear()
        self._shown_at = time.monotonic()
