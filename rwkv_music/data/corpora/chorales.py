"""The Bach chorales that the installed music21 carries, read on the user's machine.

Nothing of that corpus is part of this project: its encodings come under mixed terms, and are
distributed by music21 with the permission of the encoders. Building takes about a minute the first
time; the result is kept in the cache folder.

What is done to each piece, so that a model sees plain four-part music:

- only pieces with four parts are taken, in the order the encoding gives (soprano to bass);
- a pickup is put at the end of a full first bar, so that bar lines stay regular; measures that an
  edition splits at a repeat sign join up again;
- parts play on a church organ at one loudness (the encodings name neither);
- a piece without a tempo mark is given 84 quarters per minute.
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
    """Catalogue names of the Bach scores in music21's corpus, e.g. "bwv66.6", sorted by number."""
    return sorted(_chorale_paths(), key=_catalogue_order)


def load_chorale(name: str) -> "symusic.Score":
    """One chorale as a score.

    Args:
        name: Its catalogue name, as `chorale_names` gives it.

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
        # Notation details that music21 remarks on (such as odd beams) do not concern the sound.
        warnings.simplefilter("ignore")
        stream = music21.converter.parse(paths[name])
    return chorale_to_score(stream, name=name)


def chorale_to_score(stream: Any, *, name: str) -> "symusic.Score":  # noqa: ANN401 - music21
    """A music21 chorale as a score with regular bars; see the module's text for what is changed.

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
    """Quarters missing in the first measure; 0 when it is full."""
    first = measures[0]
    gap = Fraction(first.barDuration.quarterLength) - Fraction(first.duration.quarterLength)
    return max(Fraction(0), gap)


def _time_signatures(measures: list[Any], shift: int, ticks_per_quarter: int) -> Any:  # noqa: ANN401
    """The printed signatures at the bars they stand at; the first one from the beginning."""
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
    # A converted score without a mark says 120; no chorale's encoding says exactly that.
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
    """Refuse a piece most of whose full measures do not begin on our bar lines."""
    lines = set(bar_starts(score).tolist())
    full = [
        shift + round(Fraction(measure.offset) * score.ticks_per_quarter)
        for measure in measures
        if measure.duration.quarterLength == measure.barDuration.quarterLength
    ]
    astray = [tick for tick in full if tick not in lines]
    if len(astray) > len(full) // 10:
        raise InputError(
            f"{name}: {len(astray)} of its {len(full)} full measures do not begin on a regular bar "
            "line (an irregular edition); choose another piece"
        )


def melody_of(score: "symusic.Score") -> np.ndarray:
    """Pitches of the soprano, quarter by quarter, a repeated pitch written once.

    Sampling at quarters passes over ornaments, so that two settings of one tune give nearly the
    same line; writing repeats once makes it independent of the tune's rhythm.
    """
    table = score.tracks[0].notes.numpy()
    onsets, pitches = table["time"], table["pitch"]
    quarters = np.arange(0, int(onsets[-1]) + 1, score.ticks_per_quarter)
    sounding = np.searchsorted(onsets, quarters, side="right") - 1
    line: np.ndarray = pitches[sounding[sounding >= 0]].astype(np.int64)
    return line[np.flatnonzero(np.diff(line, prepend=-1))]
