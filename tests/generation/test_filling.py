"""Filling a score: the bars and parts that were asked for are new, and nothing else changes."""

import numpy as np
import pytest
import symusic
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rwkv_music.errors import InputError
from rwkv_music.generation import Stream, fill_score
from rwkv_music.generation.prompts.hole_prompt import HolePrompt
from rwkv_music.generation.prompts.hole_score import filled_score
from rwkv_music.score import bar_starts
from rwkv_music.tokenizer import Tokenizer
from rwkv_music.tokenizer.holes import split_hole
from tests.generation.test_continuation import model
from tests.tokens import random_score

TOKENIZER = Tokenizer()
V = TOKENIZER.vocabulary
MODEL = model()


def band(bars: int = 6) -> symusic.Score:
    """Piano, bass and drums: a note a beat in each, with a pedal a bar and names of their own."""
    score = symusic.Score(480)
    score.tempos.append(symusic.Tempo(0, qpm=91.3))
    score.time_signatures.append(symusic.TimeSignature(0, 3, 4))
    for name, program, is_drum, pitch in (
        ("Lead", 0, False, 72), ("Bass", 33, False, 40), ("Kit", 0, True, 38),
    ):  # fmt: skip
        track = symusic.Track(name, program, is_drum)
        for beat in range(3 * bars):
            track.notes.append(symusic.Note(480 * beat, 470, pitch + beat % 5, 81))
        if name == "Lead":
            for bar in range(bars):
                track.controls.append(symusic.ControlChange(1440 * bar + 7, 64, 101))
                track.controls.append(symusic.ControlChange(1440 * bar + 1300, 64, 3))
                track.controls.append(symusic.ControlChange(1440 * bar + 33, 7, 99))
        score.tracks.append(track)
    score.tracks[0].lyrics.append(symusic.TextMeta(1450, "la"))
    return score


def events_outside(
    score: symusic.Score, tracks: set[int], start: int, end: int
) -> list[tuple[object, ...]]:
    """All that a request for some tracks in [start, end) may not change."""
    kept: list[tuple[object, ...]] = [
        (score.ticks_per_quarter,),
        *((event.time, event.mspq) for event in score.tempos),
        *((event.time, event.numerator, event.denominator) for event in score.time_signatures),
        *((event.time, event.text) for event in score.markers),
    ]
    for index, track in enumerate(score.tracks):
        lyrics = tuple((event.time, event.text) for event in track.lyrics)
        kept.append((index, track.name, track.program, track.is_drum, lyrics))

        def is_kept(time: int, index: int = index) -> bool:
            return index not in tracks or not start <= time < end

        kept += sorted(
            (index, note.time, note.duration, note.pitch, note.velocity)
            for note in track.notes
            if is_kept(note.time)
        )
        kept += sorted(
            (index, event.time, event.number, event.value)
            for event in track.controls
            if is_kept(event.time) or event.number != 64
        )
    return kept


def pedal_at(track: symusic.Track, tick: int) -> bool:
    before = [event for event in track.controls if event.number == 64 and event.time < tick]
    return bool(before) and max(before, key=lambda event: event.time).value >= 64


def with_true_content(prompt: HolePrompt) -> symusic.Score:
    """Fill a hole with what stood there."""
    runs = zip(prompt.runs.given, prompt.runs.written, strict=True)
    pieces = [prompt.runs.opening, *(ids for run in runs for ids in run), np.array([V.EOS])]
    fill = split_hole(np.concatenate(pieces).astype(np.uint16), V).fill
    return filled_score(prompt, fill, V)[0]


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_nothing_outside_of_a_random_request_changes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    score = random_score(rng, ticks=int(rng.choice([96, 100, 480])), free=True)
    num_bars = len(bar_starts(score)) - 1
    first = int(rng.integers(1, num_bars + 1))
    last = min(num_bars, first + int(rng.integers(8)))
    tracks = {int(track) for track in rng.permutation(len(score.tracks))[: int(rng.integers(1, 4))]}
    is_whole = last - first + 1 == num_bars and len(tracks) == len(score.tracks)
    assume(not is_whole)
    before = events_outside(score, set(), 0, 0)
    prompt = HolePrompt.of(score, TOKENIZER, bars=(first, last), parts=sorted(tracks))
    filled = with_true_content(prompt)
    span = (prompt.start, prompt.end)
    assert events_outside(filled, tracks, *span) == events_outside(score, tracks, *span)
    assert events_outside(score, set(), 0, 0) == before
    for track in tracks:
        was_down = pedal_at(score.tracks[track], prompt.end)
        assert pedal_at(filled.tracks[track], prompt.end) == was_down


def test_the_true_content_of_a_hole_comes_back() -> None:
    score = band()
    prompt = HolePrompt.of(score, TOKENIZER, bars=(2, 4), parts=["Bass", "Lead"])
    filled = with_true_content(prompt)
    for track, again in zip(score.tracks, filled.tracks, strict=True):
        onsets = [(note.time, note.duration, note.pitch) for note in track.notes]
        assert sorted((note.time, note.duration, note.pitch) for note in again.notes) == onsets


