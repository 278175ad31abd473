"""Read the events of a MIDI track leniently and report the errors.

The rules cover the errors of real files:

* Velocities and controller values above 127 become 127. Programs and pitches above 127 are left
  out, since the intended value is unknown.
* Tempos of 0, time signatures without length and keys that do not exist are left out, so that the
  earlier value (initially 120 quarters per minute and 4/4) continues.
* Running status continues across meta and system events, as in most programs.
* Messages that are not allowed in a file are left out.
* A track that is cut off inside an event keeps the earlier events and gets an end.
"""

from collections import Counter
from dataclasses import dataclass, field

from rwkv_music.score.midi.scan import is_key_signature, is_time_signature

LONGEST_DELTA = (1 << 28) - 1
"""Largest value of a delta time of four bytes."""
LAST_TICK = (1 << 31) - 1
"""Ticks are 32-bit integers."""
_TOO_LARGE = 1 << 60

_META, _SYSTEM_EXCLUSIVE, _CONTINUED = 0xFF, 0xF0, 0xF7
_END_OF_TRACK, _TEMPO, _SIGNATURE, _KEY = 0x2F, 0x51, 0x58, 0x59
_DATA_BYTES = {0xF1: 1, 0xF2: 2, 0xF3: 1}
"""Number of data bytes of system messages that are not allowed in a file; the others have none."""


@dataclass
class Track:
    """The readable events of a track."""

    events: list[tuple[int, bytes]] = field(default_factory=list)
    """Tick from the beginning, and the event: status and data; of meta events also the type.

    The length of meta and system-exclusive events is left out.
    """
    end: int = 0
    """Tick at which the track ends."""
    faults: Counter[str] = field(default_factory=Counter)
    unread: int = 0
    """Number of bytes that are not part of an event."""
    first_unread: int = 0
    """Offset of the first one."""

    @property
    def repairs(self) -> list[str]:
        """What was changed."""
        return [f"{text} ({n} times)" if n > 1 else text for text, n in self.faults.items()]


class _TruncatedError(Exception):
    """The track ends inside an event."""


def read_track(content: bytes, start: int, stop: int) -> Track:
    """Read the events of one track.

    Args:
        content: The whole file.
        start: Offset of the track's first event.
        stop: Offset of the track's end.
    """
    return _Reader(content, start, stop).read()


class _Reader:
    def __init__(self, content: bytes, start: int, stop: int) -> None:
        self._content, self._offset, self._stop = content, start, stop
        self._track = Track()
        self._tick = 0
        self._status = 0
        self._is_status_stale = False
        self._is_ended = False

    def read(self) -> Track:
        begin = self._offset
        try:
            while self._offset < self._stop and not self._is_ended:
                begin = self._offset
                self._wait(self._read_number())
                if not self._is_ended:
                    self._read_event()
        except _TruncatedError:
            self._add_fault(f"cut off inside an event at byte {begin}")
        else:
            if not self._is_ended:
                self._add_fault("end of track missing")
        self._track.end = self._tick
        return self._track

    def _wait(self, delta: int) -> None:
        if delta > LONGEST_DELTA:
            self._add_fault("wait of more than 268,435,455 ticks shortened to that")
            delta = LONGEST_DELTA
        if self._tick + delta > LAST_TICK:
            self._add_fault(f"events after tick {LAST_TICK} left out, from byte {self._offset}")
            self._is_ended = True
            return
        self._tick += delta

    def _read_number(self) -> int:
        value, begin = 0, self._offset
        while True:
            byte = self._read_byte()
            value = min((value << 7) | (byte & 0x7F), _TOO_LARGE)
            if byte < 0x80:
                break
        if self._offset - begin > 4:
            self._add_fault("number of more than 4 bytes read")
        return value

    def _read_byte(self) -> int:
        if self._offset >= self._stop:
            raise _TruncatedError
        self._offset += 1
        return self._content[self._offset - 1]

    def _read_bytes(self, count: int) -> bytes:
        if self._offset + count > self._stop:
            raise _TruncatedError
        self._offset += count
        return self._content[self._offset - count : self._offset]

    def _add_fault(self, text: str) -> None:
        self._track.faults[text] += 1

    def _keep(self, event: bytes) -> None:
        self._track.events.append((self._tick, event))

    def _read_event(self) -> None:
        status = self._read_byte()
        if status >= _SYSTEM_EXCLUSIVE:
            self._is_status_stale = True
            self._read_system_event(status)
        elif status >= 0x80 or self._status:
            self._read_status(status)
        else:
            self._skip_byte()

    def _read_status(self, status: int) -> None:
        """Read a channel event that begins with a status byte or with running status."""
        if status >= 0x80:
            self._status = status
        else:
            self._offset -= 1
            if self._is_status_stale:
                self._add_fault("status byte missing after a meta or system event")
        self._is_status_stale = False
        self._read_channel_event(self._status)

    def _read_system_event(self, status: int) -> None:
        if status == _META:
            self._read_meta_event()
        elif status in {_SYSTEM_EXCLUSIVE, _CONTINUED}:
            self._keep(bytes((status,)) + self._read_bytes(self._read_number()))
        else:
            self._read_bytes(_DATA_BYTES.get(status, 0))
            self._add_fault("message that is not allowed in a file left out")

    def _skip_byte(self) -> None:
        if not self._track.unread:
            self._track.first_unread = self._offset - 1
        self._track.unread += 1
        self._add_fault("byte that is not part of an event left out")

    def _read_channel_event(self, status: int) -> None:
        message = status & 0xF0
        data = self._read_bytes(1 if message in {0xC0, 0xD0} else 2)
        if max(data) > 127:
            repaired = self._repair_data(message, data)
            if repaired is None:
                return
            data = repaired
        self._keep(bytes((status,)) + data)

    def _repair_data(self, message: int, data: bytes) -> bytes | None:
        """Return data bytes from 0 to 127, or None if the event has to be left out."""
        if message == 0xC0:
            self._add_fault("program above 127 left out")
            return None
        if message in {0x80, 0x90, 0xA0, 0xB0} and data[0] > 127:
            self._add_fault(f"{'controller' if message == 0xB0 else 'pitch'} above 127 left out")
            return None
        name = {0x80: "velocity", 0x90: "velocity", 0xB0: "controller value"}
        self._add_fault(f"{name.get(message, 'value')} above 127 set to 127")
        return bytes(min(value, 127) for value in data)

    def _read_meta_event(self) -> None:
        meta_type = self._read_byte()
        data = self._read_bytes(self._read_number())
        if meta_type == _END_OF_TRACK:
            self._is_ended = True
            if any(self._content[self._offset : self._stop]):
                self._add_fault(f"{self._stop - self._offset} bytes after the end left out")
        elif meta_type == _TEMPO and (len(data) != 3 or not any(data)):
            size_is_right = len(data) == 3
            self._add_fault(f"tempo of {'0' if size_is_right else 'wrong size'} left out")
        elif meta_type == _SIGNATURE and not is_time_signature(data):
            self._add_fault("time signature without length left out")
        elif meta_type == _KEY and not is_key_signature(data):
            self._add_fault("key signature that does not exist left out")
        else:
            self._keep(bytes((_META, meta_type)) + data)
