"""Scan a MIDI file quickly for what the strict parser cannot read or reads wrongly.

The scan is part of the native library (midi_scan.h). The one below is its reference, and what runs
where there is no library: it splits the events by one regular expression. A file that is not plain
is read event by event.
"""

import ctypes
import re
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from typing import NamedTuple

from rwkv_music.native import load_library

_HEADER_BYTES = 14
_DELTA = rb"[\x80-\xff]{0,3}[\x00-\x7f]"
_SHORT_DATA = b"|".join(
    b"\\x%02x[\\x00-\\xff]{%d}" % (size, size) if size else rb"\x00" for size in range(128)
)
_EVENT = re.compile(
    _DELTA
    + rb"([\x80-\xbf\xe0-\xef][\x00-\x7f]{2}(?:"
    + _DELTA
    + rb"[\x00-\x7f]{2})*|[\xc0-\xdf][\x00-\x7f](?:"
    + _DELTA
    + rb"[\x00-\x7f])*|\xff[\x00-\x7f](?:"
    + _SHORT_DATA
    + rb")|\xf0(?:"
    + _SHORT_DATA
    + rb"))|([\x00-\xff])"
)
"""An event with the events that share its status byte; or else any byte."""
_RUNNING = re.compile(_DELTA + rb"([\x00-\x7f])([\x00-\x7f])")
_VELOCITY = re.compile(_DELTA + rb"[\x00-\x7f]([\x00-\x7f])")
_FIRST_TEXT, _LAST_TEXT, _LYRIC = 0x01, 0x0F, 0x05
_END_OF_TRACK, _PORT, _TEMPO, _SIGNATURE, _KEY = 0x2F, 0x21, 0x51, 0x58, 0x59
_BANK, _FIRST_RHYTHM_BANK = 0, 120
_ENDING_CONTROLLERS = frozenset(range(123, 128)) | {120}
_GENERAL_MIDI = 0x7E


class MidiScan(NamedTuple):
    """Result of a scan."""

    is_plain: bool
    """Whether the strict parser reads the file correctly."""
    num_notes: int
    """Number of note-on events with a velocity."""


class _NotPlainError(Exception):
    """The file has to be read event by event."""


def scan_midi(content: bytes) -> MidiScan:
    """Scan the bytes of a MIDI file."""
    native = _native_scan()
    if native is None:
        return scan_midi_in_python(content)
    num_notes = native(content, len(content))
    return MidiScan(True, num_notes) if num_notes >= 0 else MidiScan(False, 0)


@cache
def _native_scan() -> Callable[[bytes, int], int] | None:
    """The function of the native library; None without a library."""
    functions = load_library().functions
    if functions is None:
        return None
    scan: Callable[[bytes, int], int] = functions.rwkv_music_scan_midi
    scan.restype = ctypes.c_int64  # type: ignore[attr-defined]
    scan.argtypes = (ctypes.c_char_p, ctypes.c_int64)  # type: ignore[attr-defined]
    return scan


def scan_midi_in_python(content: bytes) -> MidiScan:
    """Scan the bytes of a MIDI file without the native library."""
    try:
        return MidiScan(True, _scan(content))
    except _NotPlainError:
        return MidiScan(False, 0)


def _scan(content: bytes) -> int:
    scans = []
    users: Counter[int] = Counter()
    """Number of tracks with notes, by channel."""
    for track in _tracks(content):
        scan = _TrackScan()
        scan.read(track)
        scans.append(scan)
        users.update(scan.note_channels)
    for scan in scans:
        if any(
            users[channel] > (channel in scan.note_channels) for channel in scan.program_channels
        ):
            raise _NotPlainError  # a program of one track holds for another one
    return sum(scan.num_notes for scan in scans)


