"""Scores from and to what users hold: pretty_midi objects and music21 streams."""

import io
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rwkv_music.errors import InputError
from rwkv_music.score.files import load_score, score_from_bytes

if TYPE_CHECKING:
    import pretty_midi
    import symusic

_TICKS_PER_QUARTER = 480
_DEFAULT_VELOCITY = 80


def to_score(music: Any) -> "symusic.Score":  # noqa: ANN401 - whatever a user holds
    """A score from a score, a path, a pretty_midi.PrettyMIDI or a music21 stream.

    A music21 pickup measure becomes a short first bar: a time signature of its real length, then
    the printed one.

    Args:
        music: What to convert. A score is returned as it is.

    Raises:
        InputError: If it is none of those, or holds no notes.
    """
    import symusic

    if isinstance(music, symusic.core.ScoreTick):
        return music
    if isinstance(music, str | Path):
        return load_score(music)
    module = type(music).__module__.split(".")[0]
    if module == "pretty_midi" and hasattr(music, "instruments"):
        return _from_pretty_midi(music)
    if module == "music21" and hasattr(music, "recurse"):
        return _from_music21(music)
    raise InputError(
        f"cannot read music from a {type(music).__name__}: give a path, a symusic.Score in ticks, "
        "a pretty_midi.PrettyMIDI or a music21 stream"
    )


def to_pretty_midi(score: "symusic.Score") -> "pretty_midi.PrettyMIDI":
    """The score as a pretty_midi object, by way of the bytes of a MIDI file."""
    import pretty_midi

    return pretty_midi.PrettyMIDI(io.BytesIO(score.dumps_midi()))


def _from_pretty_midi(music: "pretty_midi.PrettyMIDI") -> "symusic.Score":
    content = io.BytesIO()
    music.write(content)
    return score_from_bytes(content.getvalue(), name="the pretty_midi object")


def to_music21(score: "symusic.Score") -> Any:  # noqa: ANN401 - music21 has no type hints
    """The score as a music21 stream: parts with instruments, notes, tempos, time signatures."""
    import music21

    quarter = score.ticks_per_quarter
    stream = music21.stream.Score()
    for track in score.tracks:
        part = music21.stream.Part()
        part.partName = track.name
        instrument = (
            music21.instrument.UnpitchedPercussion()
            if track.is_drum
            else music21.instrument.instrumentFromMidiProgram(track.program)
        )
        part.insert(0, instrument)
        for sign in score.time_signatures:
            text = f"{sign.numerator}/{sign.denominator}"
            part.insert(Fraction(sign.time, quarter), music21.meter.TimeSignature(text))
        if not len(stream.parts):
            for tempo in score.tempos:
                mark = music21.tempo.MetronomeMark(number=tempo.qpm)
                part.insert(Fraction(tempo.time, quarter), mark)
        for note in track.notes:
            sounding = music21.note.Note(note.pitch)
            sounding.quarterLength = Fraction(note.duration, quarter)
            sounding.volume.velocity = note.velocity
            part.insert(Fraction(note.time, quarter), sounding)
        stream.insert(0, part)
    return stream


def _from_music21(stream: Any) -> "symusic.Score":  # noqa: ANN401
    import symusic

    score = symusic.Score(_TICKS_PER_QUARTER)
    parts = list(stream.parts) if hasattr(stream, "parts") and stream.parts else [stream]
    for part in parts:
        track = _track_of(part)
        if len(track.notes):
            score.tracks.append(track)
    if not score.tracks:
        raise InputError("the music21 stream holds no notes, at least 1 is needed")
    score.time_signatures = _music21_signatures(parts[0])
    score.tempos = _music21_tempos(stream)
    return score


def _ticks(quarters: Any) -> int:  # noqa: ANN401 - float or Fraction
    return round(Fraction(quarters).limit_denominator(10_000) * _TICKS_PER_QUARTER)


def _track_of(part: Any) -> "symusic.Track":  # noqa: ANN401
    import symusic

    instrument = part.getInstrument(returnDefault=True)
    is_drum = instrument.midiChannel == 9 or "Percussion" in type(instrument).__name__
    program = 0 if is_drum else instrument.midiProgram or 0
    track = symusic.Track(part.partName or "", program, is_drum)
    for element in part.flatten().stripTies().notes:
        onset, duration = _ticks(element.offset), _ticks(element.quarterLength)
        if not duration:
            continue  # a grace note takes no time of its own
        velocity = element.volume.velocity or _DEFAULT_VELOCITY
        for pitch in element.pitches:
            track.notes.append(symusic.Note(onset, duration, pitch.midi, velocity))
    return track


def _music21_signatures(part: Any) -> "list[symusic.TimeSignature]":  # noqa: ANN401
    import symusic

    found = [
        symusic.TimeSignature(_ticks(each.offset), each.numerator, each.denominator)
        for each in part.flatten().getElementsByClass("TimeSignature")
    ]
    if not found:
        return [symusic.TimeSignature(0, 4, 4)]
    found[0].time = 0
    measures = list(part.getElementsByClass("Measure"))
    pickup = Fraction(measures[0].duration.quarterLength) if measures else Fraction(0)
    if len(measures) > 1 and 0 < pickup < Fraction(measures[0].barDuration.quarterLength):
        short = (pickup / 4).limit_denominator(64)
        if short.denominator & (short.denominator - 1) == 0:
            numerator, denominator = _as_signature(short)
            printed = found[0]
            found[0] = symusic.TimeSignature(0, numerator, denominator)
            found.insert(
                1, symusic.TimeSignature(_ticks(pickup), printed.numerator, printed.denominator)
            )
    return found


def _as_signature(share_of_whole: Fraction) -> tuple[int, int]:
    """A length in whole notes as a signature in quarters, or finer where it must be."""
    denominator = max(4, share_of_whole.denominator)
    return int(share_of_whole * denominator), denominator


def _music21_tempos(stream: Any) -> "list[symusic.Tempo]":  # noqa: ANN401
    import symusic

    tempos = {}
    for mark in stream.flatten().getElementsByClass("MetronomeMark"):
        speed = mark.getQuarterBPM()
        if speed:
            tempos[_ticks(mark.offset)] = float(speed)
    tempos.setdefault(0, 120.0)
    return [symusic.Tempo(time, qpm=qpm) for time, qpm in sorted(tempos.items())]
