"""Convert scores to and from pretty_midi objects.

The conversion keeps ticks per quarter, notes, velocities, programs, drums, names, controllers
including pedals, pitch bends, tempo changes, time signatures, keys and lyrics. pretty_midi counts
time in seconds; the times agree to the tick.

A pretty_midi object cannot represent markers, the track of a lyric, keys with 6 or 7 flats or 7
sharps (it stores tonics, so G flat becomes F sharp), tempo events that repeat the current tempo, or
music beyond 10,000,000 ticks. A score cannot represent text events and notes between ticks.

When pretty_midi reads a file itself, it uses the tempos of the first track only. `load_score`
followed by `to_pretty_midi` uses all of them.
"""

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from rwkv_music.errors import InputError
from rwkv_music.score.timing import TempoMap

if TYPE_CHECKING:
    import pretty_midi
    import symusic

_LAST_TICK = 10_000_000 - 2
"""Limit of pretty_midi, which keeps a table of seconds by tick."""


def to_pretty_midi(score: "symusic.Score") -> "pretty_midi.PrettyMIDI":
    """Convert a score to a pretty_midi object.

    Args:
        score: In ticks.

    Raises:
        InputError: If it is too long for pretty_midi.
    """
    import pretty_midi

    music = _with_tempos_of(score)
    seconds = music.tick_to_time
    for sign in score.time_signatures:
        music.time_signature_changes.append(
            pretty_midi.TimeSignature(sign.numerator, sign.denominator, float(seconds(sign.time)))
        )
    for key in score.key_signatures:
        if -7 <= key.key <= 7:
            key_number = (7 * key.key + 9) % 12 + 12 if key.tonality else 7 * key.key % 12
            music.key_signature_changes.append(
                pretty_midi.KeySignature(key_number, float(seconds(key.time)))
            )
    lyrics = [
        pretty_midi.Lyric(lyric.text, float(seconds(lyric.time)))
        for track in score.tracks
        for lyric in track.lyrics
    ]
    music.lyrics = sorted(lyrics, key=lambda lyric: lyric.time)
    for track in score.tracks:
        music.instruments.append(_instrument_of(track, music))
    return music


def _with_tempos_of(score: "symusic.Score") -> "pretty_midi.PrettyMIDI":
    """Return an empty object with the score's tempos.

    The tempos go through the bytes of a MIDI file, as pretty_midi has no method to set them.
    """
    import pretty_midi
    import symusic

    end = score.end()
    if not 0 <= end <= _LAST_TICK:
        raise InputError(
            f"the score ends at tick {end}, but pretty_midi supports at most {_LAST_TICK}: shorten "
            "it with take_bars"
        )
    frame = symusic.Score(score.ticks_per_quarter)
    frame.tempos = score.tempos.copy()
    frame.tracks.append(symusic.Track())
    return pretty_midi.PrettyMIDI(io.BytesIO(frame.dumps_midi()))


def _instrument_of(
    track: "symusic.Track", music: "pretty_midi.PrettyMIDI"
) -> "pretty_midi.Instrument":
    import pretty_midi

    seconds = music.tick_to_time
    part = pretty_midi.Instrument(track.program, track.is_drum, track.name)
    part.notes = [
        pretty_midi.Note(
            note.velocity,
            note.pitch,
            float(seconds(note.time)),
            float(seconds(note.time + note.duration)),
        )
        for note in track.notes
    ]
    part.control_changes = [
        pretty_midi.ControlChange(control.number, control.value, float(seconds(control.time)))
        for control in track.controls
    ]
    part.pitch_bends = [
        pretty_midi.PitchBend(bend.value, float(seconds(bend.time))) for bend in track.pitch_bends
    ]
    return part


def from_pretty_midi(music: "pretty_midi.PrettyMIDI") -> "symusic.Score":
    """Convert a pretty_midi object to a score; times are rounded to the nearest tick.

    Raises:
        InputError: If it contains no notes.
    """
    import symusic

    score = symusic.Score(music.resolution)
    times, speeds = music.get_tempo_changes()
    for time, speed in zip(times, speeds, strict=True):
        score.tempos.append(
            symusic.Tempo(int(music.time_to_tick(time)), mspq=round(60_000_000 / speed))
        )
    timing = TempoMap(score)
    signs = music.time_signature_changes
    for sign, tick in zip(signs, _ticks(timing, signs, "time"), strict=True):
        score.time_signatures.append(symusic.TimeSignature(tick, sign.numerator, sign.denominator))
    keys = music.key_signature_changes
    for key, tick in zip(keys, _ticks(timing, keys, "time"), strict=True):
        is_minor = key.key_number >= 12
        major = (key.key_number + 3 * is_minor) % 12
        score.key_signatures.append(
            symusic.KeySignature(tick, (7 * major + 5) % 12 - 5, int(is_minor))
        )
    for part in music.instruments:
        score.tracks.append(_track_of(part, timing))
    if not score.note_num():
        raise InputError("the pretty_midi object contains no notes, at least 1 is needed")
    lyrics = music.lyrics
    for lyric, tick in zip(lyrics, _ticks(timing, lyrics, "time"), strict=True):
        score.tracks[0].lyrics.append(symusic.TextMeta(tick, lyric.text))
    return score


def _track_of(part: "pretty_midi.Instrument", timing: TempoMap) -> "symusic.Track":
    import symusic

    track = symusic.Track(part.name, part.program, part.is_drum)
    onsets, ends = _ticks(timing, part.notes, "start"), _ticks(timing, part.notes, "end")
    for note, onset, end in zip(part.notes, onsets, ends, strict=True):
        track.notes.append(symusic.Note(onset, end - onset, note.pitch, note.velocity))
    controls = part.control_changes
    for control, tick in zip(controls, _ticks(timing, controls, "time"), strict=True):
        track.controls.append(symusic.ControlChange(tick, control.number, control.value))
    bends = part.pitch_bends
    for bend, tick in zip(bends, _ticks(timing, bends, "time"), strict=True):
        track.pitch_bends.append(symusic.PitchBend(tick, bend.pitch))
    return track


def _ticks(timing: TempoMap, events: list[Any], field: str) -> list[int]:
    seconds = np.array([getattr(event, field) for event in events], dtype=np.float64)
    ticks: list[int] = timing.seconds_to_ticks(seconds).tolist()
    return ticks
