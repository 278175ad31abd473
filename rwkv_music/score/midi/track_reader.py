"""Reads the events of a MIDI track leniently, noting what was wrong with them.

The rules, one for each thing that real files get wrong:

* velocities and controller values above 127 become 127; programs and pitches above 127 are left
  out, since no number would be the right one;
* tempos of 0, signatures without length and keys that do not exist are left out: what was in force
  before stays so, at the beginning 120 quarters per minute and 4/4;
* running status goes on across meta and system events, as most programs take it;
* messages that may not stand in a file are left out;
* a track that breaks off inside an event keeps the events before, and gets an end;
* notes that are never ended sound to the end of their track.
"""

from collections import Counter
from dataclasses import dataclass, field

LONGEST_DELTA = (1 << 28) - 1
"""What four bytes of a delta time can say."""
LAST_TICK = (1 << 31) - 1
"""Ticks are counted in 32 bits."""
UNENDED = "note that is never ended sounds to the end of the track"
_TOO_LARGE = 1 << 60

_META, _SYSTEM_EXCLUSIVE, _CONTINUED = 0xFF, 0xF0, 0xF7
_END_OF_TRACK, _TEMPO, _SIGNATURE, _KEY = 0x2F, 0x51, 0x58, 0x59
_FINEST_DENOMINATOR_POWER = 7
_DATA_BYTES = {0xF1: 1, 0xF2: 2, 0xF3: 1}
"""Of system messages that may not stand in a file; the others have none."""


@dataclass
class Track:
    """The events of a track that could be read."""

    events: list[tuple[int, bytes]] = field(default_factory=list)
    """Tick from the beginning, and the event with its status byte."""
    end: int = 0
    """Tick at which the track ends."""
    faults: Counter[str] = field(default_factory=Counter)
    unread: int = 0
    """Bytes that are no part of an event."""
    first_unread: int = 0

    @property
    def changes(self) -> list[str]:
        """What was changed, a phrase each."""
        return [f"{text} ({n} times)" if n > 1 else text for text, n in self.faults.items()]


class _BreaksOffError(Exception):
    """The track ends inside an event."""


def read_track(content: bytes, start: int, stop: int) -> Track:
    """Read the events of one track.

    Args:
        content: The whole file.
        start: Where the track's first event begins.
        stop: Where the track ends.
    """
    return _Reader(content, start, stop).read()


