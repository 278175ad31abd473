"""One music file under examination: what is in it, and what the tokenizer makes of it.

`examine` looks at one file and has no memory, so that many files can be examined in as many
processes. What concerns several files at once (copies, the split) is in `folder_report`.
"""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float, Int64

from rwkv_music.data.near_duplicates import Fingerprint, fingerprint
from rwkv_music.errors import InputError, ScoreFileError
from rwkv_music.score.loaded_score import LoadedScore
from rwkv_music.tokenizer import Tokenizer
from rwkv_music.tokenizer.compiled import VARIABLE
from rwkv_music.tokenizer.vocabulary import DRUM_PROGRAM

if TYPE_CHECKING:
    import symusic

Verdict = Literal["fine", "mended", "set aside"]

DURATION_EDGES = 2.0 ** np.arange(-5, 5.5, 0.5)
"""Bounds of the duration histogram in quarters: half octaves from a 128th to 16 quarters."""

_DEFAULT_QPM = 120.0
_FEWEST_BARS = 2


@dataclass(frozen=True)
class Profile:
    """What the pictures and the search for likenesses need of a file."""

    pitches: Int64[np.ndarray, "128"]
    """Notes of each pitch, drums left out."""
    durations: Int64[np.ndarray, " bins"]
    """Notes of each duration, drums left out; see `DURATION_EDGES`."""
    fingerprint: Fingerprint


@dataclass(frozen=True)
class FileReport:
    """The row of one file. Figures that are not known are None."""

    name: str
    verdict: Verdict
    reason: str = ""
    """Why it was set aside."""
    mended: tuple[str, ...] = ()
    """What was wrong with the file and was put right, a phrase each."""
    bars: int | None = None
    notes: int | None = None
    parts: int | None = None
    """Parts with notes."""
    seconds: float | None = None
    """From the beginning to the last note's end."""
    slowest_qpm: float | None = None
    fastest_qpm: float | None = None
    time_signatures: tuple[str, ...] = ()
    """In order of their first appearance."""
    tokens: int | None = None
    tokens_per_note: float | None = None
    onset_p99_ms: float | None = None
    """99 of 100 onsets move less than this when the music is encoded and decoded."""
    onset_max_ms: float | None = None
    notes_lost: int | None = None
    """Notes that the tokenizer did not keep."""
    content_hash: str = ""
    """SHA-256 of the token ids: files with the same music share it."""
    profile: Profile | None = field(default=None, repr=False, compare=False)

    @property
    def is_usable(self) -> bool:
        """Whether it can be trained on."""
        return self.verdict != "set aside"

    def named(self, name: str) -> "FileReport":
        """The same under another name."""
        return replace(self, name=name)

    def as_dict(self) -> dict[str, Any]:
        """All but the profile, for JSON."""
        bare = replace(self, profile=None)
        row = {each.name: asdict(bare)[each.name] for each in fields(bare)}
        del row["profile"]
        return row


def examine(path: str | Path, *, tokenizer: Tokenizer) -> FileReport:
    """Examine one file.

    Args:
        path: Any file that `load_score` may read.
        tokenizer: What training will use.

    Returns:
        Its report. A file that cannot be used is set aside with the reason; nothing is raised.
    """
    from rwkv_music.score import read_score

    name = str(path)
    try:
        loaded = read_score(path)
    except ScoreFileError as error:
        place = f" (byte {error.offset})" if error.offset else ""
        return FileReport(name, "set aside", reason=error.reason + place)
    mended = (*loaded.repairs, *_silently_dropped(Path(path), loaded.repairs))
    return examine_score(name, loaded._replace(repairs=mended), tokenizer=tokenizer)


