"""The report of one music file: what it contains, and what the tokenizer makes of it.

`examine_file` depends on one file only, so that many files can be examined in as many processes.
What concerns several files (copies, the split) is in `folder_report`.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float, Int64

from rwkv_music.data.near_duplicates import Fingerprint, fingerprint
from rwkv_music.errors import InputError, ScoreFileError
from rwkv_music.score.loaded_score import LoadedScore
from rwkv_music.tokenizer import Tokenizer
from rwkv_music.tokenizer.vocabulary import DRUM_PROGRAM

if TYPE_CHECKING:
    import symusic

Verdict = Literal["fine", "repaired", "skipped"]

DURATION_EDGES = 2.0 ** np.arange(-5, 5.5, 0.5)
"""Bin edges of the duration histogram in quarters: half octaves from a 128th to 16 quarters."""

_DEFAULT_QPM = 120.0
_MIN_BARS = 2


@dataclass(frozen=True)
class NoteStatistics:
    """Statistics for the pictures and the search for near-duplicates."""

    pitches: Int64[np.ndarray, "128"]
    """Notes of each pitch, without drums."""
    durations: Int64[np.ndarray, " bins"]
    """Notes of each duration, without drums; see `DURATION_EDGES`."""
    fingerprint: Fingerprint


@dataclass(frozen=True)
class FileReport:
    """The report of one file. Values that are not known are None."""

    name: str
    verdict: Verdict
    reason: str = ""
    """Why it was skipped."""
    repairs: tuple[str, ...] = ()
    """What was wrong with the file and has been repaired, a phrase each."""
    reader: str = ""
    """Name of the reader that read the file."""
    bars: int | None = None
    notes: int | None = None
    """Notes that were read."""
    notes_missing: int | None = None
    """Notes of the file that were not read, from an independent count; negative if too many were
    read."""
    has_repeats: bool = False
    """Whether the file has repeats, endings or jumps that were not unfolded."""
    parts: int | None = None
    """Parts with notes."""
    seconds: float | None = None
    """Seconds from the beginning to the end of the last note."""
    slowest_qpm: float | None = None
    fastest_qpm: float | None = None
    time_signatures: tuple[str, ...] = ()
    """In order of their first appearance."""
    tokens: int | None = None
    tokens_per_note: float | None = None
    onset_p99_ms: float | None = None
    """99 % of the onsets move by less than this when the music is encoded and decoded."""
    onset_max_ms: float | None = None
    """The largest such move."""
    notes_lost: int | None = None
    """Notes that the tokenizer did not keep."""
    content_hash: str = ""
    """SHA-256 of the token ids; files with the same music share it."""
    statistics: NoteStatistics | None = field(default=None, repr=False, compare=False)

    @property
    def is_usable(self) -> bool:
        """Whether the file can be trained on."""
        return self.verdict != "skipped"

    def with_name(self, name: str) -> "FileReport":
        """Return the report under another name."""
        return replace(self, name=name)

    def as_dict(self) -> dict[str, Any]:
        """Return all values but the statistics, for JSON."""
        values = asdict(replace(self, statistics=None))
        del values["statistics"]
        return values


def examine_file(
    path: str | Path, *, tokenizer: Tokenizer, unfold_repeats: bool = False
) -> FileReport:
    """Examine one file.

    Args:
        path: A file that `load_score` can read.
        tokenizer: The tokenizer that training will use.
        unfold_repeats: As for `load_score`.

    Returns:
        The report. A file that cannot be used is reported as skipped, with the reason.
    """
    from rwkv_music.score import read_score

    name = str(path)
    try:
        loaded = read_score(path, unfold_repeats=unfold_repeats)
    except ScoreFileError as error:
        offset = f" (byte {error.offset})" if error.offset else ""
        return FileReport(name, "skipped", reason=error.reason + offset)
    return examine_score(name, loaded, tokenizer=tokenizer)


class Examiner:
    """`examine_file` as a function for worker processes.

    Unpickling it imports everything it needs, so that this does not count as time of a file.

    Args:
        tokenizer: The tokenizer that training will use.
        unfold_repeats: As for `load_score`.
    """

    def __init__(self, tokenizer: Tokenizer, *, unfold_repeats: bool = False) -> None:
        self._tokenizer, self._unfold_repeats = tokenizer, unfold_repeats

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the state and warm up."""
        import symusic

        self.__dict__.update(state)
        score = symusic.Score(96)
        track = symusic.Track("", 0, False)
        track.notes.append(symusic.Note(0, 96, 60, 64))
        score.tracks.append(track)
        examine_score("", LoadedScore(score, ()), tokenizer=self._tokenizer)

    def __call__(self, path: str) -> FileReport:
        """Return the report of a file."""
        return examine_file(path, tokenizer=self._tokenizer, unfold_repeats=self._unfold_repeats)


