"""Convert scores to music21 streams.

The conversion keeps notes, velocities, programs, drums, part names, tempos, time signatures, keys,
the sustain pedal as down or up, markers (as rehearsal marks), and lyrics that begin with a note. It
loses pitch bends and other controllers, partial pedal values, lyrics without a note at their onset,
surplus lyrics at one onset, and space around lyrics.
"""

from fractions import Fraction
from typing import TYPE_CHECKING, Any

from rwkv_music.score.instruments import pedal_spans
from rwkv_music.score.validation import check_score

if TYPE_CHECKING:
    import symusic

_DRUM_CHANNEL = 9


def to_music21(score: "symusic.Score") -> Any:  # noqa: ANN401 - music21 has no type hints
    """Convert a score to a music21 stream: one part per track, notes by offset, no measures.

    Args:
        score: In ticks.
    """
    import music21

    check_score(score)
    quarter = score.ticks_per_quarter
    stream = music21.stream.Score()
    for track in score.tracks:
        part = _part_of(track, quarter)
        for meter in score.time_signatures:
            text = f"{meter.numerator}/{meter.denominator}"
            part.insert(Fraction(meter.time, quarter), music21.meter.TimeSignature(text))
        for key in score.key_signatures:
            mode = "minor" if key.tonality else "major"
            name = music21.key.KeySignature(key.key).asKey(mode)
            part.insert(Fraction(key.time, quarter), name)
        stream.insert(0, part)
    if stream.parts:
        first = stream.parts[0]
        for tempo in score.tempos:
            mark = music21.tempo.MetronomeMark(number=tempo.qpm)
            first.insert(Fraction(tempo.time, quarter), mark)
        for marker in score.markers:
            sign = music21.expressions.RehearsalMark(marker.text)
            first.insert(Fraction(marker.time, quarter), sign)
    return stream


def _part_of(track: "symusic.Track", quarter: int) -> Any:  # noqa: ANN401
    import music21

    part = music21.stream.Part()
    part.partName = track.name
    part.atSoundingPitch = True  # pitches of transposing instruments are sounding pitches
    part.insert(0, _instrument_of(track))
    lyrics: dict[int, list[str]] = {}
    for lyric in track.lyrics:
        lyrics.setdefault(lyric.time, []).append(lyric.text)
    for note in track.notes:
        sounding = music21.note.Note(music21.pitch.Pitch(midi=note.pitch))
        sounding.quarterLength = Fraction(note.duration, quarter)
        sounding.volume.velocity = note.velocity
        if words := lyrics.get(note.time):
            sounding.lyrics = [music21.note.Lyric(words.pop(0), applyRaw=True)]
        part.insert(Fraction(note.time, quarter), sounding)
    for down, up in pedal_spans(track):
        anchors = [music21.spanner.SpannerAnchor(), music21.spanner.SpannerAnchor()]
        for anchor, tick in zip(anchors, (down, up), strict=True):
            part.insert(Fraction(tick, quarter), anchor)
        pedal = music21.expressions.PedalMark(*anchors)
        pedal.pedalType = music21.expressions.PedalType.Sustain
        part.insert(0, pedal)
    return part


def _instrument_of(track: "symusic.Track") -> Any:  # noqa: ANN401
    import music21

    instrument: Any = (
        music21.instrument.UnpitchedPercussion()
        if track.is_drum
        else music21.instrument.instrumentFromMidiProgram(track.program)
    )
    instrument.midiProgram = track.program
    if track.is_drum:
        instrument.midiChannel = _DRUM_CHANNEL
    elif instrument.midiChannel == _DRUM_CHANNEL:
        instrument.midiChannel = 0  # melodic percussion programs of General MIDI have pitches
    return instrument
