"""Build a score from the voices of an ABC tune."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from rwkv_music.score.abc.fields import Key, Meter
from rwkv_music.score.abc.repeats import PartLabel, Section, Structure, playback
from rwkv_music.score.abc.voice import AbcNote, Voice
from rwkv_music.score.notation.bars import PrintedSignature, real_signatures
from rwkv_music.score.notation.exact_ticks import exact_ticks_per_quarter

if TYPE_CHECKING:
    import symusic

_VELOCITY = 95
_Value = TypeVar("_Value")


@dataclass
class AbcTune:
    """The voices of a tune that have notes, and what holds for all of them."""

    voices: list[Voice] = field(default_factory=list)
    tempos: dict[Fraction, Fraction] = field(default_factory=dict)
    """Quarters per minute by time in whole notes."""
    meter: Meter | None = None
    key: Key = field(default_factory=Key)
    parts: list[PartLabel] = field(default_factory=list)
    part_order: list[str] = field(default_factory=list)

    def structure(self) -> Structure:
        """Return what decides the playback order; jumps may stand in any voice."""
        first = self.voices[0]
        jumps = next((voice.jumps for voice in self.voices if voice.jumps), [])
        return Structure(first.bar_lines, first.endings, jumps, self.parts, self.part_order)


class TuneScore(NamedTuple):
    """A score and whether its tune has repeats."""

    score: "symusic.Score"
    has_repeats: bool


def score_of_tune(tune: AbcTune, *, unfold_repeats: bool) -> TuneScore:
    """Build the score of a tune.

    The bar lines, meters and keys are those of the first voice with notes. A bar that is shorter or
    longer than its meter, such as a pickup, gets a time signature of its own.
    """
    import symusic

    if not tune.voices:
        return TuneScore(symusic.Score(480), has_repeats=False)
    first = tune.voices[0]
    end = max(max(note.end for note in voice.notes) for voice in tune.voices)
    end = max(end, *(voice.time for voice in tune.voices))
    sections, has_repeats = playback(tune.structure(), end)
    if not unfold_repeats:
        sections = [Section(Fraction(0), end)]
    unfold = _Unfolder(sections)
    notes = [unfold.notes(voice.notes) for voice in tune.voices]
    ticks = exact_ticks_per_quarter(
        4 * moment for voice in notes for note in voice for moment in (note.onset, note.duration)
    )
    score = symusic.Score(ticks)
    for voice, sounding in zip(tune.voices, notes, strict=True):
        score.tracks.extend(_tracks(voice, sounding, list(unfold.lyrics(voice.lyrics)), ticks))
    meters = unfold.changes([(Fraction(0), tune.meter), *first.meters])
    printed = [
        PrintedSignature(4 * time, meter.numerator, meter.denominator)
        for time, meter in meters
        if meter is not None
    ]
    lines = unfold.times([Fraction(0), *(line.time for line in first.bar_lines if line.time < end)])
    starts = sorted({4 * time for time in lines})
    signatures = real_signatures(printed, starts, last_is_full=True) if printed else []
    score.time_signatures = [
        symusic.TimeSignature(round(sign.onset * ticks), sign.numerator, sign.denominator)
        for sign in signatures
    ]
    for time, key in unfold.changes([(Fraction(0), tune.key), *first.keys]):
        if -7 <= key.sharps <= 7:
            score.key_signatures.append(
                symusic.KeySignature(round(4 * time * ticks), key.sharps, int(key.is_minor))
            )
    tempos = [(Fraction(0), Fraction(120)), *sorted(tune.tempos.items())]
    for time, qpm in unfold.changes(tempos):
        mspq = round(60_000_000 / qpm)
        score.tempos.append(symusic.Tempo(round(4 * time * ticks), mspq=mspq))
    return TuneScore(score, has_repeats)


def _tracks(
    voice: Voice, notes: list[AbcNote], lyrics: list[tuple[Fraction, str]], ticks: int
) -> "list[symusic.Track]":
    """Return one track for each program of a voice, with the lyrics in the first one."""
    import symusic

    tracks: dict[tuple[int, bool], symusic.Track] = {}
    for note in notes:
        instrument = (note.program, note.is_drum)
        if instrument not in tracks:
            tracks[instrument] = symusic.Track(voice.properties.name or "", *instrument)
        onset, end = round(4 * note.onset * ticks), round(4 * note.end * ticks)
        tracks[instrument].notes.append(symusic.Note(onset, end - onset, note.pitch, _VELOCITY))
    parts = list(tracks.values())
    if parts:
        for time, text in lyrics:
            parts[0].lyrics.append(symusic.TextMeta(round(4 * time * ticks), text))
    return parts


class _Unfolder:
    """Moves the content of sections to the times at which they are played."""

    def __init__(self, sections: list[Section]) -> None:
        self._sections: list[tuple[Section, Fraction]] = []
        now = Fraction(0)
        for section in sections:
            self._sections.append((section, now - section.start))
            now += section.end - section.start

    def notes(self, notes: list[AbcNote]) -> list[AbcNote]:
        """Return the notes of each section, cut at its end, with ties joined as they are played."""
        played: list[AbcNote] = []
        waiting: dict[tuple[int, int, bool], list[AbcNote]] = {}
        ordered = sorted(notes, key=lambda note: note.onset)
        for section, shift in self._sections:
            for note in ordered:
                is_inside = section.start <= note.onset < section.end
                is_empty_at_end = note.onset == section.end and not note.duration
                if is_inside or is_empty_at_end:
                    duration = min(note.duration, section.end - note.onset)
                    moved = replace(note, onset=note.onset + shift, duration=duration)
                    _join_or_add(moved, played, waiting)
        return played

    def lyrics(self, lyrics: list[tuple[Fraction, str]]) -> Iterator[tuple[Fraction, str]]:
        """Yield the lyrics of each section."""
        for section, shift in self._sections:
            for time, text in lyrics:
                if section.start <= time < section.end:
                    yield time + shift, text

    def times(self, times: Iterable[Fraction]) -> Iterator[Fraction]:
        """Yield the times of each section, including its beginning."""
        known = sorted(set(times))
        for section, shift in self._sections:
            yield section.start + shift
            for time in known:
                if section.start <= time < section.end:
                    yield time + shift

    def changes(self, changes: list[tuple[Fraction, _Value]]) -> list[tuple[Fraction, _Value]]:
        """Return changes by time: the last of each time, and the current one of each section."""
        by_time = dict(changes)
        ordered = sorted(by_time.items(), key=lambda change: change[0])
        played: dict[Fraction, _Value] = {}
        for section, shift in self._sections:
            for time, value in ordered:
                if time < section.end:
                    played[max(time, section.start) + shift] = value
        result: list[tuple[Fraction, _Value]] = []
        for time, value in sorted(played.items(), key=lambda change: change[0]):
            if not result or result[-1][1] != value:
                result.append((time, value))
        return result


def _join_or_add(
    note: AbcNote,
    played: list[AbcNote],
    waiting: dict[tuple[int, int, bool], list[AbcNote]],
) -> None:
    """Lengthen the note before if this one is tied to it, or else strike this one."""
    open_notes = waiting.setdefault((note.pitch, note.program, note.is_drum), [])
    open_notes[:] = [before for before in open_notes if before.end >= note.onset]
    before = next((open_note for open_note in open_notes if open_note.end == note.onset), None)
    if note.continues and before is not None:
        open_notes.remove(before)
        before.duration += note.duration
    else:
        before = note
        played.append(note)
    if note.is_continued:
        open_notes.append(before)
