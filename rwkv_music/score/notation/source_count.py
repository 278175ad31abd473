"""Count the sounding notes of a text file without parsing it as music.

These counts check the readers, so they share no code with them: they scan for notes and know
nothing of time. Left out are rests, grace notes, cue notes, and continuations of tied notes. A
note tied to an earlier one is a continuation if a note that sounds the same, in this measure or the
one before, is tied to a later one.
"""

import re
from typing import NamedTuple

_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_ELEMENT = re.compile(
    r"""<part\s[^>]*?id\s*=\s*["']([^"']*)["']|<(measure)(?=[\s>])"""
    r"|<measure-style(.*?)</measure-style>|<transpose(?=[\s>])(.*?)</transpose>"
    r"|<note(?:\s[^>]*)?(?<!/)>(.*?)</note>",
    re.DOTALL,
)
"""Beginning of a part, beginning of a measure, style of a measure, transposition, or a note."""
_MEASURE_REPEAT = re.compile(
    r"""<measure-repeat\s[^>]*?type\s*=\s*["'](\w+)["'][^>]*?(?:/>|>\s*([1-9])?)"""
)
_NUMBER = re.compile(r"""[^>]*?\snumber\s*=\s*["']([^"']*)["']""")
_STAFF = re.compile(r"<staff>\s*([^<]*?)\s*</staff>")
_SILENT = re.compile(r"<(?:rest|grace|cue)\b")
_SOUNDING = re.compile(r"<(?:pitch|unpitched)\b")
_STEP = re.compile(r"<(?:display-)?step>\s*([A-G])")
_ALTER = re.compile(r"<alter>\s*([+-]?\d+(?:\.\d*)?)")
_ACCIDENTAL = re.compile(r"<accidental[^>]*>\s*([a-z-]+)")
_ALTERATIONS = {"sharp": 1, "flat": -1, "double-sharp": 2, "sharp-sharp": 2, "flat-flat": -2}
_OCTAVE = re.compile(r"<(?:display-)?octave>\s*(\d+)")
_SEMITONES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_TIE = re.compile(r"""<tie\s[^>]*?type\s*=\s*["'](start|stop)""")
_PRINTED_TIE = re.compile(r"""<tied\s[^>]*?type\s*=\s*["'](start|stop|continue)""")
_DOUBLE = re.compile(r"""<double(?:\s[^>]*?above\s*=\s*["'](\w+))?""")
_MAX_COLUMNS = 4096
_KERN_NOTE = re.compile(r"([A-Ga-g])\1*")


class _Pitch(NamedTuple):
    """What tied notes have in common."""

    part: str
    semitone: int
    has_long_tie: bool = False
    """Whether a tie may lead further than the next measure."""


class _NoteCounter:
    """Counts notes, and how many of them continue others."""

    def __init__(self) -> None:
        self._num_notes = self._num_tied = 0
        self._measure = 0
        self._open: dict[_Pitch, list[int]] = {}
        """Measures of the notes that are tied to a later one."""
        self._group: dict[_Pitch, list[tuple[bool, bool]]] = {}
        """Notes since the last call of `end_group`: whether they start and end a tie."""

    def add(self, pitch: _Pitch, *, is_start: bool, is_stop: bool) -> None:
        """Count a note.

        Args:
            pitch: Equal for notes that can be tied.
            is_start: Whether a later note is tied to it.
            is_stop: Whether it is tied to an earlier note.
        """
        self._num_notes += 1
        self._group.setdefault(pitch, []).append((is_start, is_stop))

    def end_group(self, *, has_ties_inside: bool) -> None:
        """Join the notes added since the last call to earlier ones.

        Args:
            has_ties_inside: Whether one of these notes may be tied to another.
        """
        for pitch, notes in self._group.items():
            starts = self._open.setdefault(pitch, [])
            if not pitch.has_long_tie:
                starts[:] = [measure for measure in starts if measure >= self._measure - 1]
            num_stops = sum(is_stop for _, is_stop in notes)
            num_starts = sum(is_start for is_start, _ in notes)
            if not starts and not any(is_start and not is_stop for is_start, is_stop in notes):
                num_stops -= 1  # nothing is before the first one
            available = len(starts) + (num_starts if has_ties_inside else 0)
            num_tied = max(0, min(num_stops, available))
            self._num_tied += num_tied
            starts += [self._measure] * num_starts
            del starts[:num_tied]
        self._group.clear()

    def end_measure(self) -> None:
        """Join notes, and count what follows to the next measure."""
        self.end_group(has_ties_inside=True)
        self._measure += 1

    def total(self) -> int:
        """Return the number of notes that are struck."""
        return self._num_notes - self._num_tied


