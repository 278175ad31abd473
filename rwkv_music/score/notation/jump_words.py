"""Jumps that are only printed, as words: da capo, dal segno, to coda, fine."""

import re

_WORDS = (
    ("da_capo", re.compile(r"\s*(d\.?\s*c\.?|da\s+capo)(\s|$)", re.IGNORECASE)),
    ("dal_segno", re.compile(r"\s*(d\.?\s*s\.?|dal\s+segno)(\s|$)", re.IGNORECASE)),
    ("to_coda", re.compile(r"\s*(to|al|alla)\s+coda\b", re.IGNORECASE)),
    ("fine", re.compile(r"\s*fine\.?\s*$", re.IGNORECASE)),
)


def jump_in_words(text: str) -> str | None:
    """Return the field of `MeasureMarks` that a text stands for; None for another text.

    Example:
        >>> jump_in_words("D.C. al Fine")
        'da_capo'
    """
    return next((name for name, pattern in _WORDS if pattern.match(text)), None)
