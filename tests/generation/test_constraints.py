"""Constraints: every note obeys them, and impossible ones are refused."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import symusic

from rwkv_music import Constraints, continue_score
from rwkv_music.errors import InputError
from rwkv_music.generation import Continuation
from rwkv_music.generation.constraints.harmony import chord_of, pitch_number, scale_of
from tests.generation.test_continuation import MODEL, in_signature
from tests.music import BAR, TICKS, tune

A_MAJOR = {9, 11, 1, 2, 4, 6, 8}


def prompt(*, bars: int = 2, drums: bool = True) -> symusic.Score:
    """A melody, a bass and drums, with names."""
    score = tune(bars=bars, parts=2)
    score.tracks[0].name, score.tracks[1].name = "Melody", "Bass"
    if drums:
        track = symusic.Track("Drums", 0, True)
        for onset in range(0, bars * BAR, TICKS):
            track.notes.append(symusic.Note(onset, TICKS // 4, 36, 80))
        score.tracks.append(track)
    return score


def continued(
    given: Any = None, *, candidates: int = 6, bars: int = 2, **limits: Any
) -> list[Continuation]:
    pieces = continue_score(
        MODEL,
        given or prompt(),
        bars=bars,
        candidates=candidates,
        seed=1,
        constraints=Constraints(**limits),
    )
    assert sum(piece.new.note_num() for piece in pieces) > 20
    return pieces


def notes(pieces: list[Continuation], *, drums: bool = False) -> Iterator[tuple[str, Any]]:
    for piece in pieces:
        for track in piece.new.tracks:
            if track.is_drum == drums:
                yield from ((track.name, note) for note in track.notes)


def test_pitches_stay_in_the_scale() -> None:
    assert {note.pitch % 12 for _, note in notes(continued(scale="A major"))} <= A_MAJOR
    drum_keys = {note.pitch % 12 for _, note in notes(continued(scale="A major"), drums=True)}
    assert not drum_keys <= A_MAJOR


def test_a_part_stays_in_its_range_and_the_others_do_not() -> None:
    pieces = continued(prompt(drums=False), pitch_range={"melody": ("C5", 76)})
    assert {note.pitch for name, note in notes(pieces) if name == "Melody"} <= set(range(72, 77))
    assert any(note.pitch > 76 for name, note in notes(pieces) if name == "Bass")


def test_chords_change_by_bar_and_by_beat() -> None:
    am7, g = chord_of("Am7"), chord_of("G")
    for _, note in notes(continued(chords=("Am7", "G"))):
        assert (am7 if note.time < BAR else g)[note.pitch]
    for _, note in notes(continued(chords=("Am7", "G"), chord_length="beat")):
        assert (am7 if note.time // TICKS % 2 == 0 else g)[note.pitch]


@pytest.mark.parametrize("most", [1, 2])
def test_polyphony_stays_within_its_limit(most: int) -> None:
    largest = 0
    for piece in continued(max_polyphony=most):
        for track in piece.new.tracks:
            table = track.notes.numpy()
            for onset in table["time"]:
                ends = table["time"] + table["duration"]
                sounding = int(((table["time"] <= onset) & (ends > onset)).sum())
                assert sounding <= most
                largest = max(largest, sounding)
    assert largest == most


def test_drums_can_be_silenced_or_left_alone() -> None:
    assert not list(notes(continued(drums="none"), drums=True))
    assert not list(notes(continued(drums="only")))


def test_the_last_bar_ends_on_the_tonic() -> None:
    late = 0
    given = prompt(drums=False)
    for _, note in notes(continued(given, candidates=12, scale="A minor", end_on_tonic=True)):
        if note.time >= BAR:
            assert note.pitch % 12 in {9, 0, 4}
        if note.time >= BAR + 3 * TICKS:
            assert note.pitch % 12 == 9
            late += 1
    assert late > 0


def test_by_default_nothing_unusual_happens() -> None:
    for piece in continued(bars=3):
        assert len(piece.new.tempos) == len(piece.new.time_signatures) == 1
        for track in piece.new.tracks:
            ends: dict[int, int] = {}
            for note in sorted(track.notes, key=lambda other: (other.time, other.pitch)):
                assert ends.get(note.pitch, 0) <= note.time
                ends[note.pitch] = note.time + note.duration
                assert not track.is_drum or 35 <= note.pitch <= 81


def test_without_the_defaults_all_of_it_happens() -> None:
    pieces = continue_score(
        MODEL, prompt(), bars=3, candidates=8, seed=1, constraints=Constraints.free()
    )
    assert any(len(piece.new.tempos) > 1 for piece in pieces)
    assert any(len(piece.new.time_signatures) > 1 for piece in pieces)
    assert any(not 35 <= note.pitch <= 81 for _, note in notes(pieces, drums=True))
    assert all(set(piece.removed) == {0.0} for piece in pieces)


def test_the_removed_probability_is_recorded_for_each_token() -> None:
    for piece in continued(scale="C major"):
        assert len(piece.removed) == len(piece.tokens)
        assert all(0 <= probability <= 1 for probability in piece.removed)
        assert max(piece.removed) > 0.1


def test_a_signature_of_the_prompt_stays() -> None:
    pieces = continue_score(MODEL, in_signature(7, 8, 2), bars=3, candidates=4)
    for piece in pieces:
        [signature] = piece.new.time_signatures
        assert (signature.numerator, signature.denominator) == (7, 8)


def test_harsh_combinations_never_end_in_a_dead_end() -> None:
    rng = np.random.default_rng(0)
    for seed in range(12):
        limits = Constraints(
            scale=str(rng.choice(["C major", "F# blues", "D minor pentatonic"])),
            pitch_range={0: (60, 60 + int(rng.integers(5, 9))), 1: ("C3", "G3")},
            max_polyphony=int(rng.integers(1, 3)),
            drums=rng.choice(["any", "none"]).item(),
            end_on_tonic=False,
        )
        pieces = continue_score(
            MODEL, prompt(), bars=2, candidates=3, seed=seed, temperature=2.0, constraints=limits
        )
        assert all(len(piece.tokens) > 1 for piece in pieces)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"scale": "H major"}, "'H major' is no scale"),
        ({"chords": ("Cmaj", "Xm")}, "'Xm' is no chord"),
        ({"max_polyphony": 0}, "max_polyphony must be at least 1, got 0"),
        ({"drums": "few"}, "drums must be one of"),
        ({"end_on_tonic": True}, "end_on_tonic needs a scale"),
        ({"pitch_range": {"Melody": ("C6", "C4")}}, "from C6 down to C4"),
        ({"pitch_range": {"Melody": ("C4", "X4")}}, "'X4' is no pitch"),
        ({"pitch_range": {"Melody": (0, 128)}}, "pitch 128 is out of range"),
    ],
)
def test_what_is_not_understood_is_refused(limits: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Constraints(**limits)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"pitch_range": {"Flute": ("C4", "C6")}}, "no part 'Flute': the parts are 0 'Melody'"),
        ({"pitch_range": {7: ("C4", "C6")}}, "there is no part 7"),
        (
            {"scale": "C major", "pitch_range": {"Melody": ("C#4", "C#4")}},
            "'C major' has no pitch in the pitch_range of part 'Melody'",
        ),
        (
            {"scale": "C major pentatonic", "chords": ("C", "C#")},
            "no pitch of the chord 'C#' is left",
        ),
        (
            {"scale": "C major", "pitch_range": {0: (62, 65)}, "end_on_tonic": True},
            "the tonic is not in the pitch_range of part 'Melody'",
        ),
        ({"drums": "only"}, "drums='only', but no part to be written is a drum part"),
    ],
)
def test_constraints_that_leave_nothing_are_refused(limits: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        continue_score(
            MODEL, prompt(drums=False), bars=1, candidates=1, constraints=Constraints(**limits)
        )


def test_names_of_pitches_scales_and_chords() -> None:
    assert [pitch_number(name) for name in ("C4", "Bb3", "F#-1", "G9", 60)] == [60, 58, 6, 127, 60]
    tonic, scale = scale_of("Eb major")
    assert tonic == 3
    assert sorted(np.flatnonzero(scale[:12]).tolist()) == [0, 2, 3, 5, 7, 8, 10]
    assert np.flatnonzero(chord_of("C/Bb")[:12]).tolist() == [0, 4, 7, 10]
    assert np.flatnonzero(chord_of("Am7")[:12]).tolist() == [0, 4, 7, 9]
    assert chord_of("N").all()