def examine_score(name: str, loaded: LoadedScore, *, tokenizer: Tokenizer) -> FileReport:
    """Examine a score that has been read; see `examine_file`."""
    repairs = (*loaded.repairs, *_notes_without_duration(loaded.score))
    report = FileReport(
        name,
        "repaired" if repairs else "fine",
        repairs=repairs,
        reader=loaded.reader,
        notes_missing=loaded.notes_missing,
        has_repeats=loaded.has_repeats,
    )
    try:
        report = replace(report, **_score_values(loaded.score))
        report = replace(report, **_token_values(loaded.score, tokenizer))
        return _with_merged_parts(report, loaded.score, tokenizer)
    except InputError as error:
        return replace(report, verdict="skipped", reason=str(error))


def changed_by_encoding(score: "symusic.Score", tokenizer: Tokenizer) -> tuple[str, ...]:
    """Return what the tokens of a score do not keep as it was, a phrase each.

    Raises:
        InputError: If the score cannot be encoded.
    """
    return (*_notes_without_duration(score), *_merged_parts(score, tokenizer))


def onset_errors_ms(
    score: "symusic.Score", decoded: "symusic.Score", tracks_of_parts: list[list[int]]
) -> tuple[Float[np.ndarray, " notes"], int]:
    """Measure how far each onset moves, in milliseconds.

    The times are those of symusic instead of the library's own tempo map, so that an error in the
    tempo map shows. Notes of one part and pitch are compared in order.

    Args:
        score: The score that was encoded.
        decoded: The score that was decoded.
        tracks_of_parts: For each track of the decoded score, its tracks in the original.

    Returns:
        The error of each note that was decoded, and the number of notes that were not.
    """
    before, after = score.to("second"), decoded.to("second")
    encoded_tables = [
        _concatenated([before.tracks[track].notes.numpy() for track in tracks])
        for tracks in tracks_of_parts
    ]
    decoded_tables = [track.notes.numpy() for track in after.tracks]
    errors = [np.zeros(1)]
    lost = sum(len(table["time"]) for table in encoded_tables)
    for encoded, returned in zip(encoded_tables, decoded_tables, strict=False):
        for pitch in np.intersect1d(encoded["pitch"], returned["pitch"]):
            first = np.sort(encoded["time"][encoded["pitch"] == pitch].astype(np.float64))
            second = np.sort(returned["time"][returned["pitch"] == pitch].astype(np.float64))
            common = min(len(first), len(second))
            lost -= common
            errors.append(1000 * np.abs(first[:common] - second[:common]))
    return np.concatenate(errors), lost


def _notes_without_duration(score: "symusic.Score") -> Iterable[str]:
    count = sum(int((track.notes.numpy()["duration"] <= 0).sum()) for track in score.tracks)
    if count:
        notes = "note without duration gets" if count == 1 else "notes without duration get"
        yield f"{count} {notes} the shortest one there is"


def _with_merged_parts(
    report: FileReport, score: "symusic.Score", tokenizer: Tokenizer
) -> FileReport:
    """Report a file as repaired if parts are merged because there are too many."""
    merged = tuple(_merged_parts(score, tokenizer))
    if not merged:
        return report
    verdict: Verdict = "repaired" if report.verdict == "fine" else report.verdict
    return replace(report, verdict=verdict, repairs=(*report.repairs, *merged))