def _tracks(content: bytes) -> Iterator[bytes]:
    """Yield the content of the tracks of a file whose structure is correct."""
    if content[:4] != b"MThd" or len(content) < _HEADER_BYTES:
        raise _NotPlainError
    length = int.from_bytes(content[4:8], "big")
    file_format, tracks, division = (
        int.from_bytes(content[start : start + 2], "big") for start in (8, 10, 12)
    )
    if length != 6 or not division or division & 0x8000 or file_format > 1:
        raise _NotPlainError
    offset, num_tracks = _HEADER_BYTES, 0
    while offset + 8 <= len(content):
        end = offset + 8 + int.from_bytes(content[offset + 4 : offset + 8], "big")
        if end > len(content):
            raise _NotPlainError
        if content[offset : offset + 4] == b"MTrk":
            num_tracks += 1
            yield content[offset + 8 : end]
        elif not content[offset : offset + 4].isalnum():
            raise _NotPlainError
        offset = end
    if num_tracks != tracks or offset != len(content):
        raise _NotPlainError


class _TrackScan:
    def __init__(self) -> None:
        self.num_notes = 0
        self.program_channels: set[int] = set()
        self.note_channels: set[int] = set()

    def read(self, track: bytes) -> None:
        is_ended = False
        for event, garbage in _EVENT.findall(track):
            if is_ended:
                raise _NotPlainError
            if garbage:
                raise _NotPlainError
            status = event[0]
            if status < 0xA0:
                self._note(event)
            elif status == 0xFF:
                is_ended = event[1] == _END_OF_TRACK
                _check_meta(event)
            elif 0xB0 <= status < 0xC0:
                _check_controllers(event)
            elif 0xC0 <= status < 0xD0:
                self.program_channels.add(status & 0x0F)
            elif status == 0xF0:
                _check_system_exclusive(event)
        if not is_ended:
            raise _NotPlainError

    def _note(self, event: bytes) -> None:
        self.note_channels.add(event[0] & 0x0F)
        if event[0] >= 0x90:
            if len(event) == 3:
                self.num_notes += event[2] > 0
            else:
                velocities = _VELOCITY.findall(event, 3)
                self.num_notes += (event[2] > 0) + len(velocities) - velocities.count(b"\x00")


def _data(event: bytes) -> list[tuple[bytes, bytes]]:
    """Return the data bytes of an event and of those that share its status byte."""
    return _RUNNING.findall(b"\x00" + event[1:])


def _check_meta(event: bytes) -> None:
    meta_type, data = event[1], event[3:]
    if _FIRST_TEXT <= meta_type <= _LAST_TEXT:
        is_karaoke = meta_type == _FIRST_TEXT and data[:2] == b"@K"
        if meta_type == _LYRIC or is_karaoke or not data.isascii():
            raise _NotPlainError
    elif (
        (meta_type == _PORT and data != b"\x00")
        or (meta_type == _TEMPO and (len(data) != 3 or not any(data)))
        or (meta_type == _SIGNATURE and not is_time_signature(data))
        or (meta_type == _KEY and not is_key_signature(data))
    ):
        raise _NotPlainError


def is_time_signature(data: bytes) -> bool:
    """Whether the data of a meta event are a time signature with a length."""
    return len(data) == 4 and data[0] > 0 and data[1] <= 7


def is_key_signature(data: bytes) -> bool:
    """Whether the data are 7 flats to 7 sharps (a signed byte), major or minor."""
    return len(data) == 2 and (data[0] <= 7 or data[0] >= 249) and data[1] <= 1


def _check_controllers(event: bytes) -> None:
    if len(event) == 3:
        _check_controller(event[1], event[2])
    else:
        for controller, value in _data(event):
            _check_controller(controller[0], value[0])


def _check_controller(number: int, value: int) -> None:
    if number in _ENDING_CONTROLLERS or (number == _BANK and value >= _FIRST_RHYTHM_BANK):
        raise _NotPlainError


def _check_system_exclusive(event: bytes) -> None:
    """Only messages of General MIDI, and those that are too short to matter, are plain."""
    if len(event) > 8 and event[2] != _GENERAL_MIDI:
        raise _NotPlainError
