"""Figures of continuations, by hand."""

import math

import pytest
import symusic

from rwkv_music.errors import InputError
from rwkv_music.evaluation.comparison.continuation_figures import continuation_figures, tonic
from rwkv_music.evaluation.comparison.passage import Passage, passage_of

QUARTER = 100
Notes = list[tuple[float, float, int]]


def passage(*parts: Notes, bars: int = 2, drums: Notes | None = None) -> Passage:
    """Bars of 4/4 from parts of (onset, length, pitch), in quarters."""
    score = symusic.Score(QUARTER)
    for notes in [*parts, *([drums] if drums else [])]:
        track = symusic.Track("", 0, notes is drums)
        for onset, length, pitch in notes:
            track.notes.append(
                symusic.Note(round(onset * QUARTER), round(length * QUARTER), pitch, 80)
            )
        score.tracks.append(track)
    return passage_of(score, num_bars=bars)


SCALE: Notes = [(beat, 1, pitch) for beat, pitch in enumerate((60, 62, 64, 65, 67, 69, 71, 72))]
BASS: Notes = [(0, 4, 36), (4, 4, 43)]


def figure(name: str, prompt: Passage, new: Passage) -> float:
    return continuation_figures(prompt, new)[name]


def test_notes_of_a_passage_end_with_it() -> None:
    cut = passage([(0, 100, 60), (9, 1, 61)], bars=2)
    assert cut.durations.tolist() == [8]
    assert cut.length == 8
    assert passage_of(symusic.Score(96), num_bars=3).length == 12
    with pytest.raises(InputError, match="is not a bar line"):
        passage_of(symusic.Score(96), start_tick=5, num_bars=1)


def test_figures_of_the_new_bars_by_hand() -> None:
    new = continuation_figures(passage(SCALE), passage(SCALE, BASS))
    assert new["notes_per_bar"] == 5
    assert new["polyphony"] == pytest.approx(16 / 8)
    assert new["scale_consistency"] == 1
    assert new["stepwise_melody"] == 1
    assert new["repeated_melody_notes"] == 0
    assert new["bass_changes_per_bar"] == 0.5
    assert new["longest_bass_bars"] == 1
    assert new["silence"] == 0
    assert new["repeated_bars"] == 0
    assert new["distinct_bars"] == 1


def test_the_melody_is_the_highest_note_of_each_onset() -> None:
    leaps: Notes = [(0, 1, 72), (0, 1, 71), (1, 1, 72), (2, 1, 77), (3, 1, 40), (3, 1, 79)]
    new = continuation_figures(passage(SCALE), passage(leaps))
    assert new["stepwise_melody"] == pytest.approx(1 / 3)
    assert new["repeated_melody_notes"] == pytest.approx(1 / 3)


def test_the_same_music_is_like_its_prompt() -> None:
    music = passage(SCALE, BASS, drums=[(0, 1, 36), (4, 1, 36)])
    same = continuation_figures(music, music)
    for name in ("pitch_class_cosine", "groove_cosine", "similarity_to_prompt", "drum_density"):
        assert same[name] == pytest.approx(1)
    assert same["note_length_divergence"] == pytest.approx(0, abs=1e-6)
    assert same["silent_parts"] == same["lost_bass"] == same["lost_melody"] == 0


def test_similarity_is_that_of_the_most_similar_bar() -> None:
    prompt = passage([(0, 1, 60), (1, 1, 62), (4, 1, 72), (5, 1, 69)])
    new = passage([(0, 1, 60), (1, 1, 69), (4, 1, 60)])
    # The octave does not count: the first bar is the second one of the prompt.
    assert figure("similarity_to_prompt", prompt, new) == pytest.approx((1 + 1 / 2) / 2)


def test_onsets_off_the_grid_are_neither_sixteenths_nor_triplets() -> None:
    on: Notes = [(0, 1, 60), (0.25, 1, 62), (1 / 3, 1, 64), (2 / 3, 1, 65)]
    new = passage([*on, (1.1, 1, 67), (2.45, 1, 69)])
    assert figure("onsets_off_grid", passage(SCALE), new) == pytest.approx(2 / 6)
    assert figure("pitch_class_entropy", passage(SCALE), passage([(0, 1, 60), (1, 1, 67)])) == (
        pytest.approx(math.log(2))
    )


def test_some_bars_of_a_passage_begin_at_zero() -> None:
    second = passage([(0, 8, 60), (5, 9, 61)], bars=3).take_bars(1, 2)
    assert (second.onsets.tolist(), second.durations.tolist()) == ([1], [3])
    assert second.lines.tolist() == [0, 4]


def test_silence_is_the_time_in_which_nothing_sounds() -> None:
    assert figure("silence", passage(SCALE), passage([(0, 2, 60), (1, 2, 60), (6, 1, 60)])) == 0.5
    assert figure("silence", passage(SCALE), passage(SCALE[:0])) == 1


def test_repeated_and_distinct_bars_are_counted() -> None:
    bar: Notes = [(0, 1, 60), (2, 1, 64)]
    later = [(onset + 4, length, pitch) for onset, length, pitch in bar]
    new = passage([*bar, *later, (8, 1, 65), (12, 1, 60), (14, 1, 64)], bars=4)
    assert figure("repeated_bars", passage(SCALE), new) == pytest.approx(1 / 3)
    assert figure("distinct_bars", passage(SCALE), new) == 0.5


def test_parts_bass_melody_and_drums_can_be_lost() -> None:
    prompt = passage(SCALE, BASS, drums=[(beat, 1, 36) for beat in range(8)])
    new = continuation_figures(prompt, passage([], BASS, drums=[(0, 1, 36), (4, 1, 36)]))
    assert new["lost_melody"] == 1
    assert new["lost_bass"] == 0
    assert new["silent_parts"] == pytest.approx(1 / 3)
    assert new["drum_density"] == 0.25
    high = continuation_figures(prompt, passage(SCALE))
    assert (high["lost_bass"], high["lost_melody"]) == (1, 0)


def test_what_does_not_apply_is_no_number() -> None:
    new = continuation_figures(passage(SCALE), passage(SCALE))
    assert math.isnan(new["drum_density"])
    assert math.isnan(new["lost_bass"])
    empty = continuation_figures(passage(SCALE), passage(SCALE[:0]))
    assert math.isnan(empty["polyphony"])
    assert empty["silent_parts"] == 1


def test_a_passage_is_stuck_on_a_chord_or_a_trill() -> None:
    chord: Notes = [(beat, 1, pitch) for beat in range(8) for pitch in (60, 64)]
    trill: Notes = [(eighth / 2, 0.5, 60 + eighth % 2) for eighth in range(16)]
    for notes in (chord, trill):
        assert figure("stuck", passage(SCALE), passage(notes)) == 1
        moving = [*notes[:-1], (7.5, 0.5, 80)]
        assert figure("stuck", passage(SCALE), passage(moving)) == 0
    assert figure("stuck", passage(SCALE), passage(BASS)) == 0


def test_the_last_bass_note_is_the_tonic_of_the_prompts_key() -> None:
    for root in range(12):
        moved = [
            (onset, length, pitch + root)
            for onset, length, pitch in [*SCALE, (0, 8, 48), (0, 8, 55)]
        ]
        prompt = passage(moved)
        assert tonic(prompt) == root
        ends = passage([(0, 4, 43 + root), (4, 4, 48 + root)])
        assert figure("cadence", prompt, ends) == 1
        assert figure("cadence", prompt, passage([(0, 8, 43 + root)])) == 0
