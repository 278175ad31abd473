"""Text from files and users, made safe to print in a terminal."""

import unicodedata

_KEPT = frozenset("\n\t")
_UNSAFE = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode categories: control, surrogate, line separator, paragraph separator."""
_BIDIRECTIONAL = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)
"""Characters that change the direction of writing and can hide the end of a name."""


def printable(text: str, *, one_line: bool = False) -> str:
    r"""Replace control characters by visible escapes.

    File names, track names and messages may hold escape sequences that recolour a terminal or hide
    text, characters that reverse the direction of writing, and bytes that are not UTF-8.

    Args:
        text: What is to be printed.
        one_line: Whether to replace line breaks and tabs as well.

    Example:
        >>> print(printable("a\x1b[31mb.mid"))
        a\x1b[31mb.mid
    """
    if text.isprintable():
        return text
    return "".join(
        character if _is_safe(character, one_line=one_line) else _escape(character)
        for character in text
    )


def _is_safe(character: str, *, one_line: bool) -> bool:
    if character in _KEPT:
        return not one_line
    return character not in _BIDIRECTIONAL and unicodedata.category(character) not in _UNSAFE


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file name that is not UTF-8 (PEP 383)
        return f"\\x{code - 0xDC00:02x}"
    if character in "\n\t\r":
        return repr(character)[1:-1]
    return (
        f"\\x{code:02x}"
        if code < 0x100
        else f"\\u{code:04x}"
        if code < 0x10000
        else f"\\U{code:08x}"
    )
