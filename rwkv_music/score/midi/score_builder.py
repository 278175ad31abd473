"""Build a score from the events of a MIDI file.

Programs and rhythm parts belong to channels, whichever track sets them; a channel is that of a
port. A track that sets the program of a channel itself keeps it, though: files with more than 15
parts have several tracks on one channel, each with its own program. The controllers "all sound
off" and "all notes off" end notes. A note that its own track never ends is ended by another track
of its channel, or else by the end of its track. Text is decoded as
`rwkv_music.score.text_decoding` says. Lyrics stay in the part whose notes they are sung to; in a
karaoke file the text events are lyrics.
"""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rwkv_music.score.midi.channels import Channels, PortChannel
from rwkv_music.score.midi.repair import MAX_REPORTED, ParsedMidi
from rwkv_music.score.text_decoding import decode_texts

if TYPE_CHECKING:
    import symusic

_META, _SYSTEM_EXCLUSIVE = 0xFF, 0xF0
_TEXTS = frozenset({0x01, 0x03, 0x05, 0x06})
"""Meta events: text, track name, lyric and marker."""
_KARAOKE = b"\xff\x01@K"
"""Begins the text event that marks a karaoke file."""
_ENDING_CONTROLLERS = frozenset(range(123, 128)) | {120}
"""All sound off, all notes off, and the mode changes that imply it."""
_MIN_SUNG_FRACTION = 0.5


class BuiltScore(NamedTuple):
    """A score and what was repaired."""

    score: "symusic.Score"
    repairs: tuple[str, ...]
    num_notes: int
    """Number of note-on events with a velocity."""


class _PartKey(NamedTuple):
    """What makes a part of a score: events of one track for one channel and program."""

    track: int
    port: int
    channel: int
    program: int
    is_drum: bool


class _SoundingNote(NamedTuple):
    key: _PartKey
    onset: int
    velocity: int


@dataclass
class _PartEvents:
    """The notes, controllers and pitch bends of a part."""

    notes: list[tuple[int, int, int, int]] = field(default_factory=list)
    """Onset, duration, pitch and velocity."""
    controls: "list[symusic.ControlChange]" = field(default_factory=list)
    pitch_bends: "list[symusic.PitchBend]" = field(default_factory=list)


@dataclass
class _State:
    """What has been read so far."""

    channels: Channels = field(default_factory=Channels)
    ports: list[int] = field(default_factory=list)
    parts: dict[_PartKey, _PartEvents] = field(default_factory=dict)
    sounding: dict[PortChannel, dict[tuple[int, int], deque[_SoundingNote]]] = field(
        default_factory=dict
    )
    """By port and channel, then by track and pitch."""
    waiting: dict[tuple[int, PortChannel], list[tuple[int, bytes]]] = field(default_factory=dict)
    """Controllers by track, port and channel that come before the first note of their part."""
    names: dict[int, str] = field(default_factory=dict)
    lyrics: "dict[int, list[symusic.TextMeta]]" = field(default_factory=dict)
    own_programs: dict[tuple[int, PortChannel], int] = field(default_factory=dict)
    """Programs that a track has set on a channel itself."""
    is_karaoke: bool = False
    """Whether lyrics are written as text events."""
    unmatched_offs: dict[tuple[PortChannel, int], deque[int]] = field(default_factory=dict)
    """Ticks of the ends of notes that do not sound in their own track, by channel and pitch."""
    unended: Counter[int] = field(default_factory=Counter)
    num_notes: int = 0


def build_score(midi: ParsedMidi) -> BuiltScore:
    """Build the score of a MIDI file."""
    import symusic

    fixed_tempo = midi.division.microseconds_per_quarter
    score = symusic.Score(midi.division.ticks_per_quarter)
    state = _State(ports=[0] * len(midi.tracks), is_karaoke=_is_karaoke(midi))
    texts = _decoded(midi)
    for tick, _, track, _, event in _merged(midi):
        status = event[0]
        if status == _META:
            _read_meta(score, state, track, tick, event, texts)
        elif status == _SYSTEM_EXCLUSIVE:
            state.channels.system_exclusive(state.ports[track], event[1:])
        elif status < _SYSTEM_EXCLUSIVE:
            _read_channel_event(state, track, tick, event)
    if fixed_tempo is not None:
        score.tempos = [symusic.Tempo(0, mspq=fixed_tempo)]
    for port_channel in list(state.sounding):
        _end_all(state, port_channel, None, midi)
    _add_tracks(score, state)
    repairs = list(midi.repairs)
    for track, count in sorted(state.unended.items()):
        times = f" ({count} times)" if count > 1 else ""
        repairs.append(
            f"track {track + 1}: note that never ends sounds to the end of the track{times}"
        )
    if len(repairs) > MAX_REPORTED:
        repairs[MAX_REPORTED:] = [f"and {len(repairs) - MAX_REPORTED} more repairs"]
    return BuiltScore(score, tuple(repairs), state.num_notes)


