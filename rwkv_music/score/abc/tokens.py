"""Split a line of ABC music into tokens."""

import re
from collections.abc import Iterator
from fractions import Fraction

_LENGTH = r"(?:\d{1,6})?/{0,8}(?:\d{1,6})?"
_TOKEN = re.compile(
    rf"""
    (?P<field>\[[A-Za-z]:[^\]]*\])
  | (?P<annotation>"[^"]*"?)
  | (?P<decoration>![^\s!|"]{{1,40}}!|\+[A-Za-z0-9.<>()]{{1,20}}\+)
  | (?P<grace>\{{[^}}]*\}}?)
  | (?P<tuplet>\((?P<p>\d{{1,2}})(?::(?P<q>\d{{0,2}}))?(?::(?P<r>\d{{0,2}}))?)
  | (?P<ending>\[(?:\d[\d,.\-]*|(?="))|(?<=[|\]:])\d[\d,.\-]*)
  | (?P<bar>\.?(?:\[\|[\]:|]*|:*\|[|\]:]*|::+))
  | (?P<chord>\[(?P<inside>[^\]|]*)\](?P<chord_length>{_LENGTH}))
  | (?P<note>(?P<accidental>\^\^?|__?|=)?(?P<letter>[A-Ga-g])(?P<octave>[,']*)
      (?P<length>{_LENGTH}))
  | (?P<rest>[zx](?P<rest_length>{_LENGTH}))
  | (?P<bars_of_rest>[ZX](?P<bars>\d{{0,9}}))
  | (?P<spacer>y(?:{_LENGTH}))
  | (?P<broken><{{1,3}}|>{{1,3}})
  | (?P<tie>\.?-)
  | (?P<overlay>&+)
  | (?P<slur>\.?\(|\)|\(&)
  | (?P<mark>[~.H-Wh-w])
  | (?P<space>[\s`\\$*]+|!)
  | (?P<unknown>.)
    """,
    re.VERBOSE | re.DOTALL,
)


def tokens(line: str) -> Iterator[tuple[str, re.Match[str]]]:
    """Yield the tokens of a music line.

    Args:
        line: Without its comment.

    Yields:
        The kind of the token (a group name of the pattern), and the match.
    """
    for match in _TOKEN.finditer(line):
        yield match.lastgroup or "unknown", match


def parse_note_length(text: str) -> Fraction:
    """Parse the length after a note: `3`, `/`, `//`, `3/2` or nothing, in unit note lengths."""
    multiple, slash, divisor = text.partition("/")
    value = Fraction(int(multiple) if multiple else 1)
    if slash:
        digits = divisor.lstrip("/")
        num_slashes = 1 + len(divisor) - len(digits)
        value /= max(1, int(digits)) if digits else 1 << num_slashes
    return value


def without_comment(line: str) -> str:
    """Return the line up to a comment sign that is not escaped."""
    return re.split(r"(?<!\\)%", line, maxsplit=1)[0]
