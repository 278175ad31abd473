"""Check that a score can be written and encoded: times, pitches, velocities, meters and tempos."""

from typing import TYPE_CHECKING

import numpy as np

from rwkv_music.errors import InputError

if TYPE_CHECKING:
    import symusic

MAX_TICKS_PER_QUARTER = 32_767
LAST_TICK = (1 << 31) - 1
_MAX_NUMERATOR = 255
_DENOMINATORS = frozenset({1, 2, 4, 8, 16, 32, 64, 128})
_MAX_MSPQ = (1 << 24) - 1


def check_score(score: "symusic.Score") -> None:
    """Check the values of a score that a user has made or changed.

    Raises:
        InputError: If a time is before 0, a value is out of its range in MIDI, or a time signature
            is not possible; the message names the first one.
    """
    ticks = score.ticks_per_quarter
    _check_range("ticks per quarter", ticks, 1, MAX_TICKS_PER_QUARTER, "")
    for track_number, track in enumerate(score.tracks, start=1):
        _check_track(track, f" in track {track_number}")
    for tempo in score.tempos:
        _check_time("tempo", tempo.time, "")
        _check_range("microseconds per quarter", tempo.mspq, 1, _MAX_MSPQ, "")
    for meter in score.time_signatures:
        _check_time("time signature", meter.time, "")
        if not 1 <= meter.numerator <= _MAX_NUMERATOR or meter.denominator not in _DENOMINATORS:
            raise InputError(
                f"the time signature {meter.numerator}/{meter.denominator} is not possible: the "
                "numerator must be 1 to 255 and the denominator a power of two up to 128"
            )
    for key in score.key_signatures:
        _check_time("key signature", key.time, "")
    for marker in score.markers:
        _check_time("marker", marker.time, "")


def _check_track(track: "symusic.Track", where: str) -> None:
    _check_range("program", track.program, 0, 127, where)
    notes = track.notes.numpy()
    if len(notes["time"]):
        ends = notes["time"].astype(np.int64) + notes["duration"]
        _check_time("note", int(notes["time"].min()), where)
        _check_range("duration", int(notes["duration"].min()), 0, LAST_TICK, where)
        _check_range("end of a note", int(ends.max()), 0, LAST_TICK, where)
        for name, low in (("pitch", 0), ("velocity", 1)):
            for value in (int(notes[name].min()), int(notes[name].max())):
                _check_range(name, value, low, 127, where)
    for events, name in ((track.controls, "controller"), (track.pitch_bends, "pitch bend")):
        table = events.numpy()
        if len(table["time"]):
            low, high = (0, 127) if name == "controller" else (-8192, 8191)
            _check_time(name, int(table["time"].min()), where)
            for value in (int(table["value"].min()), int(table["value"].max())):
                _check_range(f"{name} value", value, low, high, where)
    for lyric in track.lyrics:
        _check_time("lyric", lyric.time, where)


def _check_time(name: str, time: int, where: str) -> None:
    if time < 0:
        raise InputError(
            f"a {name}{where} begins at tick {time}, before 0: move the music to later times"
        )


def _check_range(name: str, value: int, low: int, high: int, where: str) -> None:
    if not low <= value <= high:
        raise InputError(f"{name} {value}{where} is out of range ({low} to {high}): correct it")


def whole_number(name: str, value: object, low: int, high: int, where: str) -> int:
    """Return a value of another library's object as an integer in a range.

    Args:
        name: What the value is, for the error.
        value: A number; whole numbers of any type are accepted.
        low: Smallest value.
        high: Largest value.
        where: Where it stands, for the error.

    Raises:
        InputError: If it is not a whole number in the range.
    """
    try:
        converted = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{name} {value!r}{where} is not a number: correct it") from None
    if not np.isfinite(converted) or converted != round(converted):
        raise InputError(f"{name} {value}{where} is not a whole number: round it")
    _check_range(name, int(converted), low, high, where)
    return int(converted)


def finite_seconds(name: str, value: object, where: str) -> float:
    """Return a time of another library's object.

    Raises:
        InputError: If it is not a finite number from 0 on.
    """
    try:
        seconds = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{name} {value!r}{where} is not a number: correct it") from None
    if not np.isfinite(seconds):
        raise InputError(f"{name} {seconds}{where} is not a finite number: correct it")
    if seconds < 0:
        raise InputError(f"{name} {seconds:g}{where} is before 0: move the music to later times")
    return seconds
