"""Piano roll: a score on a canvas, with the start of a continuation, a selection and a playhead."""

import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import symusic
import traitlets

from rwkv_music.atomic import write_atomic
from rwkv_music.errors import InputError, write_errors
from rwkv_music.evaluation.surprise import NoteSurprise
from rwkv_music.score import TempoMap, bar_starts, beat_ticks, save_piano_roll, to_score
from rwkv_music_widgets.bundle import bundled, style_sheet
from rwkv_music_widgets.roll.packed_score import (
    extended_lines,
    packed_lines,
    packed_notes,
    packed_surprise,
    part_names,
    signature_rows,
    summary,
    tempo_rows,
)
from rwkv_music_widgets.roll.roll_svg import roll_svg
from rwkv_music_widgets.static_picture import StaticPicture

_STOPPED = {
    "state": "stopped",
    "from_tick": 0,
    "stop_tick": -1,
    "current_tick": 0,
    "seconds": 0.0,
    "sound": False,
    "stream": 0,
    "speed": 1.0,
    "loop": False,
    "count": 0,
}


class PianoRoll(anywidget.AnyWidget):
    """Shows a score. Drag to select, Ctrl+wheel to zoom, Shift+wheel to scroll, space to play.

    Args:
        music: A score, a path, a pretty_midi object or a music21 stream; nothing when None.
        continuation_start: Tick at which a continuation starts; None if there is none.
        height: Height in pixels, at least 80.

    Raises:
        InputError: If the height is too small or the music cannot be read.

    Example:
        roll = PianoRoll("prompt.mid")
        roll.selection  # [start_tick, end_tick] of the selected region, or []
    """

    _esm = bundled("piano_roll.mjs")
    _css = style_sheet("piano_roll.css")

    notes = traitlets.Bytes(b"").tag(sync=True)
    bars = traitlets.Bytes(b"").tag(sync=True)
    beats = traitlets.Bytes(b"").tag(sync=True)
    signatures: traitlets.List[Any] = traitlets.List().tag(sync=True)
    tempos: traitlets.List[Any] = traitlets.List().tag(sync=True)
    parts: traitlets.List[Any] = traitlets.List().tag(sync=True)
    summary = traitlets.Unicode("").tag(sync=True)
    ticks_per_quarter = traitlets.Int(480).tag(sync=True)
    continuation_start = traitlets.Int(-1).tag(sync=True)
    new_end = traitlets.Int(-1).tag(sync=True)
    """Tick at which the new music ends; -1 for the end of the score."""
    height = traitlets.Int(260).tag(sync=True)
    selection: traitlets.List[Any] = traitlets.List().tag(sync=True)
    playback = traitlets.Dict(_STOPPED).tag(sync=True)
    ended_playback = traitlets.Int(0).tag(sync=True)
    """`playback["count"]` of the playback whose playhead has reached its end."""
    hidden_parts: traitlets.List[Any] = traitlets.List().tag(sync=True)
    """Indices of the parts that are not drawn."""
    muted_parts: traitlets.List[Any] = traitlets.List().tag(sync=True)
    """Indices of the parts that are not played."""
    can_edit = traitlets.Bool(default_value=False).tag(sync=True)
    """Whether parts can be selected, and notes and parts locked."""
    selected_parts: traitlets.List[Any] = traitlets.List().tag(sync=True)
    """Indices of the parts of the selection; all when empty."""
    locked_parts: traitlets.List[Any] = traitlets.List().tag(sync=True)
    """Indices of the parts that stay as they are."""
    locked_notes: traitlets.List[Any] = traitlets.List().tag(sync=True)
    """Part, onset and pitch of each note that stays as it is."""
    other = traitlets.Bytes(b"").tag(sync=True)
    """Notes of another version of the score, laid over it."""
    surprise = traitlets.Bytes(b"").tag(sync=True)
    """Nats of each note, by which the notes are coloured; coloured by part if empty."""
    volume = traitlets.Float(0.8).tag(sync=True)
    sound_id = traitlets.Unicode().tag(sync=True)
    """Tells the sound of this roll from that of others on the page."""

    @traitlets.default("sound_id")
    def _new_sound_id(self) -> str:
        return uuid.uuid4().hex

    def __init__(
        self, music: Any = None, *, continuation_start: int | None = None, height: int = 260
    ) -> None:
        if height < 80:
            raise InputError(f"height must be at least 80 pixels, got {height}")
        super().__init__(height=height)
        self.score = symusic.Score(480)
        self._num_playback_changes = 0
        self._toggle_callbacks: list[Callable[[], None]] = []
        self._play_from_callbacks: list[Callable[[int], None]] = []
        self._switch_callbacks: list[Callable[[], None]] = []
        self._hover_callbacks: list[Callable[[bool], None]] = []
        self.on_msg(self._on_message)
        self._picture = StaticPicture(self, lambda: [(self.summary, self.to_svg())])
        if music is not None:
            self.set_score(music, continuation_start=continuation_start)

    def set_score(
        self, music: Any, *, continuation_start: int | None = None, new_end: int | None = None
    ) -> None:
        """Show another score.

        Args:
            music: A score, or what `to_score` converts.
            continuation_start: Tick at which new music starts; None if there is none.
            new_end: Tick at which it ends; the end of the score when None.

        Raises:
            InputError: If the music cannot be read.
        """
        score = to_score(music)
        self.score = score
        bars, beats = packed_lines(score)
        with self.hold_sync():
            self.bars, self.beats = bars, beats
            self.signatures, self.tempos = signature_rows(score), tempo_rows(score)
            self.parts = part_names(score)
            self.hidden_parts = self.muted_parts = []
            self.summary = summary(score, continuation_start)
            self.ticks_per_quarter = score.ticks_per_quarter
            self.continuation_start = -1 if continuation_start is None else continuation_start
            self.new_end = -1 if new_end is None else new_end
            self.selection = self.selected_parts = []
            self.locked_parts = self.locked_notes = []
            self.other = self.surprise = b""
            self.playback = dict(_STOPPED)
            self.notes = packed_notes(score)
        self._picture.update()

    def extend_bars(self, count: int) -> None:
        """Make room for bars that are still to be written, each as long as the last one."""
        bars, beats = bar_starts(self.score), beat_ticks(self.score)
        self.bars = extended_lines(bars, bars, count).astype("<i4").tobytes()
        self.beats = extended_lines(beats, bars, count).astype("<i4").tobytes()

    def replace_notes(self, score: symusic.Score) -> None:
        """Show the notes of a score that has the same parts and bars."""
        self.score = score
        self.notes = packed_notes(score)

    @property
    def selected_bars(self) -> tuple[int, int] | None:
        """First and last bar that the selection touches, counted from 1; None without one."""
        if len(self.selection) != 2:
            return None
        bars = bar_starts(self.score)
        first, last = np.searchsorted(bars, [self.selection[0], self.selection[1] - 1], "right")
        return int(first), int(min(last, len(bars) - 1))

    def compare(self, other: "symusic.Score | None") -> None:
        """Lay another version over the score: what only one of the two has is marked.

        Args:
            other: A score with the same tracks; nothing is laid over it any more when None.
        """
        self.other = b"" if other is None else packed_notes(other)

    def show_surprise(self, notes: Sequence[NoteSurprise]) -> None:
        """Colour the notes by how unexpected they are to a model.

        Args:
            notes: `surprise(model, score).notes`; coloured by part again when empty.

        Raises:
            InputError: If they are not those of the score.
        """
        self.surprise = packed_surprise(self.score, notes)

    def _ipython_display_(self) -> None:
        self._picture.display()

    def audible_score(self) -> symusic.Score:
        """Return the score without the muted parts.

        Raises:
            InputError: If all parts are muted.
        """
        muted = set(self.muted_parts)
        if not muted:
            return self.score
        tracks = [track for index, track in enumerate(self.score.tracks) if index not in muted]
        if not tracks:
            raise InputError("all parts are muted: unmute one to hear it")
        score = self.score.copy()
        score.tracks = type(score.tracks)(tracks)
        return score

    def show_playback(
        self,
        state: str,
        *,
        from_tick: int = 0,
        stop_tick: int | None = None,
        current_tick: int = 0,
        sound: bool = False,
        stream: int = 0,
        speed: float = 1.0,
        loop: bool = False,
    ) -> None:
        """Move the playhead.

        Args:
            state: "playing", "paused" or "stopped".
            from_tick: Tick at which the sound begins.
            stop_tick: Position at which playing ends; the end of the last bar when None.
            current_tick: Where the playhead is, for views that do not play the sound.
            sound: Whether the browser plays the sound, which is sent in messages.
            stream: Number of the stream in those messages.
            speed: Factor of the tempo.
            loop: Whether playing begins again at the end.
        """
        self._num_playback_changes += 1
        self.playback = {
            "state": state,
            "from_tick": from_tick,
            "stop_tick": -1 if stop_tick is None else stop_tick,
            "current_tick": current_tick,
            "seconds": self.seconds_between(from_tick, stop_tick) / speed,
            "sound": sound,
            "stream": stream,
            "speed": speed,
            "loop": loop,
            "count": self._num_playback_changes,
        }

    def seconds_between(self, start: int, stop: int | None) -> float:
        """Return the seconds from a tick to another one, or to the end of the last bar."""
        end = int(bar_starts(self.score)[-1]) if stop is None else stop
        first, last = TempoMap(self.score).ticks_to_seconds(np.array([start, max(start, end)]))
        return float(last - first)

    def on_toggle_playback(self, callback: Callable[[], None]) -> None:
        """Call `callback` when the space bar is pressed on the roll."""
        self._toggle_callbacks.append(callback)

    def on_play_from(self, callback: Callable[[int], None]) -> None:
        """Call `callback` with the tick of a beat that is clicked on the ruler."""
        self._play_from_callbacks.append(callback)

    def on_switch(self, callback: Callable[[], None]) -> None:
        """Call `callback` when the key X is pressed on the roll."""
        self._switch_callbacks.append(callback)

    def on_hover(self, callback: Callable[[bool], None]) -> None:
        """Call `callback` with whether the pointer is over the roll, when that changes."""
        self._hover_callbacks.append(callback)

    def _on_message(self, _roll: "PianoRoll", content: dict[str, Any], _buffers: Any) -> None:
        if content.get("type") == "toggle playback":
            for callback in self._toggle_callbacks:
                callback()
        elif content.get("type") == "play from":
            for play_from in self._play_from_callbacks:
                play_from(int(content["tick"]))
        elif content.get("type") == "switch":
            for switch in self._switch_callbacks:
                switch()
        elif content.get("type") == "hover":
            for hover in self._hover_callbacks:
                hover(bool(content["is_over"]))

    def to_svg(self, *, width: int = 900) -> str:
        """Return a static picture as SVG."""
        return roll_svg(
            self.score, continuation_start=self._seam(), width=width, height=max(120, self.height)
        )

    def save(self, path: str | Path) -> Path:
        """Save a static picture, which needs no kernel to be seen.

        Args:
            path: A file name that ends in .svg, or .png.

        Raises:
            InputError: If it cannot be written.
        """
        path = Path(path)
        if path.suffix.lower() == ".svg":
            with write_errors(path):
                write_atomic(path, self.to_svg().encode())
            return path
        return save_piano_roll(self.score, path, continuation_start=self._seam())

    def _seam(self) -> int | None:
        return None if self.continuation_start < 0 else int(self.continuation_start)
