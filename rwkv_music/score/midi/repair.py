"""Mends the bytes of a MIDI file that a strict parser refuses.

The file is read as far as it makes sense and written again in plain form: a header that tells the
truth, and tracks of the right length in which every event has a status byte of its own. What had to
be changed on the way is told in words. A file of format 2, whose tracks are pieces of their own,
becomes one of format 1 in which they follow one another, each from a bar line on.
"""

from pathlib import Path
from typing import NamedTuple

from rwkv_music.errors import ScoreFileError
from rwkv_music.score.midi.track_reader import (
    LAST_TICK,
    LONGEST_DELTA,
    UNENDED,
    Track,
    read_track,
    write_number,
)

MAX_REPAIR_BYTES = 2 << 20
"""Reading event by event takes about a second for this many bytes."""

_HEADER_BYTES = 14
_MOST_TRACKS = 65_535
_MOST_TOLD = 50
_MOST_UNREAD_SHARE = 0.25
_END_OF_TRACK = b"\xff\x2f\x00"
_NOTHING = b"\xff\x01\x00"
"""An empty text, to fill up waits that one delta time cannot hold."""
_OPENING_TEMPO = b"\xff\x51\x03\x07\xa1\x20"
_OPENING_SIGNATURE = b"\xff\x58\x04\x04\x02\x18\x08"


class RepairedMidi(NamedTuple):
    """A file made sound."""

    content: bytes
    repairs: tuple[str, ...]
    """What was changed, a phrase each; none if the file was sound."""


class _Header(NamedTuple):
    file_format: int
    tracks: int
    division: int
    end: int
    """Where the first chunk behind it begins."""


def repair_midi(content: bytes, *, name: str | Path) -> RepairedMidi:
    """Make a MIDI file sound that a strict parser refuses.

    Args:
        content: The whole file, whatever stands around the MIDI data.
        name: What to call it in an error.

    Returns:
        A file of format 0 or 1 and what was changed.

    Raises:
        ScoreFileError: If the file is beyond mending, with the place in bytes and the reason.
    """
    if len(content) > MAX_REPAIR_BYTES:
        raise ScoreFileError(
            name,
            f"is damaged, and its {len(content)} bytes are too many to mend, at most "
            f"{MAX_REPAIR_BYTES}: export it again",
        )
    changes: list[str] = []
    header = _read_header(content, name, changes)
    spans = _track_spans(content, header.end, changes)
    if not spans:
        raise ScoreFileError(
            name, "no track follows (none begins with MTrk): copy it again", place=header.end
        )
    if header.tracks != len(spans):
        changes.append(f"the header announces {header.tracks} tracks, there are {len(spans)}")
    tracks = [read_track(content, start, stop) for start, stop in spans]
    _refuse_noise(tracks, spans, name)
    for number, track in enumerate(tracks, start=1):
        changes += [f"track {number}: {change}" for change in track.changes]
    file_format = header.file_format
    if file_format == 2 and len(tracks) > 1:
        _queue_up(tracks, header.division, name)
        changes.append(f"format 2: {len(tracks)} pieces put one after the other")
    kept = tracks[:_MOST_TRACKS]
    written = b"MThd" + b"".join(
        number.to_bytes(size, "big")
        for number, size in (
            (6, 4), (0 if len(kept) == 1 else 1, 2), (len(kept), 2), (header.division, 2)
        )
    )  # fmt: skip
    if len(changes) > _MOST_TOLD:
        changes[_MOST_TOLD:] = [f"and {len(changes) - _MOST_TOLD} more changes"]
    return RepairedMidi(written + b"".join(map(_write_track, kept)), tuple(changes))


def count_unended_notes(content: bytes) -> int:
    """Notes in a sound MIDI file that begin and never end; a strict parser leaves them out.

    Files of more than `MAX_REPAIR_BYTES` are not searched.
    """
    if len(content) > MAX_REPAIR_BYTES:
        return 0
    place = content.find(b"MThd")
    start = place + 8 + int.from_bytes(content[place + 4 : place + 8], "big")
    tracks = (read_track(content, *span) for span in _track_spans(content, start, []))
    return sum(track.faults[UNENDED] for track in tracks)


