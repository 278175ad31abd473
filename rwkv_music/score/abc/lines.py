"""Lines of an ABC tune: fields, music, and what continues on the next line."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from rwkv_music.score.abc.tokens import without_comment

FIELD = re.compile(r"([A-Za-z+]):(.*)", re.DOTALL)
_MUSIC_LIKE_FIELD = re.compile(r"[A-Ga-gxzZ]:[|:\]]")


class AbcLine(NamedTuple):
    """A line of a file."""

    number: int
    """Counted from 1 in the file."""
    text: str


def tune_lines(text: str, first: int) -> Iterator[AbcLine]:
    """Yield the lines of a tune without blocks of typeset text; stop at its first empty line."""
    block_end = ""
    has_key = False
    for line_number, line in enumerate(text.split("\n"), start=first):
        if block_end:
            block_end = "" if line.startswith(block_end) else block_end
            continue
        if begin := re.match(r"%%begin(\w+)", line):
            block_end = f"%%end{begin[1]}"
            continue
        if not line.strip() and has_key:
            return
        has_key = has_key or line.startswith("K:")
        yield AbcLine(line_number, line)


def joined_lines(lines: list[AbcLine]) -> Iterator[AbcLine]:
    """Yield the lines, each joined with the music lines that a final backslash continues."""
    pending: AbcLine | None = None
    for line in _with_joined_fields(lines):
        if pending is not None and not is_field(line.text) and line.text[:1] != "%":
            line = AbcLine(pending.number, f"{pending.text} {line.text}")  # noqa: PLW2901
        elif pending is not None:
            yield pending
        pending = None
        bare = without_comment(line.text).rstrip()
        if bare.endswith("\\") and not is_field(line.text):
            pending = AbcLine(line.number, bare[:-1])
        else:
            yield line
    if pending is not None:
        yield pending


def _with_joined_fields(lines: list[AbcLine]) -> list[AbcLine]:
    """Return the lines with those that begin with +: joined to the field before."""
    joined: list[AbcLine] = []
    for line in lines:
        if line.text.startswith("+:") and joined and is_field(joined[-1].text):
            before = without_comment(joined[-1].text).rstrip().removesuffix("\\")
            joined[-1] = joined[-1]._replace(text=f"{before} {line.text[2:].strip()}")
        else:
            joined.append(line)
    return joined


def is_field(text: str) -> bool:
    """Whether a line is a field, such as "K:D", and not music, such as "d:|"."""
    return FIELD.match(text) is not None and not _MUSIC_LIKE_FIELD.match(text)