class _Reader:
    def __init__(self, content: bytes, start: int, stop: int) -> None:
        self._content, self._place, self._stop = content, start, stop
        self._track = Track()
        self._tick = 0
        self._status = 0
        self._is_status_stale = False
        self._is_ended = False
        self._sounding: Counter[tuple[int, int]] = Counter()

    def read(self) -> Track:
        begin = self._place
        try:
            while self._place < self._stop and not self._is_ended:
                begin = self._place
                self._wait(self._number())
                if not self._is_ended:
                    self._event()
        except _BreaksOffError:
            self._fault(f"breaks off inside an event at byte {begin}")
        else:
            if not self._is_ended:
                self._fault("its end was not marked")
        self._track.end = self._tick
        self._end_notes()
        return self._track

    def _wait(self, delta: int) -> None:
        if delta > LONGEST_DELTA:
            self._fault("wait of more than 268,435,455 ticks shortened to that")
            delta = LONGEST_DELTA
        if self._tick + delta > LAST_TICK:
            self._fault(f"goes on beyond tick {LAST_TICK}, cut at byte {self._place}")
            self._is_ended = True
            return
        self._tick += delta

    def _number(self) -> int:
        number, begin = 0, self._place
        while True:
            byte = self._byte()
            number = min((number << 7) | (byte & 0x7F), _TOO_LARGE)
            if byte < 0x80:
                break
        if self._place - begin > 4:
            self._fault("number of more than 4 bytes read")
        return number

    def _byte(self) -> int:
        if self._place >= self._stop:
            raise _BreaksOffError
        self._place += 1
        return self._content[self._place - 1]

    def _bytes(self, count: int) -> bytes:
        if self._place + count > self._stop:
            raise _BreaksOffError
        self._place += count
        return self._content[self._place - count : self._place]

    def _fault(self, text: str) -> None:
        self._track.faults[text] += 1

    def _keep(self, event: bytes) -> None:
        self._track.events.append((self._tick, event))

    def _event(self) -> None:
        status = self._byte()
        if status >= _SYSTEM_EXCLUSIVE:
            self._is_status_stale = True
            self._system_event(status)
        elif status >= 0x80 or self._status:
            self._running_or_new(status)
        else:
            self._pass_over()

    def _running_or_new(self, status: int) -> None:
        """A channel event: a status byte, or the first data byte under the status before."""
        if status >= 0x80:
            self._status = status
        else:
            self._place -= 1
            if self._is_status_stale:
                self._fault("status byte left out behind a meta or system event")
        self._is_status_stale = False
        self._channel_event(self._status)

    def _system_event(self, status: int) -> None:
        if status == _META:
            self._meta_event()
        elif status in {_SYSTEM_EXCLUSIVE, _CONTINUED}:
            self._bytes(self._number())  # tells nothing that a score holds
        else:
            self._bytes(_DATA_BYTES.get(status, 0))
            self._fault("message that may not stand in a file left out")

    def _pass_over(self) -> None:
        if not self._track.unread:
            self._track.first_unread = self._place - 1
        self._track.unread += 1
        self._fault("byte that is no event left out")

    def _channel_event(self, status: int) -> None:
        kind = status & 0xF0
        data = self._bytes(1 if kind in {0xC0, 0xD0} else 2)
        if max(data) > 127:
            mended = self._mend_data(kind, data)
            if mended is None:
                return
            data = mended
        if kind in {0x80, 0x90}:
            self._note(status, data)
        self._keep(bytes((status,)) + data)

    def _mend_data(self, kind: int, data: bytes) -> bytes | None:
        """Data bytes within 0 to 127, or None if the event has no meaning."""
        if kind == 0xC0:
            self._fault("program above 127 left out")
            return None
        if kind in {0x80, 0x90, 0xA0, 0xB0} and data[0] > 127:
            self._fault(f"{'controller' if kind == 0xB0 else 'pitch'} above 127 left out")
            return None
        name = {0x80: "velocity", 0x90: "velocity", 0xB0: "controller value"}
        self._fault(f"{name.get(kind, 'value')} above 127 set to 127")
        return bytes(min(value, 127) for value in data)

    def _note(self, status: int, data: bytes) -> None:
        key = (status & 0x0F, data[0])
        if status >= 0x90 and data[1]:
            self._sounding[key] += 1
        elif self._sounding[key]:
            self._sounding[key] -= 1

    def _end_notes(self) -> None:
        for (channel, pitch), count in self._sounding.items():
            for _ in range(count):
                self._track.events.append((self._tick, bytes((0x80 | channel, pitch, 0))))
                self._fault(UNENDED)

    def _meta_event(self) -> None:
        kind = self._byte()
        data = self._bytes(self._number())
        if kind == _END_OF_TRACK:
            self._is_ended = True
            if any(self._content[self._place : self._stop]):
                self._fault(f"{self._stop - self._place} bytes behind its end left out")
        elif kind == _TEMPO and (len(data) != 3 or not any(data)):
            self._fault("tempo of 0 left out" if len(data) == 3 else "tempo of wrong size left out")
        elif kind == _SIGNATURE and not _is_signature(data):
            self._fault("time signature without length left out")
        elif kind == _KEY and not _is_key(data):
            self._fault("key signature that does not exist left out")
        else:
            self._keep(bytes((_META, kind & 0x7F)) + write_number(len(data)) + data)


def _is_signature(data: bytes) -> bool:
    return len(data) == 4 and data[0] > 0 and data[1] <= _FINEST_DENOMINATOR_POWER


def _is_key(data: bytes) -> bool:
    """Whether these are 7 flats to 7 sharps (a signed byte), major or minor."""
    return len(data) == 2 and (data[0] <= 7 or data[0] >= 249) and data[1] <= 1


def write_number(number: int) -> bytes:
    """A number as the file format writes it: 7 bits a byte, the high bit set but in the last."""
    written = [number & 0x7F]
    while number := number >> 7:
        written.append(0x80 | (number & 0x7F))
    return bytes(reversed(written))
