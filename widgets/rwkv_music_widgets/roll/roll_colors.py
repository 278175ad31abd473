"""Colours of notes on a light background: the numbers of `static/theme.mjs`, for pictures."""

import colorsys
from functools import cache

PART_COLORS = (
    (212, 100, 1), (12, 100, 0), (284, 100, 0), (156, 100, 1), (332, 65, 0), (36, 35, 0),
    (124, 100, 0), (276, 65, 0), (324, 65, 1), (268, 35, 0), (180, 100, 0), (68, 100, 1),
)  # fmt: skip
"""Hue, saturation and contrast band of twelve parts; later parts repeat them with a stripe."""

_CONTRASTS = ((3.2, 5.0), (7.0, 11.0))
"""Contrast of the softest and loudest notes with white, by band."""


@cache
def note_color(part: int, velocity: int) -> str:
    """Return a note's colour, such as "#0b5fae": the part's hue, darker for higher velocities.

    Args:
        part: Index of the part.
        velocity: 1 to 127.
    """
    hue, saturation, band = PART_COLORS[part % len(PART_COLORS)]
    softest, loudest = _CONTRASTS[band]
    lightness = softest + (loudest - softest) * min(1.0, velocity / 120)
    low, high = 0.0, 1.0
    for _ in range(20):
        middle = (low + high) / 2
        rgb = colorsys.hls_to_rgb(hue / 360, middle, saturation / 100)
        if 1.05 / (_luminance(rgb) + 0.05) < lightness:
            high = middle
        else:
            low = middle
    red, green, blue = (
        round(255 * value) for value in colorsys.hls_to_rgb(hue / 360, low, saturation / 100)
    )
    return f"#{red:02x}{green:02x}{blue:02x}"


def _luminance(rgb: tuple[float, float, float]) -> float:
    """Return the relative luminance (WCAG 2) of red, green and blue from 0 to 1."""
    red, green, blue = (
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in rgb
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
