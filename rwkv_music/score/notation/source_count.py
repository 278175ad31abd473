"""Count the sounding notes of a text file without parsing it as music.

These counts check the readers, so they share no code with them: they scan for notes and know
nothing of time. Left out are rests, grace notes, cue notes, and continuations of tied notes. A
note tied to an earlier one is a continuation if some note of the same pitch is tied to a later one.
"""

import re
from collections import Counter

_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_NOTE = re.compile(r"<note(?:\s[^>]*)?>(.*?)</note>", re.DOTALL)
_PART = re.compile(r"""<part\s[^>]*?id\s*=\s*["']([^"']*)["']""")
_SILENT = re.compile(r"<(?:rest|grace|cue)\b")
_SOUNDING = re.compile(r"<(?:pitch|unpitched)\b")
_STEP = re.compile(r"<(?:display-)?step>\s*([A-G])")
_OCTAVE = re.compile(r"<(?:display-)?octave>\s*(\d+)")
_TIE = re.compile(r"""<tie\s[^>]*?type\s*=\s*["'](start|stop)""")
_PRINTED_TIE = re.compile(r"""<tied\s[^>]*?type\s*=\s*["'](start|stop)""")
_MAX_COLUMNS = 4096
_KERN_NOTE = re.compile(r"([A-Ga-g])\1*[#n-]*")


class _NoteCounter:
    """Counts notes, and how many of them continue others."""

    def __init__(self) -> None:
        self._num_notes = 0
        self._starts: Counter[tuple[str, str]] = Counter()
        self._stops: Counter[tuple[str, str]] = Counter()

    def add(self, part: str, pitch: str, *, is_start: bool, is_stop: bool) -> None:
        """Count a note."""
        self._num_notes += 1
        self._starts[part, pitch] += is_start
        self._stops[part, pitch] += is_stop

    def total(self) -> int:
        """Return the number of notes that are struck."""
        tied = sum(min(count, self._starts[key]) for key, count in self._stops.items())
        return self._num_notes - tied


def count_musicxml_notes(text: str) -> int:
    """Return the number of notes that a MusicXML document strikes.

    Args:
        text: The document.
    """
    counter = _NoteCounter()
    text = _COMMENT.sub("", text)
    parts = [(match.start(), match[1]) for match in _PART.finditer(text)]
    index = -1
    for match in _NOTE.finditer(text):
        while index + 1 < len(parts) and parts[index + 1][0] < match.start():
            index += 1
        content = match[1]
        if _SILENT.search(content) or not _SOUNDING.search(content):
            continue
        step, octave = _STEP.search(content), _OCTAVE.search(content)
        pitch = f"{step[1] if step else ''}{octave[1] if octave else ''}"
        ties = set(_TIE.findall(content)) or set(_PRINTED_TIE.findall(content))
        part = parts[index][1] if index >= 0 else ""
        counter.add(part, pitch, is_start="start" in ties, is_stop="stop" in ties)
    return counter.total()


def count_kern_notes(text: str) -> int:
    """Return the number of notes that the **kern spines of a Humdrum file strike.

    Args:
        text: The file.
    """
    counter = _NoteCounter()
    kinds: list[str] = []
    for line in text.splitlines():
        fields = line.split("\t")
        if not line or line.startswith(("!", "=")):
            continue
        if line.startswith("*"):
            kinds = _next_kinds(kinds, fields)
            continue
        for kind, field in zip(kinds, fields, strict=False):
            if kind == "**kern":
                _count_kern_field(field, counter)
    return counter.total()


def _next_kinds(kinds: list[str], fields: list[str]) -> list[str]:
    """The kinds of the columns below a line of interpretations."""
    if len(kinds) != len(fields):
        kinds = [""] * len(fields)
    following: list[str] = []
    swapped: list[int] = []
    for index, (kind, field) in enumerate(zip(kinds, fields, strict=True)):
        if field == "*-" or (field == "*v" and index and fields[index - 1] == "*v"
                             and kinds[index - 1] == kind):  # fmt: skip
            continue
        if field == "*x":
            swapped.append(len(following))
        split = re.fullmatch(r"\*\^(\d{0,4})", field)
        following += [field if field.startswith("**") else kind] * (
            int(split[1] or 2) if split else 1
        )
        if field == "*+":
            following.append("")
        if len(following) > _MAX_COLUMNS:
            break
    for first, second in zip(swapped[::2], swapped[1::2], strict=False):
        following[first], following[second] = following[second], following[first]
    return following


def _count_kern_field(field: str, counter: _NoteCounter) -> None:
    for note in field.split(" "):
        pitch = _KERN_NOTE.search(note)
        has_rhythm = bool(re.search(r"\d", field))
        if pitch and has_rhythm and not re.search("[qQr]", note):
            counter.add(
                "",
                pitch[0].rstrip("n"),
                is_start="[" in note or "_" in note,
                is_stop="]" in note or "_" in note,
            )
