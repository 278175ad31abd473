"""Scores from and to music21 streams.

Both hold: notes, velocities, programs, drums, part names, tempos, time signatures, keys, the
sustain pedal as down or up, markers (rehearsal marks there), and lyrics that begin with a note.

music21 as used here cannot hold: pitch bends and other controllers, how far a pedal is down, lyrics
where no note begins or more than one at a moment, ticks per quarter as such (they become the
coarsest multiple of 480 that holds every moment of the stream exactly, where 32,767 suffice). A
score cannot hold: how music is spelled and laid out (voices, beams, slurs, dynamics without
velocities), repeats (they are not unfolded), grace notes, verses after the first, chord symbols.
"""

import math
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

from rwkv_music.errors import InputError
from rwkv_music.score.instruments import SUSTAIN_PEDAL
from rwkv_music.score.music21_measures import side_by_side, signatures_of

if TYPE_CHECKING:
    import symusic

_COARSEST_TICKS = 480
_FINEST_TICKS = 32_767
_FINEST_FRACTION = 65_535
"""The largest denominator that music21 itself keeps."""
_DEFAULT_VELOCITY = 80
_PEDAL_IS_DOWN = 64
_DRUM_CHANNEL = 9


def to_music21(score: "symusic.Score") -> Any:  # noqa: ANN401 - music21 has no type hints
    """The score as a music21 stream: a part a track, each note at its place, without measures.

    Args:
        score: In ticks.
    """
    import music21

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
    part.atSoundingPitch = True  # a clarinet's pitches are those that sound
    part.insert(0, _instrument_of(track))
    lyrics = {lyric.time: lyric.text for lyric in track.lyrics}
    for note in track.notes:
        sounding = music21.note.Note(music21.pitch.Pitch(midi=note.pitch))
        sounding.quarterLength = Fraction(note.duration, quarter)
        sounding.volume.velocity = note.velocity
        if note.time in lyrics:
            sounding.lyrics = [music21.note.Lyric(lyrics.pop(note.time), applyRaw=True)]
        part.insert(Fraction(note.time, quarter), sounding)
    for down, up in _pedal_spans(track):
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
        instrument.midiChannel = 0  # an agogo or tom of General MIDI's programs has pitches
    return instrument


def _pedal_spans(track: "symusic.Track") -> Iterator[tuple[int, int]]:
    """When the pedal goes down and comes up; at the last note's end at the latest."""
    down = None
    for control in sorted(track.controls, key=lambda event: event.time):
        if control.number != SUSTAIN_PEDAL:
            continue
        if control.value >= _PEDAL_IS_DOWN and down is None:
            down = control.time
        elif control.value < _PEDAL_IS_DOWN and down is not None:
            yield down, control.time
            down = None
    if down is not None:
        yield down, max(down, track.end())


def from_music21(stream: Any, *, name: str = "the music21 stream") -> "symusic.Score":  # noqa: ANN401
    """The score of a music21 stream.

    A measure that is not as long as printed, such as a pickup, becomes a bar of its real length:
    a time signature that says so, then the printed one.

    Args:
        stream: A score, a part or a measure.
        name: What to call it in an error.

    Raises:
        InputError: If it holds no notes, or several pieces.
    """
    import music21
    import symusic

    if isinstance(stream, music21.stream.Opus):
        raise InputError(
            f"{name} is a collection of {len(stream.scores)} pieces: give one of its scores"
        )
    stream = side_by_side(stream)
    given = list(stream.parts) if hasattr(stream, "parts") and stream.parts else [stream]
    parts = [_sounding(part) for part in given]
    whole = [part.flatten() for part in parts]
    spans = {
        id(each): (each.offset, each.offset + each.quarterLength) for part in whole for each in part
    }
    grid = _Grid(whole)
    score = symusic.Score(grid.ticks_per_quarter)
    for part, elements in zip(parts, whole, strict=True):
        track = _track_of(part, elements, grid)
        for pedal in part.recurse().getElementsByClass("PedalMark"):
            track.controls.extend(_pedal_controls(pedal, spans, grid))
        if len(track.notes):
            score.tracks.append(track)
    if not score.tracks:
        raise InputError(f"{name} holds no notes, at least 1 is needed")
    score.time_signatures = [
        symusic.TimeSignature(grid.ticks(each.onset), each.numerator, each.denominator)
        for each in signatures_of(parts[0])
    ]
    score.key_signatures = [
        symusic.KeySignature(
            grid.ticks(key.offset), key.sharps, int(getattr(key, "mode", None) == "minor")
        )
        for key in whole[0].getElementsByClass("KeySignature")
        if key.sharps is not None and -7 <= key.sharps <= 7
    ]
    score.tempos = _tempos(stream, grid)
    score.markers = [
        symusic.TextMeta(grid.ticks(mark.offset), str(mark.content))
        for mark in stream.flatten().getElementsByClass("RehearsalMark")
    ]
    return score


