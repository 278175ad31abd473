"""Quantize a score to what notation can write: 32nds and triplet 16ths."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int

from rwkv_music.score.instruments import SUSTAIN_PEDAL, pedal_spans

if TYPE_CHECKING:
    import symusic

TICKS_PER_QUARTER = 24
_STEPS = (3, 4)
"""A 32nd and a triplet 16th, in ticks."""


def quantize_for_notation(score: "symusic.Score") -> "symusic.Score":
    """Return a copy with 24 ticks per quarter and all times on 32nds or triplet 16ths.

    Notes and pedal presses last at least a 32nd. Tempos, signatures, keys, markers and pedals move
    to the nearest 32nd, lyrics with the note they stand under. Of several tempos or keys at one
    time the last is kept. Quantizing again changes nothing.

    Args:
        score: In ticks.
    """
    import symusic

    rounded = symusic.Score(TICKS_PER_QUARTER)
    scale = TICKS_PER_QUARTER / score.ticks_per_quarter
    for track in score.tracks:
        rounded.tracks.append(_rounded(track, scale))
    tempos = {}
    for tempo in sorted(score.tempos, key=lambda event: event.time):
        tempos[_on_32nd(tempo.time * scale)] = tempo.mspq
    for tick, micro in tempos.items():
        rounded.tempos.append(symusic.Tempo(tick, mspq=micro))
    for sign in score.time_signatures:
        rounded.time_signatures.append(
            symusic.TimeSignature(_on_32nd(sign.time * scale), sign.numerator, sign.denominator)
        )
    keys = {}
    for key in sorted(score.key_signatures, key=lambda event: event.time):
        keys[_on_32nd(key.time * scale)] = (key.key, key.tonality)
    for tick, named in keys.items():
        rounded.key_signatures.append(symusic.KeySignature(tick, *named))
    for marker in score.markers:
        rounded.markers.append(symusic.TextMeta(_on_32nd(marker.time * scale), marker.text))
    return rounded


def _rounded(track: "symusic.Track", scale: float) -> "symusic.Track":
    """Quantize the notes, lyrics and pedal presses of a part."""
    import symusic

    part = symusic.Track(track.name, track.program, track.is_drum)
    table = track.notes.numpy()
    onsets = _nearest(table["time"] * scale)
    ends = _nearest((table["time"] + table["duration"]) * scale)
    ends = np.where(ends - onsets < _STEPS[0], _next(onsets + _STEPS[0]), ends)
    rows = zip(onsets, ends - onsets, table["pitch"], table["velocity"], strict=True)
    for onset, duration, pitch, velocity in rows:
        part.notes.append(symusic.Note(int(onset), int(duration), int(pitch), int(velocity)))
    for lyric in track.lyrics:
        moment = int(_nearest(np.array([lyric.time * scale]))[0])
        part.lyrics.append(symusic.TextMeta(moment, lyric.text))
    lifted = 0
    for down, up in pedal_spans(track):
        pressed = max(lifted, _on_32nd(down * scale))
        lifted = max(pressed + _STEPS[0], _on_32nd(up * scale))
        part.controls.append(symusic.ControlChange(pressed, SUSTAIN_PEDAL, 127))
        part.controls.append(symusic.ControlChange(lifted, SUSTAIN_PEDAL, 0))
    return part


def _on_32nd(ticks: float) -> int:
    return round(ticks / _STEPS[0]) * _STEPS[0]


def _next(ticks: Int[np.ndarray, " notes"]) -> Int[np.ndarray, " notes"]:
    """Round up to the next time on either grid."""
    fine, triplet = (-(-ticks // step) * step for step in _STEPS)
    earliest: Int[np.ndarray, " notes"] = np.minimum(fine, triplet)
    return earliest


def _nearest(ticks: np.ndarray) -> Int[np.ndarray, " notes"]:
    """Round to the nearer grid; 32nds if both are equally near."""
    fine, triplet = (np.rint(ticks / step).astype(np.int64) * step for step in _STEPS)
    nearest: Int[np.ndarray, " notes"] = np.where(
        np.abs(triplet - ticks) < np.abs(fine - ticks), triplet, fine
    )
    return nearest
