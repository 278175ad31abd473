"""Assemble a score from written measures: play them in order, join ties, find ticks."""

import math
from collections.abc import Hashable, Iterable, Sequence
from fractions import Fraction
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rwkv_music.errors import InputError
from rwkv_music.score.instruments import SUSTAIN_PEDAL
from rwkv_music.score.notation.bars import PrintedSignature, real_signatures
from rwkv_music.score.notation.written import TrackInfo, WrittenNote, WrittenPart, WrittenPiece

if TYPE_CHECKING:
    import symusic

_TICKS_PER_QUARTER = 480
_MAX_TICKS_PER_QUARTER = 32_767
_MAX_TICK = 1 << 30
_MAX_NOTES = 4_000_000
_MAX_MICROSECONDS = (1 << 24) - 1


def assemble_score(piece: WrittenPiece, order: Sequence[int]) -> "symusic.Score":
    """Return the score of a piece.

    Args:
        piece: Its measures and parts.
        order: Indices of the measures, in the order in which they are played.

    Raises:
        InputError: If there are no notes, more than 4 million, or the piece is too long.
    """
    import symusic

    lengths = [piece.measures[index].length for index in order]
    starts = list(accumulate(lengths, initial=0))
    parts = [_play_part(part, order, starts) for part in piece.parts]
    num_notes = sum(len(notes) for part in parts for notes in part.tracks.values())
    if not num_notes:
        raise InputError("contains no notes, at least 1 is needed: choose another file")
    if num_notes > _MAX_NOTES:
        raise InputError(f"has {num_notes} notes, at most {_MAX_NOTES} are read: split it")
    ticks = _Ticks(piece, parts, starts, order)
    score = symusic.Score(ticks.per_quarter)
    for part, written in zip(parts, piece.parts, strict=True):
        for key, info in written.tracks.items():
            if part.tracks.get(key):
                score.tracks.append(_track(info, part, key, ticks))
    _add_global_events(score, piece, order, starts, ticks)
    return score


class _PlayedPart(NamedTuple):
    """A part with its ties joined, in units from the beginning of the piece."""

    tracks: dict[Hashable, list[list[int]]]
    """Onset, end, pitch and velocity of the notes of each track."""
    lyrics: dict[Hashable, list[tuple[int, str]]]
    pedals: list[tuple[int, int]]


def _play_part(part: WrittenPart, order: Sequence[int], starts: Sequence[int]) -> _PlayedPart:
    played = _PlayedPart({}, {}, [])
    ties = _Ties()
    passes: dict[int, int] = {}
    previous = 0
    for start, index in zip(starts, order, strict=False):
        if index >= len(part.notes):
            continue
        verse = passes.get(index, 0)
        passes[index] = verse + 1
        for note in sorted(part.notes[index], key=_onset):
            notes = played.tracks.setdefault(note.track, [])
            is_struck = ties.add(notes, note, start, earliest=previous)
            if is_struck and note.lyrics:
                text = note.lyrics[min(verse, len(note.lyrics) - 1)]
                played.lyrics.setdefault(note.track, []).append((start + note.onset, text))
        played.pedals.extend((start + onset, value) for onset, value in part.pedals[index])
        previous = start
    return played


def _onset(note: WrittenNote) -> int:
    return note.onset


class _Ties:
    """Joins tied notes into sounding ones, across voices, staves and gaps.

    Of several notes of the same pitch that wait to be continued, those that end at the moment of
    the continuation come first, then those in the same voice. A note in the current or previous
    measure that ended earlier is continued as well, such as an arpeggio tied into its chord, and if
    there is no other, a note whose written length is too long.
    """

    def __init__(self) -> None:
        self._waiting: dict[tuple[int, bool], list[tuple[Hashable, list[int]]]] = {}
        """By pitch and `has_long_tie`: voice and note of the tied notes."""

    def add(
        self, notes: list[list[int]], written: WrittenNote, start: int, *, earliest: int
    ) -> bool:
        """Strike a note, or lengthen the one that it is tied to; return whether it is struck."""
        onset, end = start + written.onset, start + written.end
        key = (written.pitch, written.has_long_tie)
        waiting = self._waiting.get(key)
        note = None
        if written.continues and waiting:
            since = 0 if written.has_long_tie else earliest
            note = _take(waiting, onset, written.voice, since)
        is_struck = note is None
        if note is None:
            note = [onset, end, written.pitch, written.velocity]
            notes.append(note)
        else:
            note[1] = max(note[1], end)
        if written.is_continued:
            self._waiting.setdefault(key, []).append((written.voice, note))
        return is_struck


