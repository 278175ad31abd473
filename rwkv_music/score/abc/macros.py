"""Macros of ABC (section 9 of the standard): short forms that stand for several notes."""

import re
from functools import partial

_LETTERS = "CDEFGAB"
_MAX_MACROS, _MAX_LENGTH = 200, 20_000
_NOTE = r"([A-Ga-g][,']*)"
_STEP = re.compile(r"[h-z]")


class Macros:
    """The macros of a tune.

    Example:
        >>> macros = Macros()
        >>> macros.define("~G2 = G{A}G")
        >>> macros.define("+n = (3n/o/n/")
        >>> macros.expand("~G2 +B")
        'G{A}G (3B/c/B/'
    """

    def __init__(self) -> None:
        self._macros: dict[str, tuple[re.Pattern[str], str]] = {}

    def define(self, value: str) -> None:
        """Take the value of an m: field; in a macro with "n", the letters h to z are steps.

        Raises:
            ValueError: If it is no macro.
        """
        target, equals, text = (part.strip() for part in value.partition("="))
        if not equals or not target or len(self._macros) >= _MAX_MACROS:
            raise ValueError(f"macro '{value}'")
        before, note, after = target.rpartition("n")
        pattern = re.escape(before) + _NOTE + re.escape(after) if note else re.escape(target)
        # "~G2" is not the beginning of "~G24".
        no_digit = r"(?!\d)" if target[-1].isdecimal() else ""
        self._macros[target] = (re.compile(pattern + no_digit), text)

    def expand(self, line: str) -> str:
        """Return a line of music with its macros replaced."""
        for pattern, text in self._macros.values():
            expanded = pattern.sub(partial(_replacement, text=text), line)
            if len(expanded) <= _MAX_LENGTH:
                line = expanded
        return line


def _replacement(match: re.Match[str], text: str) -> str:
    if not match.re.groups:
        return text
    base = _steps(match[1])
    return _STEP.sub(lambda letter: _name(base + ord(letter[0]) - ord("n")), text)


def _steps(note: str) -> int:
    """Steps of the scale above C."""
    octaves = note.count("'") - note.count(",") + note[0].islower()
    return 7 * octaves + _LETTERS.index(note[0].upper())


def _name(steps: int) -> str:
    octave, letter = divmod(steps, 7)
    name = _LETTERS[letter]
    return name.lower() + "'" * (octave - 1) if octave > 0 else name + "," * -octave
