"""Parse notation files; runs in the worker process of `rwkv_music.score.worker`."""

import io
import zipfile
from typing import NamedTuple
from xml.etree import ElementTree as ET

from rwkv_music.errors import InputError
from rwkv_music.score.abc.abc_reader import read_abc
from rwkv_music.score.interop.music21_streams import from_music21
from rwkv_music.score.loaded_score import LoadedScore
from rwkv_music.score.musicxml.facts import prepared
from rwkv_music.score.musicxml.musicxml_writer import CONTAINER_NAME

MAX_NOTATION_BYTES = 32 << 20
_MAX_REASON_LENGTH = 200


class Request(NamedTuple):
    """A file for the worker to read."""

    content: bytes
    """The whole file."""
    text_format: str
    """"musicxml", "mxl", "abc" or "humdrum"."""
    seconds: float
    """Time limit of programs started to read it."""
    unfold_repeats: bool = False
    """Whether to play repeats, endings and jumps."""


def parse_request(request: Request) -> LoadedScore:
    """Read the file of a request.

    Raises:
        InputError: If the file cannot be read.
    """
    try:
        return _parse(request)
    except InputError:
        raise
    except Exception as error:  # music21 raises many types
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:_MAX_REASON_LENGTH]
        raise InputError(
            f"cannot be read by music21 ({reason}): convert it to MIDI elsewhere"
        ) from error


def _parse(request: Request) -> LoadedScore:
    import music21

    content, text_format = request.content, request.text_format
    if text_format == "abc":
        # Slightly less than the time limit of this process, so that no program is left running.
        score, notes = read_abc(_decoded(content), seconds=0.9 * request.seconds)
        return LoadedScore(score, notes, reader="abc2midi")
    if text_format == "mxl":
        content, text_format = _unzip(content), "musicxml"
    text, facts = _decoded(content), None
    if text_format == "musicxml":
        text, facts = prepared(text)
    stream = music21.converter.parseData(text, format=text_format)
    if isinstance(stream, music21.stream.Opus):
        scores = list(stream.scores)
        if not scores:
            raise InputError("holds no score: choose another file")
        notes = (f"holds {len(scores)} pieces, the first one was read",) if scores[1:] else ()
        score = from_music21(scores[0], name="the first piece")
        return LoadedScore(score, notes, reader="music21")
    score = from_music21(stream, name="the file", facts=facts)
    return LoadedScore(score, reader="music21")


def _decoded(content: bytes) -> str:
    """Text in UTF-8, UTF-16 with a mark, or else Latin-1, in which every byte is a letter."""
    if content[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        return content.decode("utf-16", errors="replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _unzip(content: bytes) -> bytes:
    """The score inside compressed MusicXML: the one its container names, or the first."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = [info.filename for info in archive.infolist()]
        inside = [name for name in names if not name.startswith("META-INF")]
        if CONTAINER_NAME in names:
            container = ET.fromstring(_member(archive, CONTAINER_NAME))  # noqa: S314 - limits hold
            paths = [each.get("full-path") for each in container.iter() if each.get("full-path")]
            inside = [path for path in paths if path in names] or inside
        if not inside:
            raise InputError("holds no score: choose another file")
        return _member(archive, inside[0])


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    with archive.open(name) as member:
        content = member.read(MAX_NOTATION_BYTES + 1)
    if len(content) > MAX_NOTATION_BYTES:
        raise InputError(f"unpacks to more than {MAX_NOTATION_BYTES} bytes: split it")
    return content
