"""Write scores as MIDI files in which no channel has two programs at once.

Up to 15 parts get a channel each. More parts share channels if they have the same program, no
controllers or pitch bends, and no notes of one pitch at one time. If 15 pitched channels are still
not enough, the channels are spread over several ports (meta event 0x21). Drum parts use channel 10;
kits with different programs get a port each.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from rwkv_music.errors import InputError
from rwkv_music.score.midi.repair import parse_midi
from rwkv_music.score.midi.track_reader import Track
from rwkv_music.score.validation import check_score

if TYPE_CHECKING:
    import symusic

_DRUM_CHANNEL = 9
_PITCHED_CHANNELS = tuple(channel for channel in range(16) if channel != _DRUM_CHANNEL)
_MAX_PORTS = 128
_LONGEST_DELTA = (1 << 28) - 1
_META, _SYSTEM_EXCLUSIVE = 0xFF, 0xF0
_END_OF_TRACK = b"\xff\x2f\x00"
_EMPTY_TEXT = b"\xff\x01\x00"
"""Separates waits that are too long for one delta time."""

PortChannel = tuple[int, int]


def to_midi(score: "symusic.Score") -> bytes:
    """Return a score as a MIDI file.

    Raises:
        InputError: If a value of the score is out of range, or there are more than 1,920 parts.
    """
    check_score(score)
    content: bytes = score.dumps_midi()
    kits = {track.program for track in score.tracks if track.is_drum}
    if len(score.tracks) <= len(_PITCHED_CHANNELS) and len(kits) <= 1:
        return content  # every part has a channel of its own
    port_channels = _port_channels(score)
    midi = parse_midi(content, name="the score")
    has_ports = any(port for port, _ in port_channels)
    for track, (port, channel) in zip(midi.tracks, port_channels, strict=True):
        track.events[:] = [(tick, _on_channel(event, channel)) for tick, event in track.events]
        if has_ports:
            track.events.insert(0, (0, bytes((_META, 0x21, port))))
    header = b"".join(
        value.to_bytes(size, "big")
        for value, size in (
            (6, 4),
            (1, 2),
            (len(midi.tracks), 2),
            (midi.division.ticks_per_quarter, 2),
        )
    )
    return b"MThd" + header + b"".join(_chunk(track) for track in midi.tracks)


def _on_channel(event: bytes, channel: int) -> bytes:
    if event[0] >= _SYSTEM_EXCLUSIVE:
        return event
    return bytes((event[0] & 0xF0 | channel,)) + event[1:]


@dataclass
class _SharedChannel:
    """A channel and the notes of its parts."""

    program: int
    is_shareable: bool
    notes: list[np.ndarray] = field(default_factory=list)
    """Rows of pitch, onset and end."""


def _port_channels(score: "symusic.Score") -> list[PortChannel]:
    """Return port and channel of every part."""
    kits = list(dict.fromkeys(track.program for track in score.tracks if track.is_drum))
    pitched = [track for track in score.tracks if not track.is_drum]
    channels = _shared_channels(pitched)
    if channels is None:
        channels = list(range(len(pitched)))
    if max(max(channels, default=0) // len(_PITCHED_CHANNELS), len(kits)) >= _MAX_PORTS:
        raise InputError(
            f"the score has {len(score.tracks)} parts, a MIDI file can hold at most "
            f"{_MAX_PORTS * len(_PITCHED_CHANNELS)}: merge some of them"
        )
    remaining = iter(channels)
    port_channels = []
    for track in score.tracks:
        if track.is_drum:
            port_channels.append((kits.index(track.program), _DRUM_CHANNEL))
        else:
            port, index = divmod(next(remaining), len(_PITCHED_CHANNELS))
            port_channels.append((port, _PITCHED_CHANNELS[index]))
    return port_channels


def _shared_channels(tracks: "list[symusic.Track]") -> list[int] | None:
    """Assign parts to at most 15 channels; None if they do not suffice."""
    shared: list[_SharedChannel] = []
    assigned = []
    for track in tracks:
        is_plain = not len(track.controls) and not len(track.pitch_bends)
        table = track.notes.numpy()
        onsets = table["time"].astype(np.int64)
        rows = np.stack([table["pitch"].astype(np.int64), onsets, onsets + table["duration"]], 1)
        index = next(
            (
                position
                for position, channel in enumerate(shared)
                if is_plain
                and channel.is_shareable
                and channel.program == track.program
                and not _overlaps([*channel.notes, rows])
            ),
            len(shared),
        )
        if index == len(shared):
            if index == len(_PITCHED_CHANNELS):
                return None
            shared.append(_SharedChannel(track.program, is_plain))
        shared[index].notes.append(rows)
        assigned.append(index)
    return assigned


def _overlaps(tables: list[np.ndarray]) -> bool:
    """Whether two notes of one pitch sound at one time."""
    rows = np.concatenate(tables)
    rows = rows[np.lexsort((rows[:, 2], rows[:, 1], rows[:, 0]))]
    same_pitch = rows[1:, 0] == rows[:-1, 0]
    return bool((same_pitch & (rows[1:, 1] < rows[:-1, 2])).any())


def _chunk(track: Track) -> bytes:
    body = bytearray()
    now = 0
    for tick, event in track.events:
        now = _write_wait(body, now, tick)
        if event[0] == _META:
            body += event[:2] + _number(len(event) - 2) + event[2:]
        elif event[0] == _SYSTEM_EXCLUSIVE:
            body += event[:1] + _number(len(event) - 1) + event[1:]
        else:
            body += event
    _write_wait(body, now, track.end)
    body += _END_OF_TRACK
    return b"MTrk" + len(body).to_bytes(4, "big") + bytes(body)


def _write_wait(body: bytearray, now: int, tick: int) -> int:
    while tick - now > _LONGEST_DELTA:
        body += _number(_LONGEST_DELTA) + _EMPTY_TEXT
        now += _LONGEST_DELTA
    body += _number(tick - now)
    return tick


def _number(value: int) -> bytes:
    """Return a variable-length number: 7 bits per byte, the high bit set except in the last."""
    digits = [value & 0x7F]
    while value := value >> 7:
        digits.append(0x80 | (value & 0x7F))
    return bytes(reversed(digits))
