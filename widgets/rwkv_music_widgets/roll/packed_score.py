"""Packs a score into the traits that the piano roll draws."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import symusic
from jaxtyping import Integer

from rwkv_music.errors import InputError
from rwkv_music.evaluation.surprise import NoteSurprise
from rwkv_music.score import TempoMap, bar_starts, beat_ticks, program_name
from rwkv_music.score.timing import signatures

_NOTE = np.dtype(
    [
        ("onset", "<u4"),
        ("duration", "<u4"),
        ("pitch", "u1"),
        ("velocity", "u1"),
        ("part", "u1"),
        ("is_drum", "u1"),
    ]
)


def packed_notes(score: symusic.Score) -> bytes:
    """Return all notes, 12 bytes each, sorted by onset."""
    tables = []
    for part_index, track in enumerate(score.tracks):
        source = track.notes.numpy()
        table = np.zeros(len(source["time"]), dtype=_NOTE)
        table["onset"], table["duration"] = source["time"], source["duration"]
        table["pitch"], table["velocity"] = source["pitch"], source["velocity"]
        table["part"], table["is_drum"] = part_index % 256, track.is_drum
        tables.append(table)
    joined = np.concatenate(tables) if tables else np.zeros(0, dtype=_NOTE)
    return bytes(joined[np.argsort(joined["onset"], kind="stable")].tobytes())


def packed_surprise(score: symusic.Score, notes: Sequence[NoteSurprise]) -> bytes:
    """Return the nats of all notes, 4 bytes each, in the order of `packed_notes`.

    Raises:
        InputError: If the notes are not those of the score.
    """
    if not notes:
        return b""
    nats = defaultdict(list)
    for note in notes:
        nats[note.track, note.time, note.pitch].append(note.nats)
    rows = [
        (note.time, index, note.pitch)
        for index, track in enumerate(score.tracks)
        for note in track.notes
    ]
    rows.sort(key=lambda row: row[0])
    if len(rows) != len(notes) or any((row[1], row[0], row[2]) not in nats for row in rows):
        raise InputError(
            f"the surprise of {len(notes)} notes is not that of this score of {len(rows)} notes: "
            "compute it for the score that is shown"
        )
    values = [nats[track, time, pitch].pop(0) for time, track, pitch in rows]
    return np.array(values, dtype="<f4").tobytes()


def packed_lines(score: symusic.Score) -> tuple[bytes, bytes]:
    """Return bar lines and beats in ticks, as 32-bit integers."""
    bars, beats = bar_starts(score), beat_ticks(score)
    return bytes(bars.astype("<i4").tobytes()), bytes(beats.astype("<i4").tobytes())


def tempo_rows(score: symusic.Score) -> list[list[float]]:
    """Return rows of tick, seconds at that tick, seconds per tick."""
    timing = TempoMap(score)
    ticks = sorted({0, *(int(tempo.time) for tempo in score.tempos)})
    starts = timing.ticks_to_seconds(np.array(ticks))
    after = timing.ticks_to_seconds(np.array(ticks) + 1)
    return [
        [float(tick), float(start), float(end - start)]
        for tick, start, end in zip(ticks, starts, after, strict=True)
    ]


def signature_rows(score: symusic.Score) -> list[list[int | str]]:
    """Return rows of tick and time signature, e.g. [0, "3/4"]."""
    return [[sign.tick, f"{sign.numerator}/{sign.denominator}"] for sign in signatures(score)]


def part_names(score: symusic.Score) -> list[str]:
    """Return the name of each part, or of its instrument where it has none."""
    return [
        track.name or program_name(track.program, is_drum=track.is_drum) for track in score.tracks
    ]


def summary(score: symusic.Score, continuation_start: int | None) -> str:
    """Return a sentence that describes the picture to a screen reader."""
    bars = bar_starts(score)
    text = f"Piano roll: {len(score.tracks)} parts, {score.note_num()} notes, {len(bars) - 1} bars"
    if continuation_start is not None:
        seam_bar = int(np.searchsorted(bars, continuation_start, side="right"))
        text += f"; the continuation starts at bar {seam_bar}"
    return text


def extended_lines(
    lines: Integer[np.ndarray, " n"], bars: Integer[np.ndarray, " m"], count: int
) -> Integer[np.ndarray, " k"]:
    """Return bar lines or beats continued by bars like the last one."""
    length = int(bars[-1] - bars[-2])
    last = lines[(lines > bars[-2]) & (lines <= bars[-1])]
    return np.concatenate([lines, *(last + length * (index + 1) for index in range(count))])
