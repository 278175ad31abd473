"""A score as the binary traits the piano roll draws."""

import numpy as np
import symusic

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
    """All notes, 12 bytes each, sorted by onset."""
    tables = []
    for place, track in enumerate(score.tracks):
        source = track.notes.numpy()
        table = np.zeros(len(source["time"]), dtype=_NOTE)
        table["onset"], table["duration"] = source["time"], source["duration"]
        table["pitch"], table["velocity"] = source["pitch"], source["velocity"]
        table["part"], table["is_drum"] = place % 256, track.is_drum
        tables.append(table)
    joined = np.concatenate(tables) if tables else np.zeros(0, dtype=_NOTE)
    return bytes(joined[np.argsort(joined["onset"], kind="stable")].tobytes())


def packed_lines(score: symusic.Score) -> tuple[bytes, bytes]:
    """Bar lines and beats in ticks, as 32-bit whole numbers."""
    bars, beats = bar_starts(score), beat_ticks(score)
    return bytes(bars.astype("<i4").tobytes()), bytes(beats.astype("<i4").tobytes())


def tempo_rows(score: symusic.Score) -> list[list[float]]:
    """Rows of tick, seconds at that tick, seconds per tick."""
    timing = TempoMap(score)
    ticks = sorted({0, *(int(tempo.time) for tempo in score.tempos)})
    starts = timing.ticks_to_seconds(np.array(ticks))
    after = timing.ticks_to_seconds(np.array(ticks) + 1)
    return [
        [float(tick), float(start), float(end - start)]
        for tick, start, end in zip(ticks, starts, after, strict=True)
    ]


def signature_rows(score: symusic.Score) -> list[list[int | str]]:
    """Rows of tick and "3/4"."""
    return [[sign.tick, f"{sign.numerator}/{sign.denominator}"] for sign in signatures(score)]


def part_names(score: symusic.Score) -> list[str]:
    """The name of each part, or its instrument's."""
    return [
        track.name or program_name(track.program, is_drum=track.is_drum) for track in score.tracks
    ]


def summary(score: symusic.Score, seam_tick: int | None) -> str:
    """One sentence for a reader who cannot see the picture."""
    bars = bar_starts(score)
    text = f"Piano roll: {len(score.tracks)} parts, {score.note_num()} notes, {len(bars) - 1} bars"
    if seam_tick is not None:
        seam_bar = int(np.searchsorted(bars, seam_tick, side="right"))
        text += f"; the continuation begins at bar {seam_bar}"
    return text
