"""A static picture of a piano roll as SVG, for places where no kernel runs."""

import symusic

from rwkv_music.score import bar_starts
from rwkv_music_widgets.messages import escaped
from rwkv_music_widgets.roll.packed_score import part_names, summary
from rwkv_music_widgets.roll.roll_colors import note_color

_KEYS = 34
_RULER = 20
_LEGEND = 22
_LABELS_APART = 26
_BLACK_KEYS = (1, 3, 6, 8, 10)


def roll_svg(
    score: symusic.Score,
    *,
    continuation_start: int | None = None,
    width: int = 900,
    height: int = 240,
) -> str:
    """Return an SVG picture of a score: parts by colour, bars, and the start of a continuation.

    Args:
        score: A score in ticks.
        continuation_start: Tick of the dashed line; None if there is no continuation.
        width: Width in pixels.
        height: Height in pixels.

    Example:
        Path("song.svg").write_text(roll_svg(score))
    """
    bars = bar_starts(score).tolist()
    pitches = [note.pitch for track in score.tracks for note in track.notes]
    lowest, highest = (min(pitches) - 2, max(pitches) + 2) if pitches else (55, 65)
    frame = _Frame(width, height, max(1, bars[-1]), lowest, highest)
    text = summary(score, continuation_start)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" font-family="sans-serif" font-size="11">',
        f"<title>{escaped(text)}</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        *_rows(frame),
        *_seam(frame, continuation_start),
        *_bars(frame, bars),
        *_notes(frame, score),
        *_legend(score),
        "</svg>",
    ]
    return "\n".join(parts)


class _Frame:
    """Maps ticks and pitches to pixels."""

    def __init__(self, width: int, height: int, end: int, lowest: int, highest: int) -> None:
        self.width, self.height, self.end = width, height, end
        self.lowest, self.highest = lowest, highest
        self.top = _LEGEND + _RULER
        self.row = (height - self.top) / (highest - lowest + 1)

    def x(self, tick: float) -> float:
        return _KEYS + (self.width - _KEYS - 4) * tick / self.end

    def y(self, pitch: int) -> float:
        return self.top + (self.highest - pitch) * self.row


def _rows(frame: _Frame) -> list[str]:
    lines = []
    for pitch in range(frame.lowest, frame.highest + 1):
        y = f'y="{frame.y(pitch):.1f}" height="{frame.row:.1f}"'
        if pitch % 12 in _BLACK_KEYS:
            lines.append(f'<rect x="0" {y} width="{_KEYS * 0.55:.0f}" fill="#4a4f55"/>')
            lines.append(f'<rect x="{_KEYS}" {y} width="{frame.width}" fill="#f3f4f6"/>')
        elif pitch % 12 == 0:
            middle = frame.y(pitch) + frame.row / 2 + 3
            lines.append(
                f'<text x="{_KEYS - 3}" y="{middle:.1f}" font-size="9" text-anchor="end" '
                f'fill="#2a2e33">C{pitch // 12 - 1}</text>'
            )
    return lines


def _bars(frame: _Frame, bars: list[int]) -> list[str]:
    width = (frame.width - _KEYS) / max(1, len(bars) - 1)
    every = 1
    while width * every < _LABELS_APART:
        every *= 2
    lines = []
    for index, tick in enumerate(bars):
        x = frame.x(tick)
        if width * every >= _LABELS_APART and index % every == 0:
            lines.append(f'<path d="M{x:.1f} {frame.top - 6}V{frame.height}" stroke="#b8bec6"/>')
            if index < len(bars) - 1:
                lines.append(
                    f'<text x="{x + 3:.1f}" y="{frame.top - 7}" fill="#3c4248">{index + 1}</text>'
                )
    return lines


def _notes(frame: _Frame, score: symusic.Score) -> list[str]:
    lines = []
    for part_index, track in enumerate(score.tracks):
        for note in track.notes:
            x, right = frame.x(note.time), frame.x(note.time + note.duration)
            width = min(6.0, right - x) if track.is_drum else right - x - 0.8
            lines.append(
                f'<rect x="{x:.1f}" y="{frame.y(note.pitch):.1f}" width="{max(1.2, width):.1f}" '
                f'height="{max(1.0, frame.row - 0.5):.1f}" '
                f'fill="{note_color(part_index, note.velocity)}"/>'
            )
    return lines


def _seam(frame: _Frame, continuation_start: int | None) -> list[str]:
    if continuation_start is None:
        return []
    x = frame.x(continuation_start)
    return [
        f'<rect x="{x:.1f}" y="{frame.top}" width="{frame.width - x:.1f}" '
        f'height="{frame.height - frame.top}" fill="#e69f00" fill-opacity="0.1"/>',
        f'<path d="M{x:.1f} {_LEGEND}V{frame.height}" stroke="#b36b00" stroke-width="1.5" '
        f'stroke-dasharray="5 4"/>',
    ]


def _legend(score: symusic.Score) -> list[str]:
    lines, x = [], 4.0
    for part_index, name in enumerate(part_names(score)):
        color = note_color(part_index, 100)
        lines.append(f'<rect x="{x:.0f}" y="5" width="10" height="10" rx="2" fill="{color}"/>')
        lines.append(f'<text x="{x + 14:.0f}" y="14" fill="#3c4248">{escaped(name)}</text>')
        x += 30 + 6.5 * len(name)
    return lines