def _take(
    waiting: list[tuple[Hashable, list[int]]], onset: int, voice: Hashable, earliest: int
) -> list[int] | None:
    best = None
    best_rank: tuple[bool, bool, bool, int] | None = None
    for index, (own_voice, note) in enumerate(waiting):
        end = note[1]
        if end < earliest or note[0] >= onset:
            continue
        rank = (end <= onset, end == onset, own_voice == voice, end)
        if best_rank is None or rank > best_rank:
            best, best_rank = index, rank
    if best is None:
        waiting[:] = [entry for entry in waiting if entry[1][1] >= earliest]
        return None
    return waiting.pop(best)[1]


class _Ticks:
    """Ticks that hold every moment of a piece exactly, where 32,767 a quarter suffice."""

    def __init__(
        self,
        piece: WrittenPiece,
        parts: Sequence[_PlayedPart],
        starts: Sequence[int],
        order: Sequence[int],
    ) -> None:
        units = piece.units_per_quarter
        step = units
        for moments in _moments(piece, parts, starts, order):
            step = math.gcd(step, *moments)
        exact = units // step
        together = math.lcm(exact, _TICKS_PER_QUARTER)
        candidates = (together, exact, _TICKS_PER_QUARTER)
        self.per_quarter = next(
            candidate for candidate in candidates if candidate <= _MAX_TICKS_PER_QUARTER
        )
        self._units = units
        self._is_exact = self.per_quarter % exact == 0
        longest = max(note[1] for part in parts for n in part.tracks.values() for note in n)
        quarters = max(longest, starts[-1]) // units
        if quarters * self.per_quarter > _MAX_TICK:
            most = _MAX_TICK // self.per_quarter
            raise InputError(f"lasts {quarters} quarters, at most {most} are read: correct it")

    def __call__(self, moment: int) -> int:
        """The nearest tick."""
        if self._is_exact:
            return moment * self.per_quarter // self._units
        return round(Fraction(moment * self.per_quarter, self._units))


def _moments(
    piece: WrittenPiece,
    parts: Sequence[_PlayedPart],
    starts: Sequence[int],
    order: Sequence[int],
) -> Iterable[Iterable[int]]:
    yield starts
    for index in set(order):
        measure = piece.measures[index]
        yield (tempo.onset for tempo in measure.tempos)
        for events in (measure.times, measure.keys, measure.markers):
            yield (event[0] for event in events)
    for part in parts:
        yield (onset for onset, _ in part.pedals)
        for notes in part.tracks.values():
            yield (moment for note in notes for moment in note[:2])


def _track(info: TrackInfo, part: _PlayedPart, key: Hashable, ticks: _Ticks) -> "symusic.Track":
    import symusic

    track = symusic.Track(info.name, info.program, info.is_drum)
    rows = sorted(
        (ticks(onset), ticks(end), pitch, velocity)
        for onset, end, pitch, velocity in part.tracks[key]
    )
    onsets, ends, pitches, velocities = np.array(rows, np.int32).T
    track.notes = symusic.Note.from_numpy(
        onsets.copy(),
        np.maximum(ends - onsets, 1),
        pitches.astype(np.int8),
        velocities.astype(np.int8),
    )
    for moment, text in sorted(part.lyrics.get(key, ()), key=lambda lyric: lyric[0]):
        track.lyrics.append(symusic.TextMeta(ticks(moment), text))
    for moment, value in sorted(part.pedals, key=lambda pedal: pedal[0]):
        track.controls.append(symusic.ControlChange(ticks(moment), SUSTAIN_PEDAL, value))
    return track


