"""The piano roll as an array and as a picture."""

from pathlib import Path

import pytest
import symusic

from rwkv_music.errors import ScoreFileError
from rwkv_music.score import draw_piano_roll, piano_roll, program_name, save_piano_roll
from tests.music import tune


def test_rows_are_pitches_and_the_louder_note_counts() -> None:
    score = symusic.Score(96)
    track = symusic.Track("", 0, False)
    track.notes.append(symusic.Note(0, 96, 60, 50))
    track.notes.append(symusic.Note(48, 96, 60, 90))
    track.notes.append(symusic.Note(96, 10, 72, 30))
    score.tracks.append(track)
    roll = piano_roll(score, 4)
    assert roll.shape == (128, 6)
    assert roll[60].tolist() == [50, 50, 90, 90, 90, 90]
    assert roll[72].tolist() == [0, 0, 0, 0, 30, 0]
    assert roll.sum() == roll[60].sum() + roll[72].sum()


def test_drums_are_left_out() -> None:
    score = symusic.Score(96)
    drums = symusic.Track("", 0, True)
    drums.notes.append(symusic.Note(0, 96, 60, 50))
    score.tracks.append(drums)
    assert not piano_roll(score).any()


def test_the_image_numbers_bars_from_one_and_marks_the_seam(tmp_path: Path) -> None:
    axes = draw_piano_roll(tune(bars=4), continuation_start=2 * 384)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2", "3", "4"]
    dashed = [line for line in axes.get_lines() if line.get_linestyle() == "--"]
    assert [line.get_xdata()[0] for line in dashed] == [8.0]
    assert axes.get_xlim() == (0.0, 16.0)
    path = save_piano_roll(tune(bars=4), tmp_path / "roll.png", continuation_start=768)
    assert path.read_bytes()[:4] == b"\x89PNG"
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ScoreFileError, match="cannot be written"):
        save_piano_roll(tune(bars=1), tmp_path / "file" / "roll.png")


def test_every_program_has_a_unique_name() -> None:
    names = [program_name(program) for program in range(128)]
    assert len(set(names)) == 128
    assert (names[0], names[19], names[73]) == ("Acoustic Grand Piano", "Church Organ", "Flute")
    assert program_name(5, is_drum=True) == "Drums"
