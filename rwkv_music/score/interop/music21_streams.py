"""Convert scores to and from music21 streams.

The conversion keeps notes, velocities, programs, drums, part names, tempos, time signatures, keys,
the sustain pedal as down or up, markers (as rehearsal marks), and lyrics that begin with a note.

To music21, it loses pitch bends and other controllers, partial pedal values, lyrics without a note
at their onset, surplus lyrics at one onset, space around lyrics, and ticks per quarter. From
music21, it loses spelling and layout (voices, beams, slurs, dynamics without velocities), repeats
(they are not unfolded), grace notes, verses after the first, and chord symbols. Ticks per quarter
become the smallest multiple of 480 that represents every time exactly, up to 32,767.
"""

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

from rwkv_music.errors import InputError
from rwkv_music.score.instruments import SUSTAIN_PEDAL, pedal_spans
from rwkv_music.score.interop.music21_measures import (
    align_measures,
    set_measure_lengths,
    signatures_of,
)
from rwkv_music.score.notation.meters import exact_ticks_per_quarter

if TYPE_CHECKING:
    import symusic

    from rwkv_music.score.musicxml.facts import Facts, PartFacts, PedalSwitch

_MAX_DENOMINATOR = 65_535
"""The largest denominator that music21 itself keeps."""
_DEFAULT_VELOCITY = 80
_DRUM_CHANNEL = 9
_STAFF = re.compile(r"-Staff\d+$")
"""Suffix that music21 appends to the part id for each staff."""


def to_music21(score: "symusic.Score") -> Any:  # noqa: ANN401 - music21 has no type hints
    """Convert a score to a music21 stream: one part per track, notes by offset, no measures.

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


def from_music21(
    stream: Any,  # noqa: ANN401
    *,
    name: str = "the music21 stream",
    facts: "Facts | None" = None,
) -> "symusic.Score":
    """Convert a music21 stream to a score.

    A measure that is shorter or longer than its time signature, such as a pickup, becomes a bar of
    its real length by a time signature of its own.

    Args:
        stream: A score, part or measure.
        name: Name used in errors.
        facts: Content of the MusicXML file; it overrides the stream, which is modified.

    Raises:
        InputError: If there are no notes, or several pieces.
    """
    import music21
    import symusic

    if isinstance(stream, music21.stream.Opus):
        raise InputError(
            f"{name} is a collection of {len(stream.scores)} pieces: give one of its scores"
        )
    if facts is not None and facts.lengths and hasattr(stream, "parts"):
        set_measure_lengths(stream, facts.lengths)
    stream = align_measures(stream)
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
        known = _facts_of(part, facts)
        if known is None:
            for pedal in part.recurse().getElementsByClass("PedalMark"):
                track.controls.extend(_pedal_controls(pedal, spans, grid))
        else:
            track.controls.extend(_switched(part, known.pedals, grid))
            track.name = known.name
            track.program = track.program if known.program is None else known.program
        if len(track.notes):
            score.tracks.append(track)
    if not score.tracks:
        raise InputError(f"{name} contains no notes, at least 1 is needed")
    score.time_signatures = [
        symusic.TimeSignature(grid.ticks(meter.onset), meter.numerator, meter.denominator)
        for meter in signatures_of(parts[0])
    ]
    score.key_signatures = _keys(whole[0], grid)
    score.tempos = _tempos(stream, grid)
    score.markers = [
        symusic.TextMeta(grid.ticks(mark.offset), str(mark.content))
        for mark in stream.flatten().getElementsByClass("RehearsalMark")
    ]
    return score


def _sounding(part: Any) -> Any:  # noqa: ANN401
    """Return the part at sounding pitch."""
    is_written = getattr(part, "atSoundingPitch", None) is False
    return part.toSoundingPitch() if is_written else part


class _Grid:
    """Ticks per quarter that represent every onset and duration of some streams, if possible."""

    def __init__(self, streams: list[Any]) -> None:
        times = {
            _fraction(time)
            for stream in streams
            for element in stream
            for time in (element.offset, element.quarterLength)
        }
        self.ticks_per_quarter = exact_ticks_per_quarter(times)

    def ticks(self, quarters: Any) -> int:  # noqa: ANN401 - float or Fraction
        """Return the nearest tick."""
        return round(_fraction(quarters) * self.ticks_per_quarter)


def _fraction(quarters: Any) -> Fraction:  # noqa: ANN401
    return Fraction(quarters).limit_denominator(_MAX_DENOMINATOR)


def _track_of(part: Any, elements: Any, grid: _Grid) -> "symusic.Track":  # noqa: ANN401
    import symusic

    instrument = part.getInstrument(returnDefault=True)
    is_drum = instrument.midiChannel == _DRUM_CHANNEL or "Percussion" in type(instrument).__name__
    track = symusic.Track(part.partName or "", instrument.midiProgram or 0, is_drum)
    ties = _Ties()
    voices = {
        id(element): voice.id
        for voice in part.recurse().getElementsByClass("Voice")
        for element in voice.notes
    }
    for element in elements.notes:
        if element.duration.isGrace:
            continue  # its duration is not defined
        onset, end = (
            grid.ticks(moment)
            for moment in (element.offset, element.offset + element.quarterLength)
        )
        num_notes = len(track.notes)
        for sound in _sounds(element, voices.get(id(element))):
            ties.add(track.notes, sound, onset, end)
        is_onset = len(track.notes) > num_notes
        if is_onset and element.lyrics and (text := (element.lyrics[0].text or "").strip()):
            track.lyrics.append(symusic.TextMeta(onset, text))
    return track


class _WrittenNote(NamedTuple):
    """One written note, which may be tied."""

    pitch: int
    velocity: int
    tie: str | None
    """music21's tie type: "start", "stop", "continue", or None."""
    voice: Any
    """The id of its voice; None in a measure with one voice."""


