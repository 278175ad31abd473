"""Count the notes of an ABC tune independently of its reader."""

import re
from collections.abc import Iterable

_IGNORED = re.compile(r'\[[A-Za-z]:[^\]]*\]|"[^"]*"?|![^\s!|"]*!|\+[A-Za-z0-9.<>()]+\+|\{[^}]*\}?')
_COMMENT = re.compile(r"(?<!\\)%.*", re.DOTALL)
_VOICE = re.compile(r"\[?V:\s*(\S+?)[\s\]]")
_FIELD_LINE = re.compile(r"(?![A-Ga-gxzZ]:[|:\]])[A-Za-z+]:")
_SYMBOL = re.compile(r"(\^\^?|__?|=)?([A-Ga-g][,']*)|([zxZX])|(-)|(\[)(?=[^|\]]*\])|(\])|(&)|(\|)")


def count_notes(lines: Iterable[str]) -> int:
    """Count the notes in the body of a tune.

    Rests, grace notes and the continuations of tied notes are not counted.

    Args:
        lines: The lines after the K: field that ends the head.
    """
    voices: dict[str, list[str]] = {}
    voice = ""
    for line in lines:
        for piece in re.split(r"(?=\[V:)", _COMMENT.sub("", line)):
            if match := _VOICE.match(piece + " "):
                voice = match[1]
            elif voice == "":
                voice = "1"
            if not _FIELD_LINE.match(piece):
                voices.setdefault(voice, []).append(_IGNORED.sub(" ", piece))
    return sum(_count_voice("\n".join(pieces)) for pieces in voices.values())


def _count_voice(music: str) -> int:  # noqa: C901 - one case a symbol
    """Count the notes of one voice, leaving out those that a tie continues."""
    count = 0
    tied: dict[str, str] = {}
    """Notes that the current note or chord may continue, with their accidentals."""
    group: dict[str, str] = {}
    tied_in_chord: dict[str, str] = {}
    last = ""
    in_chord = False
    from_before: dict[str, str] = {}
    """Notes that are tied into this bar, which may be continued in any overlay."""
    from_overlays: dict[str, str] = {}
    for symbol in _SYMBOL.finditer(music):
        accidental, note, rest, tie, opens, closes, overlay, bar = symbol.groups()
        if note:
            # A tied note has no accidental, or repeats that of the note before.
            count += note not in tied or accidental not in {None, tied[note]}
            if not in_chord:
                group, tied = {}, {}
            group[note] = accidental or ""
            last = note
        elif tie and in_chord:
            tied_in_chord |= {last: group[last]} if last in group else {}
        elif tie:
            tied |= group
        elif opens:
            in_chord, group, tied_in_chord = True, {}, {}
        elif closes and in_chord:
            in_chord, tied = False, tied_in_chord
        elif rest:
            tied, group = {}, {}
        elif overlay:
            from_overlays |= tied
            tied, group = dict(from_before), {}
        elif bar:
            tied |= from_overlays
            from_before, from_overlays = dict(tied), {}
    return count
