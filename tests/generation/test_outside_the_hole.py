"""Outside of the hole everything comes back untouched: made-up scores, our own pieces, real files.

The judge compares two scores event by event; it knows nothing of tokens or grammars.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import symusic

from rwkv_music.errors import InputError
from rwkv_music.generation import Request, stream
from rwkv_music.score import bar_starts, load_score
from tests.conftest import REPOSITORY
from tests.generation.test_continuation import MODEL
from tests.tokens import random_score

OWN_PIECES = [
    path
    for path in sorted(
        [*REPOSITORY.glob("examples/**/*.mid"), *REPOSITORY.glob("rwkv_music/prompts/*.mid")]
    )
    if path.read_bytes().startswith(b"MThd")  # one example shows what the data doctor skips
]
MOST_NOTES = 6000
"""Larger real files would take most of the time."""
REFUSALS = (
    "shorter than a step", "all that there is", "tracks are called", "asked for twice",
    "parts of different programs", "has no notes", "parts can be written",
)  # fmt: skip
ADDED = ("cello", "Flute", "vibraphone", "drums")


def everything(
    score: symusic.Score, written: set[int], start: int, end: int
) -> dict[str, Counter[Any]]:
    """All events of a score, without those of some tracks that a request may replace.

    These are notes that begin in [start, end), and sustain pedals in it.
    """
    kept: dict[str, Counter[Any]] = {
        "resolution": Counter([score.ticks_per_quarter]),
        "tempos": Counter((each.time, each.mspq) for each in score.tempos),
        "time signatures": Counter(
            (each.time, each.numerator, each.denominator) for each in score.time_signatures
        ),
        "key signatures": Counter(
            (each.time, each.key, each.tonality) for each in score.key_signatures
        ),
        "markers": Counter((each.time, each.text) for each in score.markers),
        "names": Counter(
            (index, track.name, track.program, track.is_drum)
            for index, track in enumerate(score.tracks)
        ),
    }
    for name in ("notes", "controls", "pitch bends", "lyrics"):
        kept[name] = Counter()
    for index, track in enumerate(score.tracks):

        def is_kept(time: int, index: int = index) -> bool:
            return index not in written or not start <= time < end

        kept["notes"].update(
            (index, note.time, note.duration, note.pitch, note.velocity)
            for note in track.notes
            if is_kept(note.time)
        )
        kept["controls"].update(
            (index, each.time, each.number, each.value)
            for each in track.controls
            if each.number != 64 or is_kept(each.time)
        )
        kept["pitch bends"].update((index, each.time, each.value) for each in track.pitch_bends)
        kept["lyrics"].update((index, each.time, each.text) for each in track.lyrics)
    return kept


def pedal_behind(track: symusic.Track, tick: int) -> bool:
    before = [each for each in track.controls if each.number == 64 and each.time < tick]
    return bool(before) and max(before, key=lambda each: each.time).value >= 64


def random_request(rng: np.random.Generator, score: symusic.Score) -> Request:
    """Up to eight bars of some or all parts, by index or name, sometimes with a new instrument."""
    num_bars = len(bar_starts(score)) - 1
    first = int(rng.integers(1, num_bars + 1))
    last = min(num_bars, first + int(rng.integers(8)))
    if rng.random() < 0.15:
        parts = None
    else:
        tracks = rng.permutation(len(score.tracks))[: int(rng.integers(1, 4))].tolist()
        names = [track.name for track in score.tracks]
        parts = [
            names[track] if names[track].strip() and names.count(names[track]) == 1 else track
            for track in tracks
        ]
        if rng.random() < 0.25:
            parts = [*parts, ADDED[int(rng.integers(len(ADDED)))]][int(rng.integers(2)) :]
    bars: int | tuple[int, int] = (first, last)
    if rng.random() < 0.1:
        bars, parts = int(rng.integers(1, 4)), parts or [0]
    return Request(
        bars=bars, parts=parts, candidates=1, seed=int(rng.integers(1000)), temperature=1.2
    )


def check(score: symusic.Score, request: Request, *, cancel_after: int | None = None) -> bool:
    """Write what is asked for, and compare; return False if the request is refused."""
    before = everything(score, set(), 0, 0)
    try:
        events = stream(MODEL, score, request)
    except InputError as error:
        if any(reason in str(error) for reason in REFUSALS):
            return False
        raise
    for number, _ in enumerate(events):
        if number == cancel_after:
            events.close()
    assert everything(score, set(), 0, 0) == before
    for piece in events.results():
        start, end = piece.continuation_start, piece.end
        written = {i for i, track in enumerate(piece.new.tracks) if i < len(score.tracks)}
        result, added = piece.score, len(piece.score.tracks) - len(score.tracks)
        assert added in {0, 1}
        if request.parts is not None:
            written = written_tracks(score, request)
        for track in written:
            own = result.tracks[track]
            assert pedal_behind(own, end) == pedal_behind(score.tracks[track], end)
            old = Counter(
                (note.time, note.duration, note.pitch, note.velocity)
                for note in score.tracks[track].notes
            )
            for note in own.notes:
                row = (note.time, note.duration, note.pitch, note.velocity)
                is_old = old[row] > 0 and not start <= note.time < end
                assert is_old or start <= note.time < note.time + note.duration <= end
        del result.tracks[len(score.tracks) :]
        after = everything(result, written, start, end)
        for kind, events_before in everything(score, written, start, end).items():
            assert after[kind] == events_before, kind
    return True


def written_tracks(score: symusic.Score, request: Request) -> set[int]:
    """Indices of the tracks that the request names."""
    names = [track.name.casefold() for track in score.tracks]
    tracks = set()
    for part in request.parts or ():
        if isinstance(part, int):
            tracks.add(part)
        elif part.casefold() in names:
            tracks.add(names.index(part.casefold()))
        else:  # the name of an instrument may be that of a track without such a name
            tracks |= instrument_tracks(score, part)
    return tracks


def instrument_tracks(score: symusic.Score, name: str) -> set[int]:
    program = {"cello": 42, "flute": 73, "vibraphone": 11}.get(name.casefold())
    return {
        index
        for index, track in enumerate(score.tracks)
        if track.is_drum == (program is None) and (program is None or track.program == program)
    }


def check_many(scores: list[symusic.Score], seeds: range) -> int:
    """Check a random request for each seed, and return how many were not refused."""
    met = 0
    for seed in seeds:
        rng = np.random.default_rng(seed)
        score = scores[seed % len(scores)].copy()
        cancel_after = int(rng.integers(60)) if rng.random() < 0.2 else None
        met += check(score, random_request(rng, score), cancel_after=cancel_after)
    return met


def made_up_scores(count: int) -> list[symusic.Score]:
    rng = np.random.default_rng(7)
    return [
        random_score(rng, ticks=int(rng.choice([96, 100, 480])), free=True) for _ in range(count)
    ]


def real_scores(folder: Path, count: int) -> list[symusic.Score]:
    """Files of every corpus, the same ones in each run."""
    rng = np.random.default_rng(11)
    files = [
        sorted([*corpus.rglob("*.mid"), *corpus.rglob("*.mxl")])
        for corpus in sorted(folder.iterdir())
        if corpus.is_dir() and corpus.name not in {"jsb_chorales", "polyphonic", "odd_midi"}
    ]
    files = [each for each in files if each]
    scores: list[symusic.Score] = []
    for number in range(20 * count):
        if len(scores) == count:
            break
        own = files[number % len(files)]
        score = load_score(own[int(rng.integers(len(own)))])
        if 0 < score.note_num() <= MOST_NOTES:
            scores.append(score)
    assert len(scores) == count
    return scores


def test_made_up_scores_come_back_untouched() -> None:
    assert check_many(made_up_scores(30), range(30)) > 20


def test_our_own_pieces_come_back_untouched() -> None:
    assert check_many([load_score(path) for path in OWN_PIECES], range(100, 115)) > 12


def test_real_files_come_back_untouched(shared_data: Path) -> None:
    assert check_many(real_scores(shared_data, 8), range(200, 215)) > 10


@pytest.mark.long
def test_500_random_requests_come_back_untouched(shared_data: Path) -> None:
    met = check_many(made_up_scores(100), range(1000, 1200))
    met += check_many([load_score(path) for path in OWN_PIECES], range(2000, 2120))
    met += check_many(real_scores(shared_data, 60), range(3000, 3180))
    assert met > 420
