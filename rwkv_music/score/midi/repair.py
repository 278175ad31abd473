"""Read MIDI files event by event, repairing what a strict parser rejects or misreads.

Every repair is reported. The tracks of a file of format 2 are separate pieces; they are
concatenated, each starting at a bar line.
"""

from pathlib import Path
from typing import NamedTuple

from rwkv_music.errors import ScoreFileError
from rwkv_music.score.midi.division import Division, read_division
from rwkv_music.score.midi.track_reader import LAST_TICK, Track, read_track

MAX_REPAIR_BYTES = 8 << 20
"""Larger files are not repaired. Reading this many bytes event by event takes about 8 seconds and
700 MiB."""

_HEADER_BYTES = 14
_MAX_TRACKS = 65_535
MAX_REPORTED = 50
_MAX_UNREADABLE_FRACTION = 0.25
_END_OF_TRACK = b"\xff\x2f\x00"
_DEFAULT_TEMPO = b"\xff\x51\x07\xa1\x20"
_DEFAULT_SIGNATURE = b"\xff\x58\x04\x02\x18\x08"


class ParsedMidi(NamedTuple):
    """The events of a MIDI file."""

    tracks: list[Track]
    division: Division
    repairs: list[str]
    """What was changed; empty if the file was valid."""


class _Header(NamedTuple):
    file_format: int
    tracks: int
    division: Division
    end: int
    """Offset of the first chunk after the header."""


def parse_midi(content: bytes, *, name: str | Path) -> ParsedMidi:
    """Read the events of a MIDI file, repairing errors.

    Args:
        content: The whole file, including bytes around the MIDI data.
        name: Name used in errors.

    Raises:
        ScoreFileError: If the file cannot be repaired, with the byte offset and the reason.
    """
    if len(content) > MAX_REPAIR_BYTES:
        raise ScoreFileError(
            name,
            f"is damaged and has {len(content)} bytes, at most {MAX_REPAIR_BYTES} can be repaired: "
            "export it again",
        )
    repairs: list[str] = []
    header = _read_header(content, name, repairs)
    spans = _track_spans(content, header.end, repairs)
    if not spans:
        raise ScoreFileError(
            name, "has no tracks (no chunk begins with MTrk): copy it again", offset=header.end
        )
    if header.tracks != len(spans):
        repairs.append(f"the header announces {header.tracks} tracks, there are {len(spans)}")
    tracks = [read_track(content, start, stop) for start, stop in spans]
    _check_readable(tracks, spans, name)
    for track_number, track in enumerate(tracks, start=1):
        repairs += [f"track {track_number}: {repair}" for repair in track.repairs]
    if header.file_format == 2 and len(tracks) > 1:
        _concatenate(tracks, header.division.ticks_per_quarter, name)
        repairs.append(f"format 2: {len(tracks)} pieces concatenated")
    return ParsedMidi(tracks[:_MAX_TRACKS], header.division, repairs)


def _read_header(content: bytes, name: str | Path, repairs: list[str]) -> _Header:
    begin = content.find(b"MThd")
    if begin < 0:
        raise ScoreFileError(
            name, "is not a MIDI file (it has no MThd): export it as MIDI", offset=0
        )
    if begin:
        repairs.append(f"{begin} bytes before the header left out")
    if len(content) - begin < _HEADER_BYTES:
        raise ScoreFileError(
            name,
            f"is truncated ({len(content) - begin} bytes, the header alone has {_HEADER_BYTES}): "
            "copy it again",
            offset=len(content),
        )
    length, file_format, tracks, division = (
        int.from_bytes(content[begin + start : begin + stop], "big")
        for start, stop in ((4, 8), (8, 10), (10, 12), (12, 14))
    )
    end = begin + 8 + length
    if length != 6 and (length < 6 or content[end : end + 4] != b"MTrk"):
        repairs.append(f"the header length is {length} bytes, read as 6")
        end = begin + _HEADER_BYTES
    elif length != 6:
        repairs.append(f"a header of {length} bytes shortened to 6")
    duration = read_division(division, name, offset=begin + 12)
    repairs += duration.repairs
    if file_format > 2:
        repairs.append(f"format {file_format} does not exist, read as 1")
        file_format = 1
    return _Header(file_format, tracks, duration, end)


def _track_spans(content: bytes, offset: int, repairs: list[str]) -> list[tuple[int, int]]:
    """Return the begin and end offsets of the events of each track; other chunks are skipped."""
    spans: list[tuple[int, int]] = []
    while offset + 8 <= len(content):
        begin, declared = offset + 8, int.from_bytes(content[offset + 4 : offset + 8], "big")
        end = begin + declared
        if content[offset : offset + 4] == b"MTrk":
            if not _is_boundary(content, end):
                end = _next_track(content, begin)
                repairs.append(
                    f"track {len(spans) + 1}: the length is {declared} bytes, read as {end - begin}"
                )
            spans.append((begin, end))
        elif not _is_boundary(content, end):
            end = _next_track(content, offset + 1)
            repairs.append(f"{end - offset} bytes at byte {offset} belong to no track, left out")
        offset = end
    return spans


def _is_boundary(content: bytes, offset: int) -> bool:
    """Whether a chunk may end here: at the end of the file, before a chunk, or after a track."""
    if offset >= len(content):
        return offset == len(content)
    if content[offset - 3 : offset] == _END_OF_TRACK or content[offset : offset + 4] == b"MTrk":
        return True
    length = int.from_bytes(content[offset + 4 : offset + 8], "big")
    return content[offset : offset + 4].isalnum() and offset + 8 + length <= len(content)


def _next_track(content: bytes, offset: int) -> int:
    track = content.find(b"MTrk", offset)
    return track if track >= 0 else len(content)


def _check_readable(tracks: list[Track], spans: list[tuple[int, int]], name: str | Path) -> None:
    """Raise an error if a large part of the bytes are not MIDI events."""
    unread = sum(track.unread for track in tracks)
    total = sum(stop - start for start, stop in spans)
    if unread > _MAX_UNREADABLE_FRACTION * total:
        offset = next(track.first_unread for track in tracks if track.unread)
        raise ScoreFileError(
            name,
            f"is damaged beyond repair ({unread} of {total} bytes are not events): copy it again",
            offset=offset,
        )


def _concatenate(tracks: list[Track], ticks_per_quarter: int, name: str | Path) -> None:
    """Move each track of a format 2 file after the previous one, with a tempo and a meter."""
    start = 0
    for track in tracks:
        for meta_type, default in ((0x51, _DEFAULT_TEMPO), (0x58, _DEFAULT_SIGNATURE)):
            first = [event[1] for tick, event in track.events if not tick and event[0] == 0xFF]
            if meta_type not in first:
                track.events.insert(0, (0, default))
        since, numerator, power = 0, 4, 2
        for tick, event in track.events:
            if event[:2] == b"\xff\x58":
                since, numerator, power = tick, event[2], event[3]
        bar = max(1, (4 * ticks_per_quarter * numerator) >> power)
        length = since + -(-(track.end - since) // bar) * bar
        if start + length > LAST_TICK:
            raise ScoreFileError(
                name, f"its pieces together are longer than {LAST_TICK} ticks: split it"
            )
        track.events[:] = [(start + tick, event) for tick, event in track.events]
        track.end += start
        start += length
