"""Parse notation files; runs in the worker process of `rwkv_music.score.worker`.

MusicXML and Humdrum are read by our own readers; a file that they cannot read is tried with
music21.
"""

from collections.abc import Callable
from typing import NamedTuple

from rwkv_music.errors import InputError
from rwkv_music.score.humdrum.kern_reader import read_kern
from rwkv_music.score.interop.music21_streams import from_music21
from rwkv_music.score.loaded_score import LoadedScore
from rwkv_music.score.musicxml.decoding import decode_xml, is_zip, unzip
from rwkv_music.score.musicxml.facts import prepared
from rwkv_music.score.musicxml.musicxml_reader import read_musicxml
from rwkv_music.score.notation.source_count import count_kern_notes, count_musicxml_notes
from rwkv_music.score.text_decoding import decode_text

MAX_NOTATION_BYTES = 32 << 20
_MAX_REASON_LENGTH = 200


class ReadRequest(NamedTuple):
    """A file for the worker to read."""

    content: bytes
    """The whole file."""
    text_format: str
    """"musicxml" (compressed or not) or "humdrum"."""
    unfold_repeats: bool = False
    """Whether to play repeats, endings and jumps."""


def parse_request(request: ReadRequest) -> LoadedScore:
    """Read the file of a request.

    Raises:
        InputError: If no reader can read the file, or it holds no notes.
    """
    unfold = request.unfold_repeats
    if request.text_format == "humdrum":
        humdrum = decode_text(request.content)
        loaded = _first_success(
            lambda: read_kern(humdrum, unfold_repeats=unfold),
            lambda: _music21(humdrum, "humdrum"),
        )
        return loaded._replace(notes_in_source=None if unfold else count_kern_notes(humdrum))
    content = request.content
    text = decode_xml(unzip(content) if is_zip(content) else content)
    loaded = _first_success(
        lambda: read_musicxml(text, unfold_repeats=unfold), lambda: _music21(text, "musicxml")
    )
    return loaded._replace(notes_in_source=None if unfold else count_musicxml_notes(text))


def _first_success(*readers: Callable[[], LoadedScore]) -> LoadedScore:
    """The result of the first reader that does not fail; an `InputError` is final."""
    reasons = []
    for reader in readers:
        try:
            return reader()
        except InputError:
            raise
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - music21 raises many types
            reasons.append(
                " ".join(f"{type(error).__name__}: {error}".split())[:_MAX_REASON_LENGTH]
            )
    raise InputError(f"cannot be read ({reasons[0]}): convert it to MIDI elsewhere")


def _music21(text: str, text_format: str) -> LoadedScore:
    import music21

    notation_facts = None
    if text_format == "musicxml":
        text, notation_facts = prepared(text)
    stream = music21.converter.parseData(text, format=text_format)
    if isinstance(stream, music21.stream.Opus):
        scores = list(stream.scores)
        if not scores:
            raise InputError("contains no score: choose another file")
        repairs = (f"contains {len(scores)} pieces, the first one was read",) if scores[1:] else ()
        score = from_music21(scores[0], name="the first piece")
        return LoadedScore(score, repairs, reader="music21")
    score = from_music21(stream, name="the file", facts=notation_facts)
    return LoadedScore(score, reader="music21")
