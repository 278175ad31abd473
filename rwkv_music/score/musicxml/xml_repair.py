"""Repair of XML that is almost well-formed, as some programs and web pages write it."""

import html
import re

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_PROLOG = re.compile(r"^[^<]*(?:<\?xml\b[^>]*\?>)?")
_BEHIND_THE_END = re.compile(r"(</(?:\w+:)?score-(?:part|time)wise\s*>).*", re.DOTALL)
_NAMED_ENTITY = re.compile(r"&([A-Za-z][A-Za-z0-9]*);")
_BARE_AMPERSAND = re.compile(r"&(?!#[0-9]+;|#[xX][0-9A-Fa-f]+;|[A-Za-z][A-Za-z0-9]*;)")
_XML_ENTITIES = {"amp", "lt", "gt", "quot", "apos"}


def repaired_xml(text: str) -> tuple[str, list[str]]:
    """Return a document without what stops an XML parser, and what was repaired.

    The XML declaration is left out, since the text is decoded already.

    Args:
        text: The document.

    Example:
        >>> repaired_xml("<?xml version='1.1'?><a>R&B</a>")
        ('<a>R&amp;B</a>', ['1 "&" that should be "&amp;"'])
    """
    repairs = []
    text, num_removed = _NOT_XML.subn("", _PROLOG.sub("", text, count=1))
    if num_removed:
        repairs.append("characters that XML does not allow left out")
    whole = _BEHIND_THE_END.sub(r"\1", text)
    if text[len(whole) :].strip() and not text[len(whole) :].lstrip().startswith("<!--"):
        repairs.append("text behind the end of the document left out")
    text = whole
    if "&" in text:
        text, num_ampersands = _BARE_AMPERSAND.subn("&amp;", text)
        if num_ampersands:
            repairs.append(f'{num_ampersands} "&" that should be "&amp;"')
        text = _NAMED_ENTITY.sub(_character, text)
    return text, repairs


def _character(entity: re.Match[str]) -> str:
    """The character of an entity of HTML; XML knows only five."""
    if entity[1] in _XML_ENTITIES:
        return entity[0]
    character = html.unescape(entity[0])
    return character if character != entity[0] else f"&amp;{entity[1]};"