class _Ties:
    """Joins tied notes across chords and voices.

    music21's own `stripTies` confuses tied notes that begin together in a chord or in two voices.
    Of several open ties with the same pitch, the one in the same voice is continued.
    """

    def __init__(self) -> None:
        self._open: dict[tuple[int, int], list[tuple[Any, int]]] = {}
        """By pitch and end: voice and index in the list of notes with an open tie."""

    def add(self, notes: Any, sound: _WrittenNote, onset: int, end: int) -> None:  # noqa: ANN401
        """Add a note, or extend the one that it is tied to."""
        import symusic

        waiting = self._open.get((sound.pitch, onset))
        if sound.tie in {"stop", "continue"} and waiting:
            same_voice = (i for i, (voice, _) in enumerate(waiting) if voice == sound.voice)
            _, index = waiting.pop(next(same_voice, 0))
            notes[index].duration += end - onset
        else:
            index = len(notes)
            notes.append(symusic.Note(onset, end - onset, sound.pitch, sound.velocity))
        if sound.tie in {"start", "continue"}:
            self._open.setdefault((sound.pitch, end), []).append((sound.voice, index))


def _sounds(element: Any, voice: Any) -> Iterator[_WrittenNote]:  # noqa: ANN401
    """Yield the notes of a note, chord or drum stroke; nothing for a chord symbol."""
    if "Harmony" in element.classes:
        return
    chord_velocity = element.volume.velocity or _DEFAULT_VELOCITY
    for note in getattr(element, "notes", (element,)):
        if hasattr(note, "pitch"):
            pitch = note.pitch.midi
        else:
            drum = getattr(note.storedInstrument, "percMapPitch", None)
            pitch = drum if drum is not None else note.displayPitch().midi
        velocity = note.volume.velocity or chord_velocity
        yield _WrittenNote(pitch, velocity, note.tie and note.tie.type, voice)


def _pedal_controls(
    pedal: Any,  # noqa: ANN401
    spans: dict[int, tuple[Any, Any]],
    grid: _Grid,
) -> "list[symusic.ControlChange]":
    """Return the pedal events: down at the first marked element, up at the end of the last."""
    import symusic

    first, last = (spans.get(id(element)) for element in (pedal.getFirst(), pedal.getLast()))
    if first is None or last is None:
        return []  # the marked elements are not in the stream
    return [
        symusic.ControlChange(grid.ticks(first[0]), SUSTAIN_PEDAL, 127),
        symusic.ControlChange(grid.ticks(last[1]), SUSTAIN_PEDAL, 0),
    ]


def _facts_of(
    part: Any,  # noqa: ANN401
    facts: "Facts | None",
) -> "PartFacts | None":
    """Return the facts of a part by its id, which music21 keeps as a group or in the part's id."""
    if facts is None:
        return None
    names = (*part.groups, _STAFF.sub("", str(part.id)))
    return next((facts.parts[name] for name in names if name in facts.parts), None)


def _switched(
    part: Any,  # noqa: ANN401
    switches: "Sequence[PedalSwitch]",
    grid: _Grid,
) -> "Iterator[symusic.ControlChange]":
    """Yield pedal events from the file; each staff of a part gets the pedal of the whole part."""
    import symusic

    starts = [Fraction(measure.offset) for measure in part.getElementsByClass("Measure")]
    for switch in switches:
        if switch.measure < len(starts):
            tick = grid.ticks(starts[switch.measure] + switch.quarters)
            yield symusic.ControlChange(tick, SUSTAIN_PEDAL, 127 if switch.is_down else 0)


def _keys(part: Any, grid: _Grid) -> "list[symusic.KeySignature]":  # noqa: ANN401
    """Return key signatures, the last one of each tick (Humdrum has signature, then key)."""
    import symusic

    keys = {}
    for key in part.getElementsByClass("KeySignature"):
        if key.sharps is not None and -7 <= key.sharps <= 7:
            is_minor = getattr(key, "mode", None) == "minor"
            keys[grid.ticks(key.offset)] = (key.sharps, int(is_minor))
    return [symusic.KeySignature(tick, *key) for tick, key in keys.items()]


def _tempos(stream: Any, grid: _Grid) -> "list[symusic.Tempo]":  # noqa: ANN401
    import symusic

    tempos = {}
    for mark in stream.flatten().getElementsByClass("MetronomeMark"):
        speed = mark.getQuarterBPM()
        if speed:
            tempos[grid.ticks(mark.offset)] = round(60_000_000 / speed)
    tempos.setdefault(0, 500_000)
    return [symusic.Tempo(time, mspq=micro) for time, micro in sorted(tempos.items())]
