"""Reader of Humdrum **kern.

Each **kern spine becomes a track, with all its sub-spines. Ottava marks, cue sizes and scaled
rhythms are printed only; grace notes are left out, since they have no time of their own.
"""

import math
import re
from fractions import Fraction

from rwkv_music.errors import InputError
from rwkv_music.score.humdrum.interpretations import SpineInfo, read_key, read_meter, read_tempo
from rwkv_music.score.humdrum.kern_tokens import read_token
from rwkv_music.score.humdrum.sections import Sections
from rwkv_music.score.humdrum.spines import Line, SpineReader, Strand
from rwkv_music.score.loaded_score import LoadedScore
from rwkv_music.score.notation.assembly import assemble_score
from rwkv_music.score.notation.written import (
    WrittenMeasure,
    WrittenNote,
    WrittenPart,
    WrittenPiece,
    WrittenTempo,
)

_VELOCITY = 80
_PEDAL_VALUES = {"*ped": 127, "*Xped": 0}
_LYRICS = {"**text", "**silbe", "**lyrics"}
_MAX_UNITS = 1 << 40
_FALLBACK_UNITS = 10_080


def read_kern(text: str, *, unfold_repeats: bool) -> LoadedScore:
    """Read a Humdrum file with **kern spines.

    Args:
        text: The file.
        unfold_repeats: Whether to play the sections in the order that the file gives, or else its
            repeat signs.

    Raises:
        InputError: If it holds no notes, or is too long.
        ValueError: If it is not Humdrum.
    """
    units = _units_per_quarter(text)
    spines = SpineReader()
    builder = _Builder(units)
    for line in spines.lines(text):
        builder.add(line)
    piece, sections = builder.finish()
    repairs = []
    if spines.num_bad_lines:
        repairs.append(f"{spines.num_bad_lines} lines have too many or too few fields")
    if builder.num_bad_times:
        repairs.append(f"{builder.num_bad_times} lines where the rhythms of spines do not agree")
    if builder.num_out_of_range:
        repairs.append(f"{builder.num_out_of_range} notes outside of MIDI's range left out")
    order = sections.playing_order(piece) if unfold_repeats else range(len(piece.measures))
    return LoadedScore(
        assemble_score(piece, order),
        tuple(repairs),
        reader="rwkv-music",
        has_repeats=not unfold_repeats and sections.has_repeats(piece),
    )


def _units_per_quarter(text: str) -> int:
    """A number of units that holds every duration exactly, if there is a reasonable one."""
    texts: set[str] = set()
    has_kern = False
    for line in SpineReader().lines(text):
        has_kern = has_kern or any(strand.kind == "**kern" for strand in line.strands)
        if _is_data(line):
            texts.update(
                token
                for strand, token in zip(line.strands, line.tokens, strict=True)
                if strand.kind == "**kern"
            )
    if not has_kern:
        raise InputError("has no **kern spine, and no other is read: choose another file")
    units = 1
    for token in filter(None, map(read_token, texts)):
        denominators = (note.quarters.denominator for note in token.notes)
        units = math.lcm(units, token.quarters.denominator, *denominators)
        if units > _MAX_UNITS:
            return _FALLBACK_UNITS
    return units


def _is_data(line: Line) -> bool:
    return not line.tokens[0].startswith(("*", "="))