class Examiner:
    """`examine` for a worker process, with what it needs imported before its first file.

    Args:
        tokenizer: What training will use.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Warm up, so that no file's time is spent on it; nor on compiling loops later on."""
        import symusic

        self.__dict__.update(state)
        os.environ.setdefault(VARIABLE, "numpy")
        score = symusic.Score(96)
        track = symusic.Track("", 0, False)
        track.notes.append(symusic.Note(0, 96, 60, 64))
        score.tracks.append(track)
        examine_score("", LoadedScore(score, ()), tokenizer=self._tokenizer)

    def __call__(self, path: str) -> FileReport:
        """The report of a file."""
        return examine(path, tokenizer=self._tokenizer)


def examine_score(name: str, loaded: LoadedScore, *, tokenizer: Tokenizer) -> FileReport:
    """Examine what was read from a file; see `examine`."""
    mended = (*loaded.repairs, *_without_duration(loaded.score))
    report = FileReport(name, "mended" if mended else "fine", mended=mended)
    try:
        report = replace(report, **_facts(loaded.score))
        report = replace(report, **_tokenized(loaded.score, tokenizer))
        return _with_merged_parts(report, loaded.score, tokenizer)
    except InputError as error:
        return replace(report, verdict="set aside", reason=str(error))


def _silently_dropped(path: Path, mended: tuple[str, ...]) -> Iterable[str]:
    """What the strict parser leaves out of a sound file without a word."""
    from rwkv_music.score.files import MIDI_SUFFIXES
    from rwkv_music.score.midi.repair import count_unended_notes

    if mended or path.suffix.lower() not in MIDI_SUFFIXES:
        return
    if dropped := count_unended_notes(path.read_bytes()):
        notes = "note that is" if dropped == 1 else "notes that are"
        yield f"{dropped} {notes} never ended left out"


def _without_duration(score: "symusic.Score") -> Iterable[str]:
    number = sum(int((track.notes.numpy()["duration"] <= 0).sum()) for track in score.tracks)
    if number:
        notes = (
            "1 note without duration gets"
            if number == 1
            else (f"{number} notes without duration get")
        )
        yield f"{notes} the shortest one there is"


def _with_merged_parts(
    report: FileReport, score: "symusic.Score", tokenizer: Tokenizer
) -> FileReport:
    """Told as mended where parts become one, since a piece may have only so many."""
    merged = tuple(_merged(score, tokenizer))
    if not merged:
        return report
    verdict: Verdict = "mended" if report.verdict == "fine" else report.verdict
    return replace(report, verdict=verdict, mended=(*report.mended, *merged))


def changed_by_encoding(score: "symusic.Score", tokenizer: Tokenizer) -> tuple[str, ...]:
    """What is not in the tokens of a score as it was in the score, a phrase each.

    Raises:
        InputError: If the score cannot be encoded.
    """
    return (*_without_duration(score), *_merged(score, tokenizer))


def _merged(score: "symusic.Score", tokenizer: Tokenizer) -> Iterable[str]:
    from rwkv_music.score.instruments import program_name

    most = tokenizer.vocabulary.max_parts
    if len(score.tracks) <= most:
        return
    names = {
        program_name(min(program, 127), is_drum=program == DRUM_PROGRAM): len(places)
        for program, places in tokenizer.merged_parts(score).items()
    }
    for name, number in names.items():
        yield f"{number} parts of {name} become one, a piece may have {most} parts"


def _facts(score: "symusic.Score") -> dict[str, Any]:
    """What can be said of a score before it is encoded.

    Raises:
        InputError: If a time signature has no length, or there are too many bars.
    """
    from rwkv_music.score.timing import TempoMap, last_offset, num_bars, signatures

    with_notes = [track for track in score.tracks if len(track.notes)]
    end = last_offset(score)
    tempos = score.tempos.numpy()
    sounding = tempos["time"] < end
    speeds = (6e7 / tempos["mspq"][sounding]).tolist()
    if not len(speeds) or tempos["time"][sounding].min() > 0:
        speeds.append(_DEFAULT_QPM)
    found = {
        "bars": num_bars(score),
        "notes": score.note_num(),
        "parts": len(with_notes),
        "seconds": round(float(TempoMap(score).ticks_to_seconds(end)[0]), 3),
        "slowest_qpm": round(min(speeds), 2),
        "fastest_qpm": round(max(speeds), 2),
    }
    names = [f"{each.numerator}/{each.denominator}" for each in signatures(score)]
    return {**found, "time_signatures": tuple(dict.fromkeys(names))}