def _read_header(content: bytes, name: str | Path, changes: list[str]) -> _Header:
    begin = content.find(b"MThd")
    if begin < 0:
        raise ScoreFileError(
            name, "is not a MIDI file (it has no MThd): export it as MIDI", place=0
        )
    if begin:
        changes.append(f"{begin} bytes before the header left out")
    if len(content) - begin < _HEADER_BYTES:
        raise ScoreFileError(
            name,
            f"is truncated ({len(content) - begin} bytes, a header alone has {_HEADER_BYTES}): "
            "copy it again",
            place=len(content),
        )
    length, file_format, tracks, division = (
        int.from_bytes(content[begin + start : begin + stop], "big")
        for start, stop in ((4, 8), (8, 10), (10, 12), (12, 14))
    )
    end = begin + 8 + length
    if length != 6 and (length < 6 or content[end : end + 4] != b"MTrk"):
        changes.append(f"the header says it has {length} bytes, read as 6")
        end = begin + _HEADER_BYTES
    elif length != 6:
        changes.append(f"a header of {length} bytes shortened to 6")
    check_division(division, name, place=begin + 12)
    if file_format > 2:
        changes.append(f"format {file_format} does not exist, read as 1")
        file_format = 1
    return _Header(file_format, tracks, division, end)


def check_division(division: int, name: str | Path, *, place: int = 12) -> None:
    """Refuse time that is not counted in ticks per quarter note.

    Args:
        division: The last two bytes of the header.
        name: What to call the file in an error.
        place: Where they stand.

    Raises:
        ScoreFileError: If it counts in SMPTE frames, or is 0.
    """
    if division & 0x8000:
        raise ScoreFileError(
            name,
            "counts time in SMPTE frames, which have no bars and beats: export it with ticks per "
            "quarter note",
            place=place,
        )
    if not division:
        raise ScoreFileError(
            name, "has 0 ticks per quarter note, at least 1 is needed: export it again", place=place
        )


def _track_spans(content: bytes, place: int, changes: list[str]) -> list[tuple[int, int]]:
    """Where the events of each track begin and end; other chunks are passed over."""
    spans: list[tuple[int, int]] = []
    while place + 8 <= len(content):
        begin, declared = place + 8, int.from_bytes(content[place + 4 : place + 8], "big")
        end = begin + declared
        if content[place : place + 4] == b"MTrk":
            if not _is_boundary(content, end):
                end = _next_track(content, begin)
                changes.append(
                    f"track {len(spans) + 1}: says it has {declared} bytes, read as {end - begin}"
                )
            spans.append((begin, end))
        elif not _is_boundary(content, end):
            end = _next_track(content, place + 1)
            changes.append(f"{end - place} bytes at byte {place} belong to no track, left out")
        place = end
    return spans


def _is_boundary(content: bytes, place: int) -> bool:
    """Whether a chunk may end here: at the file's end, before another one, or behind a track."""
    if place >= len(content):
        return place == len(content)
    if content[place - 3 : place] == _END_OF_TRACK or content[place : place + 4] == b"MTrk":
        return True
    length = int.from_bytes(content[place + 4 : place + 8], "big")
    return content[place : place + 4].isalnum() and place + 8 + length <= len(content)


def _next_track(content: bytes, place: int) -> int:
    found = content.find(b"MTrk", place)
    return found if found >= 0 else len(content)


def _refuse_noise(tracks: list[Track], spans: list[tuple[int, int]], name: str | Path) -> None:
    """More than a little that cannot be read is not music with a fault, but something else."""
    unread = sum(track.unread for track in tracks)
    total = sum(stop - start for start, stop in spans)
    if unread > _MOST_UNREAD_SHARE * total:
        place = next(track.first_unread for track in tracks if track.unread)
        raise ScoreFileError(
            name,
            f"is damaged beyond mending ({unread} of {total} bytes are no events): copy it again",
            place=place,
        )


def _queue_up(tracks: list[Track], division: int, name: str | Path) -> None:
    """Move each track of a format 2 file behind the one before, at 120 in 4/4 if it is silent."""
    start = 0
    for track in tracks:
        for kind, opening in ((0x51, _OPENING_TEMPO), (0x58, _OPENING_SIGNATURE)):
            first = [event[1] for tick, event in track.events if not tick and event[0] == 0xFF]
            if kind not in first:
                track.events.insert(0, (0, opening))
        since, numerator, power = 0, 4, 2
        for tick, event in track.events:
            if event[:2] == b"\xff\x58":
                since, numerator, power = tick, event[3], event[4]
        bar = max(1, (4 * division * numerator) >> power)
        length = since + -(-(track.end - since) // bar) * bar
        if start + length > LAST_TICK:
            raise ScoreFileError(
                name, f"its pieces together are longer than {LAST_TICK} ticks: split it"
            )
        track.events[:] = [(start + tick, event) for tick, event in track.events]
        track.end += start
        start += length


def _write_track(track: Track) -> bytes:
    body = bytearray()
    now = 0
    for tick, event in [*track.events, (track.end, _END_OF_TRACK)]:
        while tick - now > LONGEST_DELTA:
            body += write_number(LONGEST_DELTA) + _NOTHING
            now += LONGEST_DELTA
        body += write_number(tick - now)
        body += event
        now = tick
    return b"MTrk" + len(body).to_bytes(4, "big") + bytes(body)
