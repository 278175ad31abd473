"""Decode text of unknown encoding: UTF-8, UTF-16, Windows-1252 (Latin-1), Shift-JIS and GBK.

MIDI and ABC files do not name the encoding of their text. UTF-8 is recognised by its structure. For
the others, each candidate is decoded and scored by how common its characters are: kana and common
kanji for Shift-JIS, common hanzi for GBK, accented letters beside unaccented ones for Windows-1252.
"""

import re
from collections.abc import Callable, Iterable

_UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_UTF_8_MARK = b"\xef\xbb\xbf"
_DEFAULT = "cp1252"
_WORD = re.compile(r"[A-Za-z\u00aa-\u024f]+")
_ACCENTED = re.compile(
    "[\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u00ff\u0152\u0153\u0160\u0161\u0178\u017d\u017e]"
)
_APOSTROPHE = re.compile(r"(?<=[A-Za-z])\u2019(?=[A-Za-z])")
_USUAL_SYMBOLS = frozenset(
    "\u2018\u2019\u201c\u201d\u2013\u2014\u2026\u2022\u00a0\u00a9\u00ae\u2122\u00ab\u00bb\u00bf\u00a1\u00b0\u00b4"
    "\u00ba\u00aa\u00a7\u20ac"
)


def decode_text(content: bytes) -> str:
    """Decode a text; letters of an unknown encoding are read as Windows-1252."""
    return decode_texts([content])[0]


def decode_texts(contents: Iterable[bytes]) -> list[str]:
    """Decode texts of one file, which probably have the same encoding.

    Args:
        contents: For example the names and lyrics of a MIDI file.
    """
    texts = list(contents)
    unknown = b"\n".join(
        dict.fromkeys(text for text in texts if not text.isascii() and not _is_utf(text))
    )
    encoding = guess_encoding(unknown) if unknown else _DEFAULT
    return [_decode(text, encoding) for text in texts]


def guess_encoding(content: bytes) -> str:
    """Return the most likely encoding of bytes that are not UTF-8."""
    scores = {name: _score(content, name, rate) for name, rate in _RATERS.items()}
    best = max(scores, key=lambda name: scores[name])
    return best if scores[best] > 0 else _DEFAULT


def _is_utf(content: bytes) -> bool:
    if content.startswith(_UTF_16_MARKS):
        return True
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _decode(content: bytes, encoding: str) -> str:
    if content.isascii():
        return content.decode("ascii")
    if content.startswith(_UTF_16_MARKS):
        return content.decode("utf-16", errors="replace")
    for name in ("utf-8-sig", encoding, _DEFAULT):
        try:
            return content.decode(name)
        except UnicodeDecodeError:
            continue
    return content.decode("latin-1")


def _score(content: bytes, encoding: str, rate: Callable[[str], float]) -> float:
    """Return the rating per byte of the characters that are not ASCII; -1 if decoding fails."""
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        return -1.0
    num_bytes = len(content) - sum(char.isascii() for char in text)
    return rate(text) / num_bytes


def _rate_western(text: str) -> float:
    """Rate accented letters: common in words with plain letters, rare next to each other."""
    rating = 0.0
    for word in _WORD.findall(text):
        accents = len(_ACCENTED.findall(word))
        plain = sum(char.isascii() for char in word)
        if accents and (plain >= accents or len(word) == 1):
            rating += accents
        elif accents:
            rating -= accents
        rating -= len(word) - plain - accents
    symbols = sum(ord(char) > 0x7F and not char.isalpha() for char in text)
    usual = sum(char in _USUAL_SYMBOLS for char in text)
    apostrophes = len(_APOSTROPHE.findall(text))
    return rating + 0.5 * (usual + apostrophes) - (symbols - usual)


def _rate_japanese(text: str) -> float:
    """Rate kana and the common kanji of JIS level 1 by the two bytes they take."""
    rating = 0.0
    for char in text:
        if char.isascii():
            continue
        code = char.encode("cp932")
        if len(code) == 1:
            rating -= 0.25  # half-width katakana, which any single high byte may be
        elif "\u3040" <= char <= "\u30ff" or code[0] == 0x81:
            rating += 2
        elif 0x88 <= code[0] <= 0x97:
            rating += 1.8
        elif code[0] == 0x82:
            rating += 1
        else:
            rating -= 1
    return rating


def _rate_chinese(text: str) -> float:
    """Rate the common hanzi of GB 2312 level 1 and Chinese punctuation."""
    rating = 0.0
    for char in text:
        if char.isascii():
            continue
        code = char.encode("gb18030")
        is_gb2312 = len(code) == 2 and code[1] >= 0xA1
        if is_gb2312 and (0xB0 <= code[0] <= 0xD7 or code[0] in {0xA1, 0xA3}):
            rating += 1.9
        elif is_gb2312 and 0xD8 <= code[0] <= 0xF7:
            rating += 0.4
        else:
            rating -= 2
    return rating


_RATERS: dict[str, Callable[[str], float]] = {
    "cp1252": _rate_western,
    "cp932": _rate_japanese,
    "gb18030": _rate_chinese,
}
