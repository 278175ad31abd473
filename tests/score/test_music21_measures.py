"""Ties, measures and parts of music21 streams."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import music21
import pytest

from rwkv_music.errors import InputError
from rwkv_music.score import bar_starts, load_score, to_score
from tests.score.plain_musicxml import Sounding, sounding_notes


def written(name: str, quarters: float, tie: str | None = None) -> Any:
    note = music21.note.Note(name)
    note.quarterLength = quarters
    if tie:
        note.tie = music21.tie.Tie(tie)
    return note


def measures(*lengths: float, meter: str = "3/4") -> Any:
    """A part with a note in each measure, which are as long as the notes."""
    part = music21.stream.Part()
    for index, length in enumerate(lengths, start=1):
        measure = music21.stream.Measure(number=index)
        if index == 1:
            measure.timeSignature = music21.meter.TimeSignature(meter)
        measure.append(music21.note.Note("C4", quarterLength=length))
        part.append(measure)
    return part


def sounding(stream: Any) -> list[tuple[float, float, int]]:
    score = to_score(stream)
    quarter = score.ticks_per_quarter
    return sorted(
        (note.time / quarter, note.duration / quarter, note.pitch)
        for track in score.tracks
        for note in track.notes
    )


def signatures(stream: Any) -> list[tuple[float, int, int]]:
    score = to_score(stream)
    return [
        (
            time_signature.time / score.ticks_per_quarter,
            time_signature.numerator,
            time_signature.denominator,
        )
        for time_signature in score.time_signatures
    ]


def part_of(*placed: tuple[float, Any]) -> Any:
    part = music21.stream.Part()
    for onset, element in placed:
        part.insert(onset, element)
    return part


def test_notes_tied_at_the_same_time_are_not_taken_for_one_another() -> None:
    part = part_of(
        (0, written("F2", 3, "start")),
        (0, written("F3", 3, "start")),
        (3, written("F2", 3, "stop")),
        (3, written("F3", 3, "stop")),
    )
    assert sounding(part) == [(0, 6, 41), (0, 6, 53)]


def test_one_note_of_a_chord_is_tied_on_under_others() -> None:
    held, left = written("C4", 1, "start"), written("E4", 1)
    middle, new = written("C4", 1, "continue"), written("G4", 1)
    part = part_of(
        (0, music21.chord.Chord([held, left])),
        (1, music21.chord.Chord([middle, new])),
        (2, written("C4", 2, "stop")),
    )
    assert sounding(part) == [(0, 1, 64), (0, 4, 60), (1, 1, 67)]


def test_a_tie_into_nothing_strikes_what_follows() -> None:
    part = part_of(
        (0, written("C4", 1, "start")), (2, written("C4", 1, "stop")), (3, written("C4", 1))
    )
    assert sounding(part) == [(0, 1, 60), (2, 1, 60), (3, 1, 60)]


def test_a_lyric_under_a_tied_note_is_read_once() -> None:
    first, second = written("C4", 1, "start"), written("C4", 1, "stop")
    first.lyric, second.lyric = "la", "-"
    (track,) = to_score(part_of((0, first), (1, second))).tracks
    assert [(lyric.time, lyric.text) for lyric in track.lyrics] == [(0, "la")]


def test_notes_without_length_are_kept_and_grace_notes_are_left_out() -> None:
    grace = music21.note.Note("D4").getGrace()
    part = part_of((0, written("C4", 1)), (1, grace), (1, written("E4", 0)))
    assert sounding(part) == [(0, 1, 60), (1, 0, 64)]


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ((3, 3, 3), [(0, 3, 4)]),
        ((1, 3, 3), [(0, 1, 4), (1, 3, 4)]),
        ((3, 2, 3, 3), [(0, 3, 4), (3, 2, 4), (5, 3, 4)]),
        ((3, 4.25, 3), [(0, 3, 4), (3, 17, 16), (7.25, 3, 4)]),
        ((3, 2, 2, 3), [(0, 3, 4), (3, 2, 4), (7, 3, 4)]),
        ((3, 1, 2, 3), [(0, 3, 4)]),
        ((3, 3, 2), [(0, 3, 4)]),
    ],
    ids=["regular", "pickup", "short", "long", "two short", "one bar in two", "short at the end"],
)
def test_a_measure_is_a_bar_of_its_real_length(
    lengths: Sequence[float], expected: list[tuple[float, int, int]]
) -> None:
    assert signatures(measures(*lengths)) == expected


def test_a_measure_that_no_signature_fits_keeps_the_printed_one() -> None:
    assert signatures(measures(3, 2 + 1 / 3, 3)) == [(0, 3, 4)]


def test_parts_with_different_meters_are_aligned() -> None:
    voice, piano = measures(2, 2, meter="2/4"), measures(3, 3)
    score = music21.stream.Score([voice, piano])
    assert sounding(score) == [(0, 2, 60), (0, 3, 60), (3, 2, 60), (3, 3, 60)]
    assert signatures(score)[0] == (0, 3, 4)
    assert [float(measure.offset) for measure in voice.getElementsByClass("Measure")] == [0, 2]


def test_the_pieces_of_a_collection_follow_one_another() -> None:
    opus = music21.stream.Opus(
        [music21.stream.Score([measures(3)]), music21.stream.Score([measures(3, 3)])]
    )
    assert sounding(to_score(opus)) == [(0, 3, 60), (3, 3, 60), (6, 3, 60)]
    with pytest.raises(InputError, match="contains no notes"):
        to_score(music21.stream.Opus())


def test_real_songs_sound_what_their_files_say(shared_data: Path) -> None:
    """Compare with an independent reader."""
    for path in sorted((shared_data / "openscore_lieder").rglob("*.mxl"))[11::220]:
        score = load_score(path)
        quarter = score.ticks_per_quarter
        ours = sorted(
            (note.time, note.duration, note.pitch) for track in score.tracks for note in track.notes
        )
        theirs = [
            Sounding(onset * quarter, duration * quarter, pitch)
            for onset, duration, pitch in sounding_notes(path)
            if duration
        ]
        assert ours == sorted(theirs), path.name
        assert bar_starts(score)[0] == 0
