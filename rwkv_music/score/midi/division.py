"""The division in the header of a MIDI file: ticks per quarter note, or SMPTE frames."""

from pathlib import Path
from typing import NamedTuple

from rwkv_music.errors import ScoreFileError

_SMPTE = 0x8000
_FRAME_RATES = (24, 25, 29, 30)
_DROP_FRAME, _NOMINAL_DROP_FRAME = 29, 30
_DROP_FRAME_SECONDS = 1.001
"""Of what a frame rate of 29 counts as a second: it means 30000/1001 frames a second."""
_HALF_SECOND = 500_000


class Division(NamedTuple):
    """What a tick lasts."""

    ticks_per_quarter: int
    microseconds_per_quarter: int | None = None
    """Tempo of a file that counts time in SMPTE frames; its tempo events have no effect."""

    @property
    def repairs(self) -> list[str]:
        """What is reported about the division."""
        if self.microseconds_per_quarter is None:
            return []
        qpm = 60_000_000 / self.microseconds_per_quarter
        return [f"time in SMPTE frames, which have no beats, read as {qpm:.6g} quarters a minute"]


def read_division(division: int, name: str | Path, *, offset: int = 12) -> Division:
    """Read the last two bytes of a header.

    SMPTE frames have a fixed length. They are counted as ticks of a quarter note of half a second,
    or of a second if that is an odd number of ticks.

    Args:
        division: The two bytes.
        name: Name used in errors.
        offset: Byte offset of the division.

    Raises:
        ScoreFileError: If the division is 0, or no frame rate that exists.

    Example:
        >>> read_division(0xE728, "x.mid")
        Division(ticks_per_quarter=500, microseconds_per_quarter=500000)
    """
    if not division:
        raise ScoreFileError(
            name,
            "has 0 ticks per quarter note, at least 1 is needed: export it again",
            offset=offset,
        )
    if not division & _SMPTE:
        return Division(division)
    rate, ticks_per_frame = 256 - (division >> 8), division & 0xFF
    if rate not in _FRAME_RATES or not ticks_per_frame:
        raise ScoreFileError(
            name,
            f"counts time in {ticks_per_frame} ticks of {rate} SMPTE frames a second, possible are "
            "1 to 255 ticks of 24, 25, 29 or 30 frames: export it again",
            offset=offset,
        )
    is_drop_frame = rate == _DROP_FRAME
    ticks = ticks_per_frame * (_NOMINAL_DROP_FRAME if is_drop_frame else rate)
    seconds = _DROP_FRAME_SECONDS if is_drop_frame else 1.0
    if ticks % 2:
        return Division(ticks, round(2 * _HALF_SECOND * seconds))
    return Division(ticks // 2, round(_HALF_SECOND * seconds))
