"""Repeats, endings and jumps are played on request."""

import pytest

from rwkv_music.errors import InputError
from rwkv_music.score.notation.playing_order import MeasureMarks, has_repeats, playing_order
from tests.score.musicxml_documents import document, notes, pitch, read, rest, tie

PLAIN = MeasureMarks


def played(*marks: MeasureMarks) -> str:
    """The order as letters, A for the first measure."""
    return "".join("ABCDEFGHIJ"[index] for index in playing_order(marks))


def test_a_section_is_repeated_as_often_as_it_says() -> None:
    assert played(PLAIN(), PLAIN(repeat_times=2), PLAIN()) == "ABABC"
    assert played(PLAIN(), PLAIN(starts_repeat=True), PLAIN(repeat_times=3)) == "ABCBCBC"


def test_sections_without_a_beginning_start_behind_the_last_repeat() -> None:
    assert played(PLAIN(repeat_times=2), PLAIN(), PLAIN(repeat_times=2)) == "AABCBC"


def test_endings_are_played_in_their_passes() -> None:
    first = PLAIN(ending=(1,), stops_ending=True, repeat_times=2)
    second = PLAIN(ending=(2,), stops_ending=True)
    assert played(PLAIN(), first, second, PLAIN()) == "ABACD"
    both = PLAIN(ending=(1, 2), stops_ending=True, repeat_times=2)
    third = PLAIN(ending=(3,), stops_ending=True)
    assert played(PLAIN(), both, third) == "ABABAC"


def test_endings_of_several_measures_are_skipped_whole() -> None:
    assert (
        played(
            PLAIN(), PLAIN(ending=(1,)), PLAIN(stops_ending=True, repeat_times=2),
            PLAIN(ending=(2,)), PLAIN(stops_ending=True), PLAIN(starts_repeat=True, repeat_times=2),
        ) == "ABCADEFF"
    )  # fmt: skip


def test_two_sections_have_endings_of_their_own() -> None:
    first = PLAIN(ending=(1,), stops_ending=True, repeat_times=2)
    second = PLAIN(ending=(2,), stops_ending=True)
    assert played(PLAIN(), first, second, PLAIN(starts_repeat=True), first, second) == "ABACDEDF"


def test_da_capo_al_fine_plays_no_repeats_again() -> None:
    assert played(PLAIN(repeat_times=2), PLAIN(fine=True), PLAIN(da_capo=True)) == "AABCAB"


def test_dal_segno_al_coda_jumps_twice() -> None:
    marks = [PLAIN(), PLAIN(segno="s"), PLAIN(to_coda="c"), PLAIN(dal_segno="s"), PLAIN(coda="c")]
    assert played(*marks) == "ABCDBCE"


def test_after_a_jump_the_last_ending_is_played() -> None:
    first = PLAIN(ending=(1,), stops_ending=True, repeat_times=2)
    second = PLAIN(ending=(2,), stops_ending=True, fine=True)
    assert played(PLAIN(), first, second, PLAIN(da_capo=True)) == "ABACDAC"


def test_a_piece_without_marks_has_no_repeats() -> None:
    assert not has_repeats([PLAIN(), PLAIN(starts_repeat=True)])
    assert has_repeats([PLAIN(da_capo=True)])


def test_endless_repeats_are_refused() -> None:
    with pytest.raises(InputError, match="make more than 100000 measures"):
        playing_order([PLAIN(), PLAIN(repeat_times=999_999)])


BACKWARD = '<barline location="right"><repeat direction="backward"/></barline>'


def ending(number: str, kind: str, inside: str = "") -> str:
    return f'<barline><ending number="{number}" type="{kind}"/>{inside}</barline>'


def test_musicxml_is_unfolded_on_request() -> None:
    text = document(
        pitch("C4", 16),
        ending("1", "start") + pitch("D4", 16)
        + ending("1", "stop", '<repeat direction="backward"/>'),
        ending("2", "start") + pitch("E4", 16) + ending("2", "discontinue"),
    )  # fmt: skip
    written, unfolded = read(text), read(text, unfold_repeats=True)
    assert [note[2] for note in notes(written.score)] == [60, 62, 64]
    assert [note[2] for note in notes(unfolded.score)] == [60, 62, 60, 64]
    assert (written.has_repeats, unfolded.has_repeats) == (True, False)
    assert (written.notes_in_source, unfolded.notes_in_source) == (3, None)


@pytest.mark.parametrize(
    "jump",
    ['<sound dacapo="yes"/>', "<direction><direction-type><words>D.C. al Fine</words>"
     "</direction-type></direction>"],
)  # fmt: skip
def test_jumps_are_read_from_sounds_and_from_words(jump: str) -> None:
    text = document(pitch("C4", 16) + '<sound fine="yes"/>', pitch("D4", 16) + jump)
    assert [note[2] for note in notes(read(text, unfold_repeats=True).score)] == [60, 62, 60]


def test_signatures_keys_and_tempos_are_restated_after_a_jump() -> None:
    change = (
        "<attributes><key><fifths>2</fifths></key><time><beats>3</beats><beat-type>4</beat-type>"
        '</time></attributes><sound tempo="60"/>'
    )
    text = document(
        '<sound tempo="90"/>' + pitch("C4", 16),
        pitch("D4", 16),
        change + pitch("E4", 12) + '<sound dacapo="yes"/>',
        attributes="<key><fifths>0</fifths></key>",
    )
    score = read(text, unfold_repeats=True).score
    quarter = score.ticks_per_quarter
    assert [(s.time / quarter, s.numerator) for s in score.time_signatures] == [
        (0, 4), (8, 3), (11, 4), (19, 3),
    ]  # fmt: skip
    assert [(k.time / quarter, k.key) for k in score.key_signatures] == [
        (0, 0), (8, 2), (11, 0), (19, 2),
    ]  # fmt: skip
    assert [(t.time / quarter, round(t.qpm)) for t in score.tempos] == [
        (0, 90), (8, 60), (11, 90), (19, 60),
    ]  # fmt: skip


def test_ties_follow_the_playing_order() -> None:
    text = document(
        pitch("C4", 16, tie("start")),
        ending("1", "start") + pitch("C4", 16, tie("stop"))
        + ending("1", "stop", '<repeat direction="backward"/>'),
        ending("2", "start") + pitch("C4", 8, tie("stop")) + rest(8) + ending("2", "stop"),
    )  # fmt: skip
    assert notes(read(text, unfold_repeats=True).score) == [(0, 8, 60), (8, 6, 60)]