class _Builder:
    """Keeps the time and collects notes and events.

    What stands between two data lines happens at the onset of the second one.
    """

    def __init__(self, units: int) -> None:
        self.num_bad_times = 0
        self.num_out_of_range = 0
        self._piece = WrittenPiece(units, [WrittenMeasure()])
        self._units = units
        self._infos: dict[int, SpineInfo] = {}
        self._notes: list[dict[int, list[WrittenNote]]] = [{}]
        self._pedals: list[dict[int, list[tuple[int, int]]]] = [{}]
        self._sections = Sections()
        self._start = 0
        """Of the current measure."""
        self._pending: list[tuple[str, Strand]] = []
        self._end = 0

    def add(self, line: Line) -> None:
        """Read the next line."""
        if _is_data(line):
            self._add_data(line)
            return
        for strand, token in zip(line.strands, line.tokens, strict=True):
            if token not in {"*", "."}:
                self._pending.append((token, strand))

    def finish(self) -> tuple[WrittenPiece, Sections]:
        """Return the piece."""
        self._flush(self._end)
        piece = self._piece
        piece.measures[-1].length = self._end - self._start
        if len(piece.measures) > 1 and not piece.measures[-1].length:
            self._drop_last_measure()
        groups: dict[str, list[int]] = {}
        for track in sorted(self._infos, reverse=True):  # the lowest part is written first
            groups.setdefault(self._infos[track].part, []).append(track)
        for group, tracks in groups.items():
            names = [self._infos[track].name for track in tracks]
            if group and any(names):
                for track in tracks:
                    self._infos[track].name = self._infos[track].name or max(names)
            part = WrittenPart({track: self._infos[track].track_info() for track in tracks})
            part.notes = [
                [note for track in tracks for note in notes.get(track, ())] for notes in self._notes
            ]
            part.pedals = [
                [pedal for track in tracks for pedal in pedals.get(track, ())]
                for pedals in self._pedals
            ]
            piece.parts.append(part)
        return piece, self._sections

    def _drop_last_measure(self) -> None:
        piece = self._piece
        last = piece.measures.pop()
        piece.measures[-1].marks.merge(last.marks)
        self._notes.pop()
        self._pedals.pop()

    def _add_data(self, line: Line) -> None:
        timed = []
        lyrics: dict[int, list[str]] = {}
        track = -1
        for strand, text in zip(line.strands, line.tokens, strict=True):
            if strand.kind == "**kern":
                track = strand.track
                token = read_token(text)
                if token is not None:
                    timed.append((strand, token))
            elif strand.kind in _LYRICS and text != ".":
                lyrics.setdefault(track, []).append(_syllable(text))
        if not timed:
            return
        moments = {strand.end for strand, _ in timed}
        now = max(moments)
        self.num_bad_times += len(moments) > 1
        self._flush(now)
        for strand, token in timed:
            strand.end = now + self._to_units(token.quarters)
            self._end = max(self._end, strand.end)
            words = tuple(word for word in lyrics.pop(strand.track, ()) if word)
            for note in token.notes:
                pitch = self._info(strand).sounding_pitch(note.pitch)
                if not 0 <= pitch < 128:
                    self.num_out_of_range += 1
                    continue
                end = now + max(1, self._to_units(note.quarters))
                self._end = max(self._end, end)
                written = WrittenNote(
                    now - self._start,
                    end - self._start,
                    pitch,
                    _VELOCITY,
                    strand.track,
                    strand.track,
                    note.continues,
                    note.is_continued,
                    words,
                    note.has_long_tie,
                )
                words = ()
                self._notes[-1].setdefault(strand.track, []).append(written)
                self._info(strand)

    def _to_units(self, quarters: Fraction) -> int:
        return round(quarters * self._units)

    def _info(self, strand: Strand) -> SpineInfo:
        return self._infos.setdefault(strand.track, SpineInfo())

    def _flush(self, now: int) -> None:
        """Apply bar lines and interpretations at a moment."""
        for token, strand in self._pending:
            if token.startswith("="):
                self._begin_measure(now)
                self._sections.add_barline(token, len(self._piece.measures) - 1, self._piece)
            elif token.startswith("*>"):
                self._begin_measure(now)
                self._sections.add_label(token, len(self._piece.measures) - 1)
            elif strand.kind == "**kern":
                self._interpret(token, strand, now - self._start)
        self._pending.clear()

    def _begin_measure(self, now: int) -> None:
        if now == self._start:
            return
        self._piece.measures[-1].length = now - self._start
        self._piece.measures.append(WrittenMeasure())
        self._notes.append({})
        self._pedals.append({})
        self._start = now

    def _interpret(self, token: str, strand: Strand, onset: int) -> None:
        measure = self._piece.measures[-1]
        if (meter := read_meter(token)) is not None:
            if onset not in {time[0] for time in measure.times}:
                measure.times.append((onset, *meter))
        elif (key := read_key(token)) is not None:
            sharps, minor = key
            known = {moment: index for index, (moment, _, _) in enumerate(measure.keys)}
            if onset not in known:
                measure.keys.append((onset, sharps, minor or 0))
            elif minor is not None:
                measure.keys[known[onset]] = (onset, sharps, minor)
        elif (qpm := read_tempo(token)) is not None:
            measure.tempos.append(WrittenTempo(onset, qpm, is_played=True))
        elif token in _PEDAL_VALUES:
            value = _PEDAL_VALUES[token]
            self._pedals[-1].setdefault(strand.track, []).append((onset, value))
        else:
            self._info(strand).read(token)


def _syllable(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip().strip("-_|").strip()
