"""Conversion to and from pretty_midi and music21 objects."""

import warnings
from pathlib import Path

import pretty_midi
import pytest
import symusic

from rwkv_music.errors import InputError
from rwkv_music.score import bar_starts, save_score, to_music21, to_pretty_midi, to_score
from tests.music import tune
from tests.tokens import notes_of


def rich_tune() -> symusic.Score:
    score = tune(bars=3, program=40)
    score.tempos.append(symusic.Tempo(4 * 96, qpm=75.0))
    drums = symusic.Track("kit", 0, True)
    drums.notes.append(symusic.Note(96, 48, 38, 100))
    score.tracks.append(drums)
    return score


def test_a_score_is_returned_as_it_is_and_a_path_is_loaded(tmp_path: Path) -> None:
    score = rich_tune()
    assert to_score(score) is score
    path = save_score(score, tmp_path / "tune.mid")
    assert notes_of(to_score(path)) == notes_of(to_score(str(path)))


def test_a_pretty_midi_round_trip_keeps_notes_tempos_and_signatures() -> None:
    score = rich_tune()
    held = to_pretty_midi(score)
    assert [part.program for part in held.instruments] == [40, 40, 0]
    assert [part.is_drum for part in held.instruments] == [False, False, True]
    back = to_score(held)
    quarter = back.ticks_per_quarter / 96
    scaled = [
        (drum, program, onset * quarter, duration * quarter, pitch, velocity)
        for drum, program, onset, duration, pitch, velocity in notes_of(score)
    ]
    assert notes_of(back) == scaled
    assert [round(tempo.qpm) for tempo in back.tempos] == [100, 75]


def test_times_of_a_pretty_midi_object_are_converted_from_seconds() -> None:
    music = pretty_midi.PrettyMIDI(initial_tempo=60)
    part = pretty_midi.Instrument(program=73)
    part.notes.append(pretty_midi.Note(velocity=90, pitch=72, start=1.0, end=1.5))
    music.instruments.append(part)
    score = to_score(music)
    note = score.tracks[0].notes[0]
    quarter = score.ticks_per_quarter
    assert (note.time, note.duration, note.pitch) == (quarter, quarter // 2, 72)


def test_a_music21_round_trip_keeps_notes_programs_and_signatures() -> None:
    score = rich_tune()
    back = to_score(to_music21(score))
    scaled = [
        (drum, program, onset * 5, duration * 5, pitch, velocity)
        for drum, program, onset, duration, pitch, velocity in notes_of(score)
    ]
    assert notes_of(back) == scaled
    assert [round(tempo.qpm) for tempo in back.tempos] == [100, 75]
    assert bar_starts(back).tolist() == [0, 1920, 3840, 5760]


def test_a_music21_pickup_is_a_short_first_bar() -> None:
    import music21

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stream = music21.converter.parse("tinyNotation: 4/4 c4 d4 e4 f4 g2 a4 b4")
        part = music21.stream.Part()
        first = music21.stream.Measure(number=0)
        first.timeSignature = music21.meter.TimeSignature("4/4")
        first.append(music21.note.Note("G4"))
        part.append(first)
        for index, measure in enumerate(stream.getElementsByClass("Measure"), start=1):
            new = music21.stream.Measure(number=index)
            for note in measure.notes:
                new.append(music21.note.Note(note.pitch, quarterLength=note.quarterLength))
            part.append(new)
    score = to_score(part)
    signs = [(sign.time, sign.numerator, sign.denominator) for sign in score.time_signatures]
    assert signs == [(0, 1, 4), (480, 4, 4)]
    assert score.tracks[0].notes[1].time == 480
    assert bar_starts(score).tolist()[:3] == [0, 480, 2400]


def test_chords_ties_and_rests_of_music21_are_read() -> None:
    import music21

    part = music21.stream.Part()
    held = music21.note.Note("C4", quarterLength=2)
    held.tie = music21.tie.Tie("start")
    part.insert(0, held)
    rest_of_it = music21.note.Note("C4", quarterLength=1)
    rest_of_it.tie = music21.tie.Tie("stop")
    part.insert(2, rest_of_it)
    part.insert(4, music21.chord.Chord(["E4", "G4"], quarterLength=1))
    score = to_score(part)
    notes = sorted((n.time, n.duration, n.pitch) for n in score.tracks[0].notes)
    assert notes == [(0, 1440, 60), (1920, 480, 64), (1920, 480, 67)]


def test_other_types_and_empty_streams_are_rejected() -> None:
    with pytest.raises(InputError, match="cannot read music from a dict: pass a path"):
        to_score({})
    import music21

    with pytest.raises(InputError, match="the music21 stream contains no notes"):
        to_score(music21.stream.Part())