def _add_global_events(
    score: "symusic.Score",
    piece: WrittenPiece,
    order: Sequence[int],
    starts: Sequence[int],
    ticks: _Ticks,
) -> None:
    import symusic

    events = _GlobalEvents(piece)
    for start, index in zip(starts, order, strict=False):
        events.play(start, index)
    times, keys = events.times, events.keys
    units = piece.units_per_quarter
    signatures = real_signatures(
        [PrintedSignature(Fraction(time, units), *times[time]) for time in sorted(times)],
        [Fraction(start, units) for start in starts],
    )
    for sign in signatures:
        tick = round(sign.onset * ticks.per_quarter)
        score.time_signatures.append(symusic.TimeSignature(tick, sign.numerator, sign.denominator))
    for moment in sorted(keys):
        score.key_signatures.append(symusic.KeySignature(ticks(moment), *keys[moment]))
    tempos = {ticks(moment): _microseconds(qpm) for moment, qpm in events.tempos().items()}
    tempos.setdefault(0, 500_000)
    score.tempos = [symusic.Tempo(tick, mspq=tempos[tick]) for tick in sorted(tempos)]
    for moment, text in sorted(events.markers, key=lambda marker: marker[0]):
        score.markers.append(symusic.TextMeta(ticks(moment), text))


class _GlobalEvents:
    """Signatures, keys, tempos and markers in playing order.

    After a jump, the values that are valid at the written place are restated.
    """

    def __init__(self, piece: WrittenPiece) -> None:
        self.times: dict[int, tuple[int, int]] = {}
        self.keys: dict[int, tuple[int, int]] = {}
        self.markers: dict[tuple[int, str], None] = {}
        self._printed: dict[int, float] = {}
        self._played: dict[int, float] = {}
        self._measures = piece.measures
        self._valid = _valid_at_starts(piece)
        self._previous = -1

    def play(self, start: int, index: int) -> None:
        """Add the events of a measure."""
        measure = self._measures[index]
        if index != self._previous + 1:
            time, key, tempo = self._valid[index]
            if time is not None and time != _last(self.times):
                self.times[start] = time
            if key is not None and key != _last(self.keys):
                self.keys[start] = key
            if tempo is not None:
                self._played[start] = tempo
        self._previous = index
        self.times.update({start + onset: (beats, unit) for onset, beats, unit in measure.times})
        self.keys.update({start + onset: (sharps, minor) for onset, sharps, minor in measure.keys})
        for mark in measure.tempos:
            (self._played if mark.is_played else self._printed)[start + mark.onset] = mark.qpm
        self.markers.update({(start + onset, text): None for onset, text in measure.markers})

    def tempos(self) -> dict[int, float]:
        """Quarters a minute by moment; a tempo for playback replaces a printed one."""
        return self._printed | self._played


def _last(events: dict[int, tuple[int, int]]) -> tuple[int, int] | None:
    return events[next(reversed(events))] if events else None


_Valid = tuple[tuple[int, int] | None, tuple[int, int] | None, float | None]


def _valid_at_starts(piece: WrittenPiece) -> list[_Valid]:
    """Time signature, key and tempo before each measure, in written order."""
    valid: list[_Valid] = []
    time: tuple[int, int] | None = None
    key: tuple[int, int] | None = None
    tempo: float | None = None
    for measure in piece.measures:
        valid.append((time, key, tempo))
        for _, beats, unit in measure.times:
            time = (beats, unit)
        for _, sharps, minor in measure.keys:
            key = (sharps, minor)
        for mark in sorted(measure.tempos, key=lambda mark: (mark.onset, mark.is_played)):
            tempo = mark.qpm
    return valid


def _microseconds(qpm: float) -> int:
    return min(max(round(60_000_000 / qpm), 1), _MAX_MICROSECONDS)
