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
from rwkv_music.score.validation import (
    LAST_TICK,
    MAX_TICKS_PER_QUARTER,
    check_score,
    finite_seconds,
    whole_number,
)

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

    check_score(score)
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
        InputError: If it contains no notes, a time is not a finite number from 0 on, or a value is
            not a whole number in its range.
    """
    import symusic

    where = " of the pretty_midi object"
    ticks = whole_number("resolution", music.resolution, 1, MAX_TICKS_PER_QUARTER, where)
    score = symusic.Score(ticks)
    times, speeds = music.get_tempo_changes()
    for time, speed in zip(times, speeds, strict=True):
        seconds = finite_seconds("tempo change", time, where)
        mspq = whole_number("tempo", round(60_000_000 / speed), 1, (1 << 24) - 1, where)
        score.tempos.append(symusic.Tempo(int(music.time_to_tick(seconds)), mspq=mspq))
    timing = TempoMap(score)
    for sign in music.time_signature_changes:
        tick = _tick(timing, "time signature", sign.time, where)
        numerator = whole_number("numerator", sign.numerator, 1, 255, where)
        denominator = whole_number("denominator", sign.denominator, 1, 128, where)
        score.time_signatures.append(symusic.TimeSignature(tick, numerator, denominator))
    for key in music.key_signature_changes:
        tick = _tick(timing, "key signature", key.time, where)
        key_number = whole_number("key number", key.key_number, 0, 23, where)
        is_minor = key_number >= 12
        major = (key_number + 3 * is_minor) % 12
        score.key_signatures.append(
            symusic.KeySignature(tick, (7 * major + 5) % 12 - 5, int(is_minor))
        )
    for part_number, part in enumerate(music.instruments, start=1):
        score.tracks.append(_track_of(part, timing, f" in instrument {part_number}"))
    if not score.note_num():
        raise InputError("the pretty_midi object contains no notes, at least 1 is needed")
    for lyric in music.lyrics:
        tick = _tick(timing, "lyric", lyric.time, where)
        score.tracks[0].lyrics.append(symusic.TextMeta(tick, str(lyric.text)))
    check_score(score)
    return score


def _track_of(part: "pretty_midi.Instrument", timing: TempoMap, where: str) -> "symusic.Track":
    import symusic

    program = whole_number("program", part.program, 0, 127, where)
    track = symusic.Track(str(part.name or ""), program, bool(part.is_drum))
    spans = [
        (
            finite_seconds("note start", note.start, where),
            finite_seconds("note end", note.end, where),
        )
        for note in part.notes
    ]
    onsets, ends = (_ticks(timing, [span[index] for span in spans], where) for index in (0, 1))
    for note, (start, stop), onset, end in zip(part.notes, spans, onsets, ends, strict=True):
        if stop < start:
            raise InputError(
                f"a note{where} ends at {stop:g} s, before it begins at {start:g} s: correct it"
            )
        pitch = whole_number("pitch", note.pitch, 0, 127, where)
        velocity = whole_number("velocity", note.velocity, 1, 127, where)
        track.notes.append(symusic.Note(onset, end - onset, pitch, velocity))
    for control in part.control_changes:
        tick = _tick(timing, "control change", control.time, where)
        controller = whole_number("controller", control.number, 0, 127, where)
        value = whole_number("controller value", control.value, 0, 127, where)
        track.controls.append(symusic.ControlChange(tick, controller, value))
    for bend in part.pitch_bends:
        tick = _tick(timing, "pitch bend", bend.time, where)
        value = whole_number("pitch bend", bend.pitch, -8192, 8191, where)
        track.pitch_bends.append(symusic.PitchBend(tick, value))
    return track


def _tick(timing: TempoMap, name: str, time: Any, where: str) -> int:  # noqa: ANN401
    return _ticks(timing, [finite_seconds(name, time, where)], where)[0]


def _ticks(timing: TempoMap, seconds: list[float], where: str) -> list[int]:
    ticks: list[int] = timing.seconds_to_ticks(np.array(seconds, dtype=np.float64)).tolist()
    if ticks and max(ticks) > LAST_TICK:
        raise InputError(f"a time of {max(seconds):g} s{where} is too late: shorten the music")
    return ticks
