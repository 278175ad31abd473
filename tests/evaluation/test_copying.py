"""The longest shared run, by hand."""

import symusic

from rwkv_music.evaluation.copying import CopyIndex
from rwkv_music.score import transpose
from tests.music import tune


def line(*pitches: int, step: int = 96) -> symusic.Score:
    score = symusic.Score(96)
    track = symusic.Track("", 0, False)
    for index, pitch in enumerate(pitches):
        track.notes.append(symusic.Note(index * step, step, pitch, 80))
    score.tracks.append(track)
    return score


def test_a_run_is_counted_in_notes_whatever_its_key() -> None:
    index = CopyIndex([line(60, 62, 64, 65, 67, 60)])
    assert index.longest_shared_run(line(70, 72, 74, 75, 70)) == 4
    assert index.longest_shared_run(line(50, 53, 40)) == 0


def test_another_rhythm_is_no_copy() -> None:
    index = CopyIndex([line(60, 62, 64, 65)])
    assert index.longest_shared_run(line(60, 62, 64, 65, step=48)) == 0


def test_a_whole_piece_is_found_in_itself() -> None:
    score = tune(bars=6, parts=1)
    index = CopyIndex([tune(bars=6, seed=9), transpose(score, 3)])
    assert index.longest_shared_run(score) == score.note_num()


def test_only_notes_from_the_seam_count() -> None:
    score = line(60, 62, 64, 65, 90, 40, 90)
    index = CopyIndex([line(60, 62, 64, 65)])
    assert index.longest_shared_run(score, start_tick=4 * 96) == 0


def test_of_a_chord_the_highest_note_counts() -> None:
    score = line(60, 62, 64)
    score.tracks[0].notes.append(symusic.Note(96, 96, 50, 80))
    assert CopyIndex([line(60, 62, 64)]).longest_shared_run(score) == 3