def _tokenized(score: "symusic.Score", tokenizer: Tokenizer) -> dict[str, Any]:
    """What the tokenizer makes of a score.

    Raises:
        InputError: If it cannot be encoded, or is too short to train on.
    """
    ids = tokenizer.encode(score)
    merged = tokenizer.merged_parts(score)
    in_one = {places[0]: places for places in merged.values()}
    tracks = [in_one.get(first, [first]) for first in tokenizer.part_order(score)]
    moved, lost = onset_errors_ms(score, tokenizer.decode(ids), tracks)
    bars = tokenizer.num_bars(ids)
    found: dict[str, Any] = {
        "bars": bars,
        "tokens": len(ids),
        "tokens_per_note": round(len(ids) / score.note_num(), 3),
        "onset_p99_ms": round(float(np.percentile(moved, 99)), 3),
        "onset_max_ms": round(float(moved.max()), 3),
        "notes_lost": lost,
        "content_hash": hashlib.sha256(ids.tobytes()).hexdigest(),
        "profile": _profile(score),
    }
    if bars < _FEWEST_BARS:
        found["verdict"] = "set aside"
        found["reason"] = (
            f"is {bars} bar long; training needs at least {_FEWEST_BARS}, one to prompt with and "
            "one to complete: too short to learn from"
        )
    return found


def onset_errors_ms(
    score: "symusic.Score", decoded: "symusic.Score", tracks_of_parts: list[list[int]]
) -> tuple[Float[np.ndarray, " notes"], int]:
    """How far each onset moves, in wall-clock milliseconds.

    The clock is symusic's, not the one that the tokenizer and the rest of this library go by, so
    that a mistake in our tempo map would show. Notes of one part and pitch are compared in order.

    Args:
        score: What was encoded.
        decoded: What came back.
        tracks_of_parts: Which tracks of the score each track of the decoded one stands for.

    Returns:
        An error for each note that came back, and how many did not.
    """
    before, after = score.to("second"), decoded.to("second")
    played = [
        _joined([before.tracks[place].notes.numpy() for place in places])
        for places in tracks_of_parts
    ]
    returned = [track.notes.numpy() for track in after.tracks]
    errors = [np.zeros(1)]
    lost = sum(len(table["time"]) for table in played)
    for mine, theirs in zip(played, returned, strict=False):
        for pitch in np.intersect1d(mine["pitch"], theirs["pitch"]):
            first = np.sort(mine["time"][mine["pitch"] == pitch].astype(np.float64))
            second = np.sort(theirs["time"][theirs["pitch"] == pitch].astype(np.float64))
            common = min(len(first), len(second))
            lost -= common
            errors.append(1000 * np.abs(first[:common] - second[:common]))
    return np.concatenate(errors), lost


def _joined(tables: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {key: np.concatenate([table[key] for table in tables]) for key in ("time", "pitch")}


def _profile(score: "symusic.Score") -> Profile:
    pitched = [track.notes.numpy() for track in score.tracks if not track.is_drum]
    pitches = np.concatenate([np.zeros(0, dtype=np.int64), *(each["pitch"] for each in pitched)])
    ticks = np.concatenate([np.zeros(0), *(each["duration"] for each in pitched)])
    quarters = np.clip(ticks / score.ticks_per_quarter, DURATION_EDGES[0], DURATION_EDGES[-1])
    return Profile(
        pitches=np.bincount(pitches.astype(np.int64), minlength=128),
        durations=np.histogram(quarters, bins=DURATION_EDGES)[0],
        fingerprint=fingerprint(score),
    )
