"""Convert music21 objects to scores.

The conversion keeps notes, velocities, programs, drums, part names, tempos, time signatures, keys,
the sustain pedal as down or up, markers (as rehearsal marks), and lyrics that begin with a note. It
loses spelling and layout (voices, beams, slurs, dynamics without velocities), repeats (they are not
unfolded), grace notes, verses after the first, and chord symbols. Ticks per quarter become the
smallest multiple of 480 that represents every time exactly, up to 32,767.
"""

import copy
import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

from rwkv_music.errors import InputError
from rwkv_music.score.editing import splice
from rwkv_music.score.instruments import SUSTAIN_PEDAL
from rwkv_music.score.interop.music21_measures import (
    align_measures,
    set_measure_lengths,
    signatures_of,
)
from rwkv_music.score.notation.exact_ticks import exact_ticks_per_quarter
from rwkv_music.score.timing import bar_starts
from rwkv_music.score.validation import LAST_TICK, check_score, whole_number

if TYPE_CHECKING:
    import symusic

    from rwkv_music.score.musicxml.facts import Facts, PartFacts, PedalSwitch

_MAX_DENOMINATOR = 65_535
"""The largest denominator that music21 itself keeps."""
_DEFAULT_VELOCITY = 80
_DRUM_CHANNEL = 9
_STAFF = re.compile(r"-Staff\d+$")
"""Suffix that music21 appends to the part id for each staff."""


def from_music21(
    stream: Any,  # noqa: ANN401
    *,
    name: str = "the music21 stream",
    facts: "Facts | None" = None,
) -> "symusic.Score":
    """Convert a music21 object to a score.

    A measure that is shorter or longer than its time signature, such as a pickup, becomes a bar of
    its real length by a time signature of its own. The pieces of an opus follow one another.

    Args:
        stream: Any stream (a score, part, measure, voice, opus, flat stream), note or chord.
        name: Name used in errors.
        facts: Content of the MusicXML file; it overrides the stream, which is modified.

    Raises:
        InputError: If there are no notes, or a value is out of range.
    """
    import music21

    if isinstance(stream, music21.note.GeneralNote):
        single: Any = music21.stream.Stream()
        single.insert(0, copy.deepcopy(stream))
        stream = single
    if not isinstance(stream, music21.stream.Stream):
        raise InputError(
            f"{name} is a {type(stream).__name__}: pass a stream, note or chord of music21"
        )
    if isinstance(stream, music21.stream.Opus):
        score = _concatenated([from_music21(piece, name=name) for piece in stream.scores], name)
    else:
        score = _score_of(stream, name, facts)
    check_score(score)
    return score


def _concatenated(pieces: "list[symusic.Score]", name: str) -> "symusic.Score":
    """Return pieces one after the other, each starting at a bar line."""
    if not pieces:
        raise InputError(f"{name} contains no notes, at least 1 is needed")
    ticks = exact_ticks_per_quarter(Fraction(1, piece.ticks_per_quarter) for piece in pieces)
    score = pieces[0].resample(ticks, min_dur=0)
    for piece in pieces[1:]:
        score = splice(score, piece.resample(ticks, min_dur=0), int(bar_starts(score)[-1]))
    return score


def _score_of(stream: Any, name: str, facts: "Facts | None") -> "symusic.Score":  # noqa: ANN401
    import symusic

    if facts is not None and facts.lengths and hasattr(stream, "parts"):
        set_measure_lengths(stream, facts.lengths)
    stream = align_measures(stream)
    parts = [(_sounding(part), offset) for part, offset in _parts_of(stream, 0)]
    flat = [part.flatten() for part, _ in parts]
    grid = _Grid(flat, [offset for _, offset in parts])
    score = symusic.Score(grid.ticks_per_quarter)
    for (part, offset), elements in zip(parts, flat, strict=True):
        grid.offset = offset
        track = _track_of(part, elements, grid)
        known = _facts_of(part, facts)
        if known is None:
            spans = {id(e): (e.offset, e.offset + e.quarterLength) for e in elements}
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
    grid.offset = parts[0][1]
    score.time_signatures = [
        symusic.TimeSignature(grid.ticks(meter.onset), meter.numerator, meter.denominator)
        for meter in signatures_of(parts[0][0])
    ]
    score.key_signatures = _keys(flat[0], grid)
    grid.offset = 0
    score.tempos = _tempos(stream, grid)
    score.markers = [
        symusic.TextMeta(grid.ticks(mark.offset), str(mark.content))
        for mark in stream.flatten().getElementsByClass("RehearsalMark")
    ]
    return score


def _parts_of(stream: Any, offset: Any) -> Iterator[tuple[Any, Any]]:  # noqa: ANN401
    """Yield the parts of a stream with their offsets; what is in no part is a part of its own."""
    import music21

    stream_types = (music21.stream.Part, music21.stream.Score)
    children = [element for element in stream if isinstance(element, stream_types)]
    if not children:
        yield stream, offset
        return
    for child in children:
        yield from _parts_of(child, offset + stream.elementOffset(child))
    loose: Any = music21.stream.Stream()
    for element in stream:
        is_music = element.isStream or isinstance(element, music21.note.GeneralNote)
        if is_music and not isinstance(element, stream_types):
            loose.insert(stream.elementOffset(element), element)
    if loose.recurse().notes:
        yield loose, offset


def _sounding(part: Any) -> Any:  # noqa: ANN401
    """Return the part at sounding pitch."""
    is_written = getattr(part, "atSoundingPitch", None) is False
    return part.toSoundingPitch() if is_written else part


class _Grid:
    """Ticks per quarter that represent every onset and duration of some streams, if possible."""

    def __init__(self, streams: list[Any], offsets: list[Any]) -> None:
        times = {
            _fraction(time)
            for stream in streams
            for element in stream
            for time in (element.offset, element.quarterLength)
        }
        times |= {_fraction(offset) for offset in offsets}
        self.ticks_per_quarter = exact_ticks_per_quarter(times)
        self.offset: Any = 0
        """Offset of the current part, in quarters."""

    def ticks(self, quarters: Any) -> int:  # noqa: ANN401 - float or Fraction
        """Return the tick nearest to an offset of the current part."""
        tick = round((_fraction(quarters) + _fraction(self.offset)) * self.ticks_per_quarter)
        if tick > LAST_TICK:
            raise InputError(f"an offset of {quarters} quarters is too late: shorten the music")
        return tick


def _fraction(quarters: Any) -> Fraction:  # noqa: ANN401
    try:
        return Fraction(quarters).limit_denominator(_MAX_DENOMINATOR)
    except (ValueError, OverflowError):
        raise InputError(f"an offset or duration is {quarters}: correct it") from None


def _name_of(part: Any) -> str:  # noqa: ANN401
    """Return the name of a part; other streams have none."""
    return str(getattr(part, "partName", None) or "")


def _track_of(part: Any, elements: Any, grid: _Grid) -> "symusic.Track":  # noqa: ANN401
    import symusic

    instrument = part.getInstrument(returnDefault=True)
    is_drum = instrument.midiChannel == _DRUM_CHANNEL or "Percussion" in type(instrument).__name__
    track = symusic.Track(_name_of(part), instrument.midiProgram or 0, is_drum)
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
            velocity = whole_number("velocity", sound.velocity, 1, 127, "")
            notes.append(symusic.Note(onset, end - onset, sound.pitch, velocity))
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
