"""From the bytes of a MusicXML file to its text: compression and encoding."""

import codecs
import io
import posixpath
import re
import zipfile
from urllib.parse import unquote
from xml.etree import ElementTree as ET

from rwkv_music.errors import InputError
from rwkv_music.score.musicxml.musicxml_writer import CONTAINER_NAME

MAX_TEXT_BYTES = 32 << 20
"""Largest size of unpacked text."""

_ZIP_SIGNATURE = b"PK\x03\x04"
_DECLARATION = re.compile(rb"""^\s*<\?xml[^>]*?encoding\s*=\s*["']([A-Za-z0-9._:-]+)["']""")
_PREFIX = re.compile(r"<([A-Za-z_][\w.-]*):score-(?:part|time)wise\b")
_HEAD_LENGTH = 4096
_NO_SCORE = re.compile(r"^META-INF|__MACOSX|(?:^|/)\._")
"""Names of files that describe others."""
_SCORE_TYPES = re.compile(r"^(?:application/vnd\.recordare\.musicxml|text/xml|application/xml)|^$")
_UTF16 = {b"\xff\xfe", b"\xfe\xff"}
_FALLBACKS = ("utf-8", "cp1252", "latin-1")


def is_zip(content: bytes) -> bool:
    """Whether a file is a zip archive, whatever its name says."""
    return content.startswith(_ZIP_SIGNATURE)


def unzip(content: bytes) -> bytes:
    """Return the score inside compressed MusicXML: the one named by its container, or the first.

    Raises:
        InputError: If there is none, it is damaged or larger than 32 MiB.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return _score_of(archive)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError) as error:
        raise InputError(f"is a damaged zip archive ({error}): export it again") from error
    except (RuntimeError, ValueError, OSError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"cannot be unpacked ({error}): export it again") from error
    except zipfile.zlib.error as error:  # type: ignore[attr-defined]
        raise InputError(f"is a damaged zip archive ({error}): export it again") from error


def _score_of(archive: zipfile.ZipFile) -> bytes:
    names = [info.filename for info in archive.infolist() if not info.is_dir()]
    candidates = [name for name in names if not _NO_SCORE.search(name)]
    candidates.sort(key=lambda name: not name.lower().endswith((".xml", ".musicxml")))
    if CONTAINER_NAME in names:
        candidates = _named_by(_member(archive, CONTAINER_NAME), names) or candidates
    if not candidates:
        raise InputError("contains no score: choose another file")
    return _member(archive, candidates[0])


def _named_by(container: bytes, names: list[str]) -> list[str]:
    """Scores that the container names and that exist; pictures and sounds are left out."""
    try:
        root = ET.fromstring(decode_xml(container))  # noqa: S314 - no entities are expanded
    except ET.ParseError:
        return []
    known = {_plain_path(name): name for name in names}
    paths = [
        _plain_path(element.get("full-path", ""))
        for element in root.iter()
        if _SCORE_TYPES.match(element.get("media-type", "").strip().lower())
    ]
    return [known[path] for path in paths if path in known]


def _plain_path(path: str) -> str:
    """A path inside an archive, without differences of spelling."""
    return posixpath.normpath(unquote(path).replace("\\", "/")).lstrip("/").casefold()


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    with archive.open(name) as member:
        content = member.read(MAX_TEXT_BYTES + 1)
    if len(content) > MAX_TEXT_BYTES:
        raise InputError(f"unpacks to more than {MAX_TEXT_BYTES} bytes: split it")
    return content


def decode_xml(content: bytes) -> str:
    """Decode an XML document by its byte order mark, its declaration, or else as UTF-8.

    A declaration that does not fit the bytes is ignored.

    Raises:
        InputError: If the document declares entities, which can expand without limit.
    """
    text = _decode_declared(content)
    if "<!ENTITY" in text:
        raise InputError("declares XML entities, which are not expanded: export it again")
    return _without_prefix(text)


def _without_prefix(text: str) -> str:
    """Return a document without the namespace prefix of its elements, if they have one."""
    prefix = _PREFIX.search(text[:_HEAD_LENGTH])
    if prefix is None:
        return text
    return re.sub(rf"<(/?){prefix[1]}:", r"<\1", text)


def _decode_declared(content: bytes) -> str:
    if content[:2] in _UTF16:
        return content.decode("utf-16", errors="replace")
    if content[:4] in {b"<\0?\0", b"<\0s\0", b"<\0!\0"}:
        return content.decode("utf-16-le", errors="replace")
    if content[:4] in {b"\0<\0?", b"\0<\0s", b"\0<\0!"}:
        return content.decode("utf-16-be", errors="replace")
    declared = _DECLARATION.match(content[:200])
    encodings: tuple[str, ...] = _FALLBACKS
    if declared:
        name = declared[1].decode("ascii")
        # A document whose declaration reads as ASCII is in no encoding of 16 or 32 bits.
        if _is_known(name) and not re.match(r"(utf|ucs|iso-10646-ucs).?-?(16|32|2|4)", name, re.I):
            encodings = (name, *_FALLBACKS)
    return _first_that_fits(content.removeprefix(codecs.BOM_UTF8), encodings)


def _is_known(encoding: str) -> bool:
    try:
        return codecs.lookup(encoding)._is_text_encoding  # noqa: SLF001
    except LookupError:
        return False


def _first_that_fits(content: bytes, encodings: tuple[str, ...]) -> str:
    content = content.removeprefix(codecs.BOM_UTF8)
    for encoding in encodings:
        try:
            return content.decode(encoding)
        except (UnicodeDecodeError, ValueError):
            continue
    return content.decode("latin-1")