def test_a_model_writes_the_bars_and_parts_that_are_asked_for() -> None:
    score = band()
    pieces = fill_score(MODEL, score, bars=(3, 4), parts=["Bass"], candidates=2, seed=5)
    assert [piece.seed for piece in pieces] == [5, 6]
    for piece in pieces:
        assert (piece.continuation_start, piece.end) == (2880, 5760)
        assert events_outside(piece.score, {1}, 2880, 5760) == events_outside(
            score, {1}, 2880, 5760
        )
        new = [note for note in piece.score.tracks[1].notes if 2880 <= note.time < 5760]
        assert max((note.time + note.duration for note in new), default=0) <= 5760
        assert len(piece.new.tracks[1].notes) == len(new)
        assert not len(piece.new.tracks[0].notes)
    assert pieces[0].tokens.tolist() != pieces[1].tokens.tolist()


def test_a_version_does_not_depend_on_the_number_of_versions() -> None:
    alone = fill_score(MODEL, band(), bars=(2, 2), parts=[1], candidates=1, seed=4)
    both = fill_score(MODEL, band(), bars=(2, 2), parts=[1], candidates=2, seed=3)
    assert alone[0].tokens.tolist() == both[1].tokens.tolist()
    assert alone[0].nats == pytest.approx(both[1].nats, rel=1e-5)


def test_spaces_around_the_name_of_a_track_do_not_matter() -> None:
    score = band()
    score.tracks[1].name = " Bass "
    for name in ("bass", " Bass "):
        prompt = HolePrompt.of(score, TOKENIZER, bars=(2, 2), parts=[name])
        assert [choice.track for choice in prompt.parts.values()] == [1]


def test_an_instrument_that_the_score_does_not_have_gets_a_track() -> None:
    score = band()
    piece = fill_score(MODEL, score, bars=(2, 3), parts=["cello"], candidates=1)[0]
    assert [track.name for track in piece.score.tracks] == ["Lead", "Bass", "Kit", "Cello"]
    assert (piece.score.tracks[3].program, piece.score.tracks[3].is_drum) == (42, False)
    assert len(score.tracks) == 3
    del piece.score.tracks[3]
    assert events_outside(piece.score, set(), 0, 0) == events_outside(score, set(), 0, 0)


def test_a_silent_track_can_be_written() -> None:
    score = band()
    score.tracks.append(symusic.Track("Strings", 48))
    piece = fill_score(MODEL, score, bars=(2, 2), parts=["Strings"], candidates=1)[0]
    assert len(piece.score.tracks) == 4
    assert events_outside(piece.score, {3}, 1440, 2880) == events_outside(score, {3}, 1440, 2880)


def test_generation_that_is_stopped_returns_no_version() -> None:
    assert not fill_score(MODEL, band(), bars=(2, 3), parts=[1], should_stop=lambda: True)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"bars": (5, 9)}, "bars 5 to 9 are not in this score of 6 bars: choose two of 1 to 6"),
        ({"bars": (4, 3)}, "bars 4 to 3 are not in this score"),
        ({"bars": (0, 1)}, "bars 0 to 1 are not in this score"),
        ({"bars": (1, 6)}, "all that there is, in all parts: leave a bar or a part"),
        ({"bars": (1, 2), "parts": ["Tuba solo"]}, "'Tuba solo' is not in the score and is no Gen"),
        ({"bars": (1, 2), "parts": [3]}, "part 3 is not in the score: choose from 0 Lead, 1 Bass"),
        ({"bars": (1, 2), "parts": ["Bass", 1]}, "asked for twice"),
        ({"bars": (1, 2), "parts": []}, "parts must be a list of names or indices"),
        ({"bars": (1, 2), "candidates": 0}, "`candidates` must be at least 1, got 0"),
        ({"bars": (1, 2), "seed": -1}, "`seed` must be at least 0, got -1"),
    ],
)
def test_a_request_that_cannot_be_met_is_refused(request_: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        fill_score(MODEL, band(), **request_)  # type: ignore[arg-type]


def test_more_than_8_bars_at_once_are_refused() -> None:
    with pytest.raises(InputError, match="bars 1 to 9 are 9 bars, at most 8"):
        fill_score(MODEL, band(12), bars=(1, 9))


def test_time_signatures_that_change_twice_in_a_hole_do_not_break_its_stream() -> None:
    """In 2/4 a reader expects the end before the one expected in 4/4, and before the real one."""
    score = symusic.Score(480)
    for tick, numerator in ((0, 4), (3840, 2), (4800, 4)):
        score.time_signatures.append(symusic.TimeSignature(tick, numerator, 4))
    track = symusic.Track("Lead", 0)
    for onset in range(0, 12480, 480):
        track.notes.append(symusic.Note(onset, 470, 60 + onset // 480 % 7, 81))
    score.tracks.append(track)
    pieces = fill_score(MODEL, score, bars=(2, 4), candidates=16, temperature=1.5)
    ends = [note.time + note.duration for piece in pieces for note in piece.new.tracks[0].notes]
    assert 1920 + 4 * 480 < max(ends) <= 1920 + 960 + 1920


def test_two_tracks_of_one_name_are_told_apart_by_index() -> None:
    score = band()
    score.tracks[1].name = "Lead"
    with pytest.raises(
        InputError, match="2 tracks are called 'lead': choose by index, one of 0, 1"
    ):
        fill_score(MODEL, score, bars=(1, 2), parts=["lead"])


def test_silent_versions_are_replaced_by_those_of_the_next_seeds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Stream, "_is_silent", lambda self, candidate: candidate.seed < 7)
    pieces = fill_score(MODEL, band(), bars=(2, 2), parts=[1], candidates=2, seed=6)
    assert [piece.seed for piece in pieces] == [7, 8]