def _sounding(part: Any) -> Any:  # noqa: ANN401
    """The part as it sounds, where it says that it is written for a transposing instrument."""
    is_written = getattr(part, "atSoundingPitch", None) is False
    return part.toSoundingPitch() if is_written else part


class _Grid:
    """Ticks that hold every onset and duration of some streams exactly, if any do."""

    def __init__(self, streams: list[Any]) -> None:
        denominators = {
            _fraction(moment).denominator
            for stream in streams
            for element in stream
            for moment in (element.offset, element.quarterLength)
        }
        exact = math.lcm(*denominators)
        together = math.lcm(exact, _COARSEST_TICKS)
        candidates = (together, exact, _COARSEST_TICKS)
        self.ticks_per_quarter = next(each for each in candidates if each <= _FINEST_TICKS)

    def ticks(self, quarters: Any) -> int:  # noqa: ANN401 - float or Fraction
        """The nearest tick."""
        return round(_fraction(quarters) * self.ticks_per_quarter)


def _fraction(quarters: Any) -> Fraction:  # noqa: ANN401
    return Fraction(quarters).limit_denominator(_FINEST_FRACTION)


def _track_of(part: Any, elements: Any, grid: _Grid) -> "symusic.Track":  # noqa: ANN401
    import symusic

    instrument = part.getInstrument(returnDefault=True)
    is_drum = instrument.midiChannel == _DRUM_CHANNEL or "Percussion" in type(instrument).__name__
    track = symusic.Track(part.partName or "", instrument.midiProgram or 0, is_drum)
    ties = _Ties()
    for element in elements.notes:
        if element.duration.isGrace:
            continue  # it takes its time from another note, and nobody says how much
        onset, end = (
            grid.ticks(moment)
            for moment in (element.offset, element.offset + element.quarterLength)
        )
        num_notes = len(track.notes)
        for sound in _sounds(element):
            ties.add(track.notes, sound, onset, end)
        is_struck = len(track.notes) > num_notes
        if is_struck and element.lyrics and element.lyrics[0].text:
            track.lyrics.append(symusic.TextMeta(onset, element.lyrics[0].text))
    return track


class _Sound(NamedTuple):
    """What one written note sounds."""

    pitch: int
    velocity: int
    tie: str | None
    """music21's name for it: "start", "stop", "continue", or None."""


class _Ties:
    """Joins written notes into sounding ones, whichever voice or chord they stand in.

    music21's own `stripTies` takes tied notes that begin together, in a chord or in two voices,
    for one another.
    """

    def __init__(self) -> None:
        self._open: dict[tuple[int, int], list[int]] = {}
        """By pitch and end: the notes in the list that are tied on."""

    def add(self, notes: Any, sound: _Sound, onset: int, end: int) -> None:  # noqa: ANN401
        """Strike a note, or lengthen the one that it is tied to."""
        import symusic

        waiting = self._open.get((sound.pitch, onset))
        if sound.tie in {"stop", "continue"} and waiting:
            place = waiting.pop(0)
            notes[place].duration += end - onset
        else:
            place = len(notes)
            notes.append(symusic.Note(onset, end - onset, sound.pitch, sound.velocity))
        if sound.tie in {"start", "continue"}:
            self._open.setdefault((sound.pitch, end), []).append(place)


def _sounds(element: Any) -> Iterator[_Sound]:  # noqa: ANN401
    """What a note, chord or drum stroke sounds; nothing for a symbol."""
    if "Harmony" in element.classes:
        return
    whole = element.volume.velocity or _DEFAULT_VELOCITY
    for each in getattr(element, "notes", (element,)):
        if hasattr(each, "pitch"):
            pitch = each.pitch.midi
        else:
            drum = getattr(each.storedInstrument, "percMapPitch", None)
            pitch = drum if drum is not None else each.displayPitch().midi
        yield _Sound(pitch, each.volume.velocity or whole, each.tie and each.tie.type)


def _pedal_controls(
    pedal: Any,  # noqa: ANN401
    spans: dict[int, tuple[Any, Any]],
    grid: _Grid,
) -> "list[symusic.ControlChange]":
    """Down where the first marked element begins, up where the last one ends."""
    import symusic

    first, last = (spans.get(id(each)) for each in (pedal.getFirst(), pedal.getLast()))
    if first is None or last is None:
        return []  # it marks something that is not in the stream
    return [
        symusic.ControlChange(grid.ticks(first[0]), SUSTAIN_PEDAL, 127),
        symusic.ControlChange(grid.ticks(last[1]), SUSTAIN_PEDAL, 0),
    ]


def _tempos(stream: Any, grid: _Grid) -> "list[symusic.Tempo]":  # noqa: ANN401
    import symusic

    tempos = {}
    for mark in stream.flatten().getElementsByClass("MetronomeMark"):
        speed = mark.getQuarterBPM()
        if speed:
            tempos[grid.ticks(mark.offset)] = round(60_000_000 / speed)
    tempos.setdefault(0, 500_000)
    return [symusic.Tempo(time, mspq=micro) for time, micro in sorted(tempos.items())]
