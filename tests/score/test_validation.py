"""Values that a score cannot have raise one kind of error at every door."""

import time
from collections.abc import Callable
from pathlib import Path

import music21
import numpy as np
import pretty_midi
import pytest
import symusic

from rwkv_music import to_score
from rwkv_music.errors import InputError
from rwkv_music.score import (
    bar_starts,
    beat_ticks,
    draw_piano_roll,
    load_score,
    num_bars,
    piano_roll,
    save_score,
    splice,
    split_at_bar,
    take_bars,
    to_music21,
    to_pretty_midi,
    transpose,
)
from tests.music import score_of

BEFORE_ZERO = r"a note in track 1 begins at tick -10, before 0: move the music"


def early_note() -> symusic.Score:
    return score_of((-10, 480, 60), (0, 480, 62), (2000, 480, 62))


@pytest.mark.parametrize(
    "use",
    [
        to_score,
        to_pretty_midi,
        to_music21,
        lambda score: take_bars(score, 0, 1),
        lambda score: split_at_bar(score, 1),
        lambda score: splice(score, score_of((0, 1, 60)), 0),
        lambda score: splice(score_of((0, 1, 60)), score, 0),
        lambda score: transpose(score, 1),
        piano_roll,
        draw_piano_roll,
        lambda score: save_score(score, Path("never.mid")),
        lambda score: save_score(score, Path("never.musicxml")),
        lambda score: save_score(score, Path("never.abc")),
    ],
)
def test_times_before_zero_are_rejected_everywhere(use: Callable[[symusic.Score], object]) -> None:
    with pytest.raises(InputError, match=BEFORE_ZERO):
        use(early_note())


def changed(**values: object) -> symusic.Score:
    score = score_of((0, 480, 60))
    for name, value in values.items():
        target = score.tracks[0].notes[0] if name in {"velocity", "duration"} else score
        setattr(target, name, value)
    return score


@pytest.mark.parametrize(
    ("score", "reason"),
    [
        (score_of((0, 480, 60, 0)), r"velocity 0 in track 1 is out of range \(1 to 127\)"),
        (score_of((0, -5, 60)), "duration -5 in track 1 is out of range"),
        (score_of((0, 5, -1)), "pitch -1 in track 1 is out of range"),
        (score_of((0, 5, 60), signatures=[(0, 3, 5)]), "time signature 3/5 is not possible"),
        (score_of((0, 5, 60), signatures=[(-1, 3, 4)]), "a time signature begins at tick -1"),
        (changed(tempos=[symusic.Tempo(-3, mspq=5)]), "a tempo begins at tick -3"),
        (changed(markers=[symusic.TextMeta(-3, "x")]), "a marker begins at tick -3"),
    ],
)
def test_impossible_values_are_rejected(score: symusic.Score, reason: str) -> None:
    with pytest.raises(InputError, match=reason) as refused:
        to_score(score)
    assert "\n" not in str(refused.value)


def pretty(**values: object) -> pretty_midi.PrettyMIDI:
    """An object with one note, changed in one value."""
    music = pretty_midi.PrettyMIDI()
    part = pretty_midi.Instrument(0)
    part.notes.append(pretty_midi.Note(100, 60, 0.5, 1.0))
    music.instruments.append(part)
    for name, value in values.items():
        setattr(part if name == "program" else part.notes[0], name, value)
    return music


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"velocity": 64.5}, "velocity 64.5 in instrument 1 is not a whole number: round it"),
        ({"velocity": 200}, r"velocity 200 in instrument 1 is out of range \(1 to 127\)"),
        ({"velocity": 0}, "velocity 0 in instrument 1 is out of range"),
        ({"velocity": float("nan")}, "velocity nan in instrument 1 is not a whole number"),
        ({"velocity": "loud"}, "velocity 'loud' in instrument 1 is not a number"),
        ({"pitch": 60.5}, "pitch 60.5 in instrument 1 is not a whole number"),
        ({"pitch": 128}, r"pitch 128 in instrument 1 is out of range \(0 to 127\)"),
        ({"end": float("nan")}, "note end nan in instrument 1 is not a finite number"),
        ({"end": float("inf")}, "note end inf in instrument 1 is not a finite number"),
        ({"end": 0.1}, "ends at 0.1 s, before it begins at 0.5 s"),
        ({"end": 1e12}, "is too late: shorten the music"),
        ({"start": -0.3}, "note start -0.3 in instrument 1 is before 0"),
        ({"start": None}, "note start None in instrument 1 is not a number"),
        ({"program": 300}, "program 300 in instrument 1 is out of range"),
    ],
)
def test_odd_values_of_pretty_midi_are_rejected(values: dict[str, object], reason: str) -> None:
    with pytest.raises(InputError, match=reason) as refused:
        to_score(pretty(**values))
    assert "\n" not in str(refused.value)