def _merged_parts(score: "symusic.Score", tokenizer: Tokenizer) -> Iterable[str]:
    from rwkv_music.score.instruments import program_name

    max_parts = tokenizer.vocabulary.max_parts
    if len(score.tracks) <= max_parts:
        return
    counts = {
        program_name(min(program, 127), is_drum=program == DRUM_PROGRAM): len(tracks)
        for program, tracks in tokenizer.merged_parts(score).items()
    }
    for name, count in counts.items():
        yield f"{count} parts of {name} are merged into one, at most {max_parts} parts are allowed"


def _score_values(score: "symusic.Score") -> dict[str, Any]:
    """Return the values that are known before encoding.

    Raises:
        InputError: If a time signature has no length, or there are too many bars.
    """
    from rwkv_music.score.timing import TempoMap, last_offset, num_bars, signatures

    end = last_offset(score)
    tempos = score.tempos.numpy()
    is_heard = tempos["time"] < end
    speeds = (6e7 / tempos["mspq"][is_heard]).tolist()
    if not len(speeds) or tempos["time"][is_heard].min() > 0:
        speeds.append(_DEFAULT_QPM)
    names = [f"{entry.numerator}/{entry.denominator}" for entry in signatures(score)]
    return {
        "bars": num_bars(score),
        "notes": score.note_num(),
        "parts": sum(1 for track in score.tracks if len(track.notes)),
        "seconds": round(float(TempoMap(score).ticks_to_seconds(end)[0]), 3),
        "slowest_qpm": round(min(speeds), 2),
        "fastest_qpm": round(max(speeds), 2),
        "time_signatures": tuple(dict.fromkeys(names)),
    }


def _token_values(score: "symusic.Score", tokenizer: Tokenizer) -> dict[str, Any]:
    """Return the values that follow from encoding.

    Raises:
        InputError: If the score cannot be encoded.
    """
    ids = tokenizer.encode(score)
    merged = {tracks[0]: tracks for tracks in tokenizer.merged_parts(score).values()}
    tracks = [merged.get(first, [first]) for first in tokenizer.part_order(score)]
    moves, lost = onset_errors_ms(score, tokenizer.decode(ids), tracks)
    bars = tokenizer.num_bars(ids)
    values: dict[str, Any] = {
        "bars": bars,
        "tokens": len(ids),
        "tokens_per_note": round(len(ids) / score.note_num(), 3),
        "onset_p99_ms": round(float(np.percentile(moves, 99)), 3),
        "onset_max_ms": round(float(moves.max()), 3),
        "notes_lost": lost,
        "content_hash": hashlib.sha256(ids.tobytes()).hexdigest(),
        "statistics": _note_statistics(score),
    }
    if bars < _MIN_BARS:
        values["verdict"] = "skipped"
        values["reason"] = (
            f"is {bars} bar long; training needs at least {_MIN_BARS}, one to prompt with and "
            "one to complete: too short to learn from"
        )
    return values


def _concatenated(tables: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {key: np.concatenate([table[key] for table in tables]) for key in ("time", "pitch")}


def _note_statistics(score: "symusic.Score") -> NoteStatistics:
    tables = [track.notes.numpy() for track in score.tracks if not track.is_drum]
    pitches = np.concatenate([np.zeros(0, dtype=np.int64), *(table["pitch"] for table in tables)])
    ticks = np.concatenate([np.zeros(0), *(table["duration"] for table in tables)])
    quarters = np.clip(ticks / score.ticks_per_quarter, DURATION_EDGES[0], DURATION_EDGES[-1])
    return NoteStatistics(
        pitches=np.bincount(pitches.astype(np.int64), minlength=128),
        durations=np.histogram(quarters, bins=DURATION_EDGES)[0],
        fingerprint=fingerprint(score),
    )