def _merged(midi: ParsedMidi) -> list[tuple[int, bool, int, int, bytes]]:
    """Return the events of all tracks in the order in which they are played.

    Of the events at one tick, system-exclusive messages come first, as they set up the device.
    """
    return sorted(
        (tick, event[0] != _SYSTEM_EXCLUSIVE, index, position, event)
        for index, track in enumerate(midi.tracks)
        for position, (tick, event) in enumerate(track.events)
    )


def _is_karaoke(midi: ParsedMidi) -> bool:
    """Whether text events are lyrics; they are not where there are lyric events as well."""
    starts = {event[:4] for track in midi.tracks for _, event in track.events}
    return _KARAOKE in starts and not any(start[:2] == b"\xff\x05" for start in starts)


def _decoded(midi: ParsedMidi) -> dict[bytes, str]:
    """Return the texts of the file, which share an encoding."""
    texts = dict.fromkeys(
        event[2:]
        for track in midi.tracks
        for _, event in track.events
        if event[0] == _META and event[1] in _TEXTS
    )
    return dict(zip(texts, decode_texts(texts), strict=True))


def _read_meta(
    score: "symusic.Score",
    state: _State,
    track: int,
    tick: int,
    event: bytes,
    texts: dict[bytes, str],
) -> None:
    import symusic

    data = event[2:]
    match event[1]:
        case 0x01 if state.is_karaoke and data[:1] != b"@":  # karaoke; "@" begins a heading
            syllable = texts[data].lstrip("/\\")  # signs for a new line and a new page
            if syllable:
                state.lyrics.setdefault(track, []).append(symusic.TextMeta(tick, syllable))
        case 0x03:  # track name
            state.names[track] = texts[data]
        case 0x05:  # lyric
            state.lyrics.setdefault(track, []).append(symusic.TextMeta(tick, texts[data]))
        case 0x06:  # marker
            score.markers.append(symusic.TextMeta(tick, texts[data]))
        case 0x21 if data:  # port
            state.ports[track] = data[0]
        case 0x51:  # tempo
            score.tempos.append(symusic.Tempo(tick, mspq=int.from_bytes(data, "big")))
        case 0x58:  # time signature
            score.time_signatures.append(symusic.TimeSignature(tick, data[0], 1 << data[1]))
        case 0x59:  # key signature
            sharps = data[0] - 256 if data[0] > 127 else data[0]
            score.key_signatures.append(symusic.KeySignature(tick, sharps, data[1]))


def _read_channel_event(state: _State, track: int, tick: int, event: bytes) -> None:
    message, port_channel = event[0] & 0xF0, (state.ports[track], event[0] & 0x0F)
    if message == 0xC0:
        state.channels[port_channel].program = event[1]
        state.own_programs[track, port_channel] = event[1]
        return
    if message == 0x80 or (message == 0x90 and not event[2]):
        waiting = state.sounding.get(port_channel, {}).get((track, event[1]))
        if waiting:
            _end_note(state, waiting.popleft(), event[1], tick)
        else:
            state.unmatched_offs.setdefault((port_channel, event[1]), deque()).append(tick)
        return
    if message not in {0x90, 0xB0, 0xE0}:
        return
    channel = state.channels[port_channel]
    program = state.own_programs.get((track, port_channel), channel.program)
    key = _PartKey(track, *port_channel, program, channel.is_drum)
    if message == 0x90:
        state.num_notes += 1
        pitches = state.sounding.setdefault(port_channel, {})
        pitches.setdefault((track, event[1]), deque()).append(_SoundingNote(key, tick, event[2]))
        part = _part(state, key)
        for waiting_tick, waiting_event in state.waiting.pop((track, port_channel), ()):
            _add_control(part, waiting_tick, waiting_event)
        return
    if message == 0xB0 and event[1] in _ENDING_CONTROLLERS:
        _end_all(state, port_channel, tick, None)
    elif message == 0xB0:
        state.channels.control(port_channel, event[1], event[2])
    if key in state.parts:
        _add_control(state.parts[key], tick, event)
    else:
        state.waiting.setdefault((track, port_channel), []).append((tick, event))


