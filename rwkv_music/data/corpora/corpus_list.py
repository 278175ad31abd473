"""The text that names one corpus, or several with weights: `stores/pop=2 bach "My Music"`."""

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from rwkv_music.errors import InputError


class WeightedSource(NamedTuple):
    """A corpus by name, and how much of a batch comes from it."""

    source: str
    """"bach", "folk", a folder of music files, or a token store."""
    weight: float = 1.0
    """Relative to the other corpora: at weight 2, twice as many windows as at weight 1."""


def parse_corpora(text: str) -> list[WeightedSource]:
    """Return the corpora that a text names.

    Names are separated by spaces, each optionally followed by `=` and a weight (1 if left out).
    A name with spaces is quoted. A text that is the path of an existing file or folder is that one
    corpus, whatever it contains.

    Raises:
        InputError: If a quote is not closed, a weight is not a positive number, or a corpus is
            named twice.

    Example:
        >>> parse_corpora('stores/pop=2 bach "My Music"=0.5')[1:]
        [WeightedSource(source='bach', weight=1.0), WeightedSource(source='My Music', weight=0.5)]
    """
    if _exists(text) or not text.strip():
        return [WeightedSource(text)]
    lexer = shlex.shlex(text, posix=True, punctuation_chars=False)
    lexer.whitespace_split, lexer.commenters, lexer.escape = True, "", ""
    try:
        entries = [_entry(word) for word in lexer]
    except ValueError as error:
        raise InputError(f"corpus {text!r} cannot be read ({error}): close the quote") from None
    sources = [entry.source for entry in entries]
    for source in sources:
        if sources.count(source) > 1:
            raise InputError(f"corpus '{source}' is named twice: name it once, with a weight")
    return entries


def corpora_text(entries: Iterable[str | WeightedSource]) -> str:
    """Return the text that names corpora, for the setting `corpus`.

    Args:
        entries: Corpora with weights; a string stands for itself, with its weight if it has one.

    Example:
        >>> corpora_text([WeightedSource("stores/pop", 2), WeightedSource("My Music"), "bach=3"])
        'stores/pop=2 "My Music" bach=3'
    """
    entries = list(entries)
    if len(entries) == 1 and isinstance(entries[0], str):
        return entries[0]
    return " ".join(_entry_text(entry) for entry in entries)


def _exists(text: str) -> bool:
    try:
        return Path(text).exists()
    except (OSError, ValueError):  # too long, or a character that no path contains
        return False


def _entry(word: str) -> WeightedSource:
    name, equals, weight_text = word.rpartition("=")
    if not equals or not name or _exists(word):
        return WeightedSource(word)
    try:
        weight = float(weight_text)
    except ValueError:
        return WeightedSource(word)
    if not 0 < weight < float("inf"):
        raise InputError(
            f"the weight of corpus '{name}' must be a number above 0, got {weight_text}"
        )
    return WeightedSource(name, weight)


def _entry_text(entry: str | WeightedSource) -> str:
    if isinstance(entry, str):
        return entry if " " not in entry or '"' in entry else f'"{entry}"'
    name = f'"{entry.source}"' if " " in entry.source else entry.source
    return name if entry.weight == 1 else f"{name}={entry.weight:g}"