def test_whole_numbers_of_any_type_are_read() -> None:
    score = to_score(pretty(velocity=np.float64(64.0), pitch=np.int64(61), start=np.float32(0.5)))
    (note,) = score.tracks[0].notes
    assert (note.pitch, note.velocity, note.time) == (61, 64, 220)


def streams() -> dict[str, tuple[object, list[tuple[float, int]]]]:
    """Objects of music21, with onsets in quarters and pitches."""
    stream, note = music21.stream, music21.note
    measure = stream.Measure([note.Note("C4"), note.Note("D4")])
    voices = stream.Measure()
    voices.insert(0, stream.Voice([note.Note("C4"), note.Note("D4")]))
    voices.insert(0, stream.Voice([note.Note("E3", quarterLength=2)]))
    part = stream.Part([stream.Measure([note.Note("C4"), note.Note("D4")])])
    late = stream.Score()
    late.insert(4, stream.Part([note.Note("G4")]))
    late.insert(0, stream.Part([note.Note("C4")]))
    mixed = stream.Score([stream.Part([note.Note("C4")])])
    mixed.insert(2, note.Note("A4"))
    opus = stream.Opus([stream.Score([part]), stream.Score([stream.Part([note.Note("E4")])])])
    two = [(0, 60), (1, 62)]
    return {
        "note": (note.Note("C4"), [(0, 60)]),
        "chord": (music21.chord.Chord(["C4", "E4"]), [(0, 60), (0, 64)]),
        "measure": (measure, two),
        "voice": (stream.Voice([note.Note("C4"), note.Note("D4")]), two),
        "voices": (voices, [(0, 52), *two]),
        "stream": (stream.Stream([note.Note("C4"), note.Note("D4")]), two),
        "part": (part, two),
        "flat": (stream.Score([part]).flatten(), two),
        "late part": (late, [(0, 60), (4, 67)]),
        "note beside parts": (mixed, [(0, 60), (2, 69)]),
        "opus": (opus, [*two, (4, 64)]),
    }


@pytest.mark.parametrize("kind", list(streams()))
def test_any_stream_of_music21_is_read(kind: str) -> None:
    music, expected = streams()[kind]
    score = to_score(music)
    assert expected == sorted(
        (note.time / score.ticks_per_quarter, note.pitch)
        for track in score.tracks
        for note in track.notes
    )


def test_objects_of_music21_that_are_no_music_are_rejected() -> None:
    with pytest.raises(InputError, match="is a Pitch: pass a stream, note or chord of music21"):
        to_score(music21.pitch.Pitch("C4"))
    with pytest.raises(InputError, match="contains no notes"):
        to_score(music21.note.Rest())
    early = music21.stream.Stream()
    early.insert(-1.0, music21.note.Note("C4"))
    with pytest.raises(InputError, match="begins at tick -480, before 0"):
        to_score(early)


def million_bars() -> symusic.Score:
    """Two notes with 1.6 million bars of 1/64 between them, each shorter than a tick."""
    return score_of((0, 1, 60), (100_000, 1, 60), ticks=1, signatures=[(0, 1, 64)])


@pytest.mark.parametrize("suffix", ["mid", "musicxml", "abc"])
def test_music_with_too_many_bars_is_rejected_at_once(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"long.{suffix}"
    reason = "makes more than 250000 bars: shorten it"
    if suffix == "mid":
        save_score(million_bars(), path)
    elif suffix == "abc":
        path.write_text("X:1\nM:1/64\nL:1/1\nK:C\nC z9999 C|\n")
    else:
        with pytest.raises(InputError, match=reason):
            save_score(million_bars(), path)
        return
    assert path.stat().st_size < 100
    began = time.process_time()
    with pytest.raises(InputError, match=reason) as refused:
        load_score(path)
    assert time.process_time() - began < 1
    assert str(refused.value).startswith(str(path))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "use", [to_score, bar_starts, num_bars, beat_ticks, lambda score: take_bars(score, 0, 1)]
)
def test_no_function_enumerates_a_million_bars(use: Callable[[symusic.Score], object]) -> None:
    with pytest.raises(InputError, match="makes more than 250000 bars"):
        use(million_bars())
