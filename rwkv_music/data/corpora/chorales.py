"""The Bach chorales of the installed music21, read on the user's machine.

That corpus is not part of this project: its encodings are under various terms, and music21
distributes them with the permission of the encoders. Reading them takes about a minute; the result
is kept in the cache folder.

Each piece is reduced to plain four-part music:

- only pieces with four parts are used, in the order of the encoding (soprano to bass);
- a pickup is moved to the end of a full first bar, so that bar lines stay regular; measures that an
  edition splits at a repeat sign are joined;
- all parts play on a church organ at one velocity (the encodings specify neither);
- a piece without a tempo mark gets 84 quarters per minute.
"""

import warnings
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rwkv_music.errors import InputError
from rwkv_music.score import bar_starts, to_score

if TYPE_CHECKING:
    import symusic

_CHURCH_ORGAN = 19
_VELOCITY = 80
_QUARTERS_PER_MINUTE = 84.0
_NUM_PARTS = 4


def chorale_names() -> list[str]:
    """Return the catalogue names of the Bach scores of music21, e.g. "bwv66.6", by number."""
    return sorted(_chorale_paths(), key=_catalogue_order)


def load_chorale(name: str) -> "symusic.Score":
    """Read one chorale.

    Args:
        name: Catalogue name from `chorale_names`.

    Raises:
        InputError: If there is no such piece, or it is not four-part music with regular bars.
    """
    paths = _chorale_paths()
    if name not in paths:
        raise InputError(
            f"there is no Bach chorale '{name}' in the installed music21; the names are like "
            "'bwv66.6': see rwkv_music.data.corpora.chorales.chorale_names()"
        )
    import music21

    with warnings.catch_warnings():
        # music21 warns about details of notation (such as odd beams) that do not affect the sound.
        warnings.simplefilter("ignore")
        stream = music21.converter.parse(paths[name])
    return chorale_to_score(stream, name=name)


def chorale_to_score(stream: Any, *, name: str) -> "symusic.Score":  # noqa: ANN401 - music21
    """Convert a music21 chorale to a score with regular bars; see above for what is changed.

    Raises:
        InputError: If it does not have four parts, or its measures do not fall on regular bars.
    """
    parts = list(stream.parts)
    if len(parts) != _NUM_PARTS:
        raise InputError(f"{name} has {len(parts)} parts; a chorale has {_NUM_PARTS}")
    score = to_score(stream)
    measures = list(parts[0].getElementsByClass("Measure"))
    pickup_gap = _pickup_gap(measures)
    shift = round(pickup_gap * score.ticks_per_quarter)
    score = score.shift_time(shift)
    score.time_signatures = _time_signatures(measures, shift, score.ticks_per_quarter)
    _set_sound(score)
    _require_regular_bars(score, measures, shift, name)
    return score


def _chorale_paths() -> dict[str, Path]:
    import music21

    paths = (Path(path) for path in music21.corpus.getComposer("bach"))
    return {path.stem: path for path in paths if path.suffix in {".mxl", ".xml"}}


def _catalogue_order(name: str) -> tuple[list[int], str]:
    digits = "".join(sign if sign.isdigit() else " " for sign in name).split()
    return [int(number) for number in digits], name


def _pickup_gap(measures: list[Any]) -> Fraction:
    """Return the quarters that are missing in the first measure; 0 if it is full."""
    first = measures[0]
    gap = Fraction(first.barDuration.quarterLength) - Fraction(first.duration.quarterLength)
    return max(Fraction(0), gap)


def _time_signatures(measures: list[Any], shift: int, ticks_per_quarter: int) -> Any:  # noqa: ANN401
    """Return the printed signatures at their bars; the first one starts at 0."""
    import symusic

    signatures: list[Any] = []
    for measure in measures:
        printed = measure.timeSignature
        if printed is None:
            continue
        tick = shift + round(Fraction(measure.offset) * ticks_per_quarter) if signatures else 0
        signatures.append(symusic.TimeSignature(tick, printed.numerator, printed.denominator))
    return signatures or [symusic.TimeSignature(0, 4, 4)]


def _set_sound(score: "symusic.Score") -> None:
    import symusic

    marked = score.tempos[0].qpm if len(score.tempos) else None
    # A converted score without a mark has 120; no chorale's encoding has exactly that.
    if marked is None or marked == 120.0:
        score.tempos = [symusic.Tempo(0, qpm=_QUARTERS_PER_MINUTE)]
    else:
        score.tempos = [symusic.Tempo(0, qpm=float(marked))]
    for track in score.tracks:
        track.program = _CHURCH_ORGAN
        for note in track.notes:
            note.velocity = _VELOCITY


def _require_regular_bars(
    score: "symusic.Score", measures: list[Any], shift: int, name: str
) -> None:
    """Require that most full measures begin on a bar line of the score."""
    lines = set(bar_starts(score).tolist())
    full = [
        shift + round(Fraction(measure.offset) * score.ticks_per_quarter)
        for measure in measures
        if measure.duration.quarterLength == measure.barDuration.quarterLength
    ]
    irregular = [tick for tick in full if tick not in lines]
    if len(irregular) > len(full) // 10:
        raise InputError(
            f"{name}: {len(irregular)} of its {len(full)} full measures do not begin on a regular "
            "bar line (an irregular edition); choose another piece"
        )


def melody_of(score: "symusic.Score") -> np.ndarray:
    """Return the pitches of the soprano, quarter by quarter, without repetitions.

    Sampling at quarters skips ornaments, so that two settings of one tune give nearly the same
    line; without repetitions it does not depend on the rhythm.
    """
    table = score.tracks[0].notes.numpy()
    onsets, pitches = table["time"], table["pitch"]
    quarters = np.arange(0, int(onsets[-1]) + 1, score.ticks_per_quarter)
    sounding = np.searchsorted(onsets, quarters, side="right") - 1
    line: np.ndarray = pitches[sounding[sounding >= 0]].astype(np.int64)
    return line[np.flatnonzero(np.diff(line, prepend=-1))]