def _add_control(part: _PartEvents, tick: int, event: bytes) -> None:
    """Add a controller or pitch bend to a part."""
    import symusic

    if event[0] & 0xF0 == 0xE0:
        part.pitch_bends.append(symusic.PitchBend(tick, (event[1] | event[2] << 7) - 8192))
    else:
        part.controls.append(symusic.ControlChange(tick, event[1], event[2]))


def _part(state: _State, key: _PartKey) -> _PartEvents:
    if key not in state.parts:
        state.parts[key] = _PartEvents()
    return state.parts[key]


def _end_note(state: _State, note: _SoundingNote, pitch: int, tick: int) -> None:
    duration = max(0, tick - note.onset)
    state.parts[note.key].notes.append((note.onset, duration, pitch, note.velocity))


def _end_all(
    state: _State, port_channel: PortChannel, tick: int | None, midi: ParsedMidi | None
) -> None:
    """End all notes of a channel at a tick, or else each by another track or with its own."""
    for (track, pitch), waiting in state.sounding.pop(port_channel, {}).items():
        for note in waiting:
            if midi is None:
                _end_note(state, note, pitch, tick or 0)
                continue
            offs = state.unmatched_offs.get((port_channel, pitch), deque())
            while offs and offs[0] < note.onset:
                offs.popleft()
            if offs:
                _end_note(state, note, pitch, offs.popleft())
            else:
                state.unended[track] += 1
                _end_note(state, note, pitch, midi.tracks[track].end)


def _add_tracks(score: "symusic.Score", state: _State) -> None:
    """Add the parts, ordered by track, channel and program, with their names and lyrics."""
    kept: dict[int, list[symusic.Track]] = {}
    for key, part in sorted(state.parts.items(), key=lambda entry: entry[0]):
        if part.notes:
            track = _track_of(key, part, state.names.get(key.track, ""))
            kept.setdefault(key.track, []).append(track)
    tracks = [part for parts in kept.values() for part in parts]
    own_tracks = []
    for index, lyrics in state.lyrics.items():
        target = _sung_part(lyrics, kept.get(index) or tracks, is_own_track=index in kept)
        if target is None:
            own_tracks.append(_lyrics_track(state.names.get(index, ""), lyrics))
        else:
            target.lyrics.extend(lyrics)
            target.lyrics.sort(key=lambda lyric: lyric.time)
    score.tracks = [*tracks, *own_tracks]


def _track_of(key: _PartKey, part: _PartEvents, name: str) -> "symusic.Track":
    import symusic

    track = symusic.Track(name, key.program, key.is_drum)
    onsets, durations, pitches, velocities = np.array(sorted(part.notes)).T
    track.notes = symusic.Note.from_numpy(
        onsets.astype(np.int32), durations.astype(np.int32), pitches.astype(np.int8),
        velocities.astype(np.int8),
    )  # fmt: skip
    track.controls, track.pitch_bends = part.controls, part.pitch_bends
    return track


def _lyrics_track(name: str, lyrics: "list[symusic.TextMeta]") -> "symusic.Track":
    import symusic

    track = symusic.Track(name, 0, False)
    track.lyrics = lyrics
    return track


def _sung_part(
    lyrics: "list[symusic.TextMeta]", parts: "Iterable[symusic.Track]", *, is_own_track: bool
) -> "symusic.Track | None":
    """Return the part with most notes that begin with a lyric.

    Lyrics in a track without notes belong to a part only if half of them begin with its notes.
    """
    times = Counter(lyric.time for lyric in lyrics)
    best, most = None, -1
    for part in parts:
        onsets = set(part.notes.numpy()["time"].tolist())
        num_sung = sum(count for time, count in times.items() if time in onsets)
        if num_sung > most:
            best, most = part, num_sung
    is_sung = best is not None and (is_own_track or most >= _MIN_SUNG_FRACTION * len(lyrics))
    return best if is_sung else None