def count_musicxml_notes(text: str) -> int:
    """Return the number of notes that a MusicXML document strikes.

    A measure with a repeat sign and without notes counts as the measure that it repeats.

    Args:
        text: The document.
    """
    counter = _NoteCounter()
    parts: dict[str, _PartNotes] = {}
    part = parts.setdefault("", _PartNotes(""))
    is_timewise = "<score-timewise" in text
    for match in _ELEMENT.finditer(_COMMENT.sub("", text)):
        name, measure, style, transposition, note = match.groups()
        # A measure ends at the next one of its part, or at the next part.
        if not is_timewise and (measure or name is not None):
            part.end_measure(counter)
        if name is not None:
            part = parts.setdefault(name, _PartNotes(name))
            if is_timewise:
                part.end_measure(counter)
        elif measure:
            counter.end_measure()
        elif style is not None:
            part.read_style(style)
        elif transposition is not None:
            part.read_transposition(transposition)
        elif not _SILENT.search(note) and _SOUNDING.search(note):
            part.read_note(note)
    for part in parts.values():
        part.end_measure(counter)
    counter.end_measure()
    return counter.total()


class _PartNotes:
    """The notes of a part by measure and staff, for signs that repeat measures."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._measures: list[list[tuple[str, _Pitch, bool, bool]]] = [[]]
        """Staff, pitch, and whether a tie starts and ends."""
        self._repeats: dict[str, int] = {}
        self._doublings: dict[str, int] = {}
        """By staff ("" for all): semitones to the octave in which notes are doubled, or 0."""
        self._carried: dict[int, int] = {}
        """Accidentals without alteration of notes that are tied on, by natural."""

    def read_note(self, note: str) -> None:
        """Take a sounding note."""
        ties = set(_TIE.findall(note)) or set(_PRINTED_TIE.findall(note))
        is_start, is_stop = (
            "continue" in ties or tie_type in ties for tie_type in ("start", "stop")
        )
        natural, alter = _pitch(note)
        if alter is None and is_stop:
            alter = self._carried.pop(natural, 0)
        if is_start and alter and not _ALTER.search(note):
            self._carried[natural] = alter
        match = _STAFF.search(note)
        staff = match[1] if match else ""
        pitch = natural + (alter or 0)
        doubling = self._doublings.get(staff, self._doublings.get("", 0))
        for semitone in (pitch, pitch + doubling) if doubling else (pitch,):
            self._measures[-1].append((staff, _Pitch(self._name, semitone), is_start, is_stop))

    def read_transposition(self, transposition: str) -> None:
        """Take a transposition, which may double notes in another octave."""
        staff, double = _NUMBER.match(transposition), _DOUBLE.search(transposition)
        if staff is None:
            self._doublings.clear()
        semitones = (12 if double[1] == "yes" else -12) if double else 0
        self._doublings[staff[1] if staff else ""] = semitones

    def read_style(self, style: str) -> None:
        """Take the beginning or end of a sign that repeats measures."""
        repeat = _MEASURE_REPEAT.search(style)
        number = _NUMBER.match(style)
        staff = number[1] if number else ""
        if repeat and repeat[1] == "start":
            self._repeats[staff] = int(repeat[2] or 1)
        elif repeat:
            self._repeats.pop(staff, None)

    def end_measure(self, counter: _NoteCounter) -> None:
        """Count the notes since the last call."""
        notes = self._measures[-1]
        for staff, distance in self._repeats.items():
            is_written = any(staff in {"", note[0]} for note in notes)
            if not is_written and distance < len(self._measures):
                repeated = self._measures[-1 - distance]
                notes = [*notes, *(note for note in repeated if staff in {"", note[0]})]
        for _, pitch, is_start, is_stop in notes:
            counter.add(pitch, is_start=is_start, is_stop=is_stop)
        self._measures[-1] = notes
        self._measures.append([])


def _pitch(note: str) -> tuple[int, int | None]:
    """Semitones of the natural note above C0 and its alteration, by its accidental if need be."""
    step, octave, alter, accidental = (
        pattern.search(note) for pattern in (_STEP, _OCTAVE, _ALTER, _ACCIDENTAL)
    )
    natural = 12 * int(octave[1] if octave else 4) + _SEMITONES[step[1] if step else "B"]
    if alter:
        return natural, round(float(alter[1]))
    return natural, _ALTERATIONS.get(accidental[1]) if accidental else None


def count_kern_notes(text: str) -> int:
    """Return the number of notes that the **kern spines of a Humdrum file strike.

    Args:
        text: The file.
    """
    counter = _NoteCounter()
    columns: list[_Column] = []
    is_measure_empty = True
    lines = [line for line in text.splitlines() if line and not line.startswith("!")]
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        fields = line.split("\t")
        if line.startswith("="):
            if not is_measure_empty:
                counter.end_measure()
            is_measure_empty = True
        elif line.startswith("*"):
            columns = _next_columns(columns, fields, len(following.split("\t")))
        else:
            is_measure_empty = False
            for column, field in zip(columns, fields, strict=False):
                if column.kind == "**kern":
                    _count_kern_field(field, counter)
            counter.end_group(has_ties_inside=False)
    return counter.total()


class _Column(NamedTuple):
    """A column of a Humdrum file."""

    kind: str
    origin: int
    """Number of the spine that it was split from."""


def _next_columns(columns: list[_Column], fields: list[str], width: int) -> list[_Column]:
    """The columns below a line of interpretations.

    Columns of different spines are joined only if the next line is as narrow as that.
    """
    if len(columns) != len(fields):
        columns = [_Column("", index) for index in range(len(fields))]
    apart, together = (_changed_columns(columns, fields, joins_spines=on) for on in (False, True))
    return together if len(together) == width != len(apart) else apart


def _changed_columns(
    columns: list[_Column], fields: list[str], *, joins_spines: bool
) -> list[_Column]:
    following: list[_Column] = []
    swapped: list[int] = []
    new_origin = 1 + max(column.origin for column in columns)
    for index, (column, field) in enumerate(zip(columns, fields, strict=True)):
        before = columns[index - 1] if index and fields[index - 1] == "*v" else None
        if field == "*-" or (
            field == "*v" and before and (joins_spines or before.origin == column.origin)
        ):
            continue
        if field == "*x":
            swapped.append(len(following))
        split = re.fullmatch(r"\*\^(\d{0,4})", field)
        kept = column._replace(kind=field) if field.startswith("**") else column
        following += [kept] * (int(split[1] or 2) if split else 1)
        if field == "*+":
            following.append(_Column("", new_origin))
            new_origin += 1
        if len(following) > _MAX_COLUMNS:
            break
    for first, second in zip(swapped[::2], swapped[1::2], strict=False):
        following[first], following[second] = following[second], following[first]
    return following


def _count_kern_field(field: str, counter: _NoteCounter) -> None:
    """Count the notes of a token; a chord is a grace chord if one of its notes is marked so."""
    if not re.search(r"\d", field) or re.search("[qQ]", field):
        return
    for note in field.split(" "):
        letters = _KERN_NOTE.search(note)
        is_unpitched = letters is None and "R" in note
        if "r" in note or not (letters or is_unpitched):
            continue
        # Doubled signs tie notes that are further apart.
        is_double = any(sign in note for sign in ("[[", "]]", "__"))
        counter.add(
            _Pitch("", _kern_semitone(letters, note) if letters else -1, is_double),
            is_start="[" in note or "_" in note,
            is_stop="]" in note or "_" in note,
        )


def _kern_semitone(letters: re.Match[str], note: str) -> int:
    octave = 3 + len(letters[0]) if letters[1].islower() else 4 - len(letters[0])
    natural = 12 * octave + _SEMITONES[letters[1].upper()]
    return natural + note.count("#") - note.count("-")
