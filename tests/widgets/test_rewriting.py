"""Bars and parts that are selected on the roll are written anew, by the session of the engine."""

from collections.abc import Iterator

import pytest
import symusic
from rwkv_music_widgets import ContinuationSession

from rwkv_music.errors import InputError
from rwkv_music.generation import Keep
from rwkv_music.score import take_bars
from tests.generation.test_continuation import MODEL
from tests.music import BAR, tune
from tests.tokens import notes_of


def take_track(score: symusic.Score, index: int) -> list[tuple[int, int, int]]:
    return [(note.time, note.duration, note.pitch) for note in score.tracks[index].notes]


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Iterator[ContinuationSession]:
    monkeypatch.setenv("RWKV_MUSIC_SOUNDFONT", "nowhere.sf2")
    made = ContinuationSession(MODEL, tune(bars=4), prompt_bars=4)
    made.controls.num_candidates.value = 2
    made.controls.new_seed.value = False
    yield made
    made.close()


def test_the_selected_bars_and_parts_are_written_anew(session: ContinuationSession) -> None:
    session.roll.selection = [BAR + 5, 3 * BAR]
    session.roll.selected_parts = [1]
    assert "Selected: bars 2 to 3, part 1" in session.tools.rewriting.region.value
    before = session.current.score
    session.tools.rewriting.rewrite_button.click()
    session.wait()
    assert session.message == ""
    assert [node.new_bars for node in session.candidates] == [(2, 3)] * 2
    for row, node in zip(session.rows.children, session.candidates, strict=True):
        tracks = [take_track(score, 0) for score in (node.score, before)]
        assert tracks[0] == tracks[1]
        assert notes_of(take_bars(node.score, 3, 4)) == notes_of(take_bars(before, 3, 4))
        assert (row.roll.continuation_start, row.roll.new_end) == (BAR, 3 * BAR)
        assert "in bars 2 to 3" in row.title.value
    assert session.controls._code.code == (
        "session.session.fill(bars=(2, 3), parts=[1], candidates=2, temperature=1.0, top_p=0.95, "
        "seed=0)"
    )


def test_the_line_of_python_makes_the_same_candidates(session: ContinuationSession) -> None:
    session.roll.selection = [BAR, 2 * BAR]
    session.tools.rewriting.amount.value = 0.4
    made = session.fill(session.tools.rewriting.variation())
    again = eval(  # noqa: S307 - the line that is shown
        session.controls._code.code, {"session": session, "Keep": Keep}
    )
    assert [notes_of(node.score) for node in again] == [notes_of(node.score) for node in made]
    assert "keep=Keep(share=0.6)" in session.controls._code.code


def test_locked_notes_and_parts_stay(session: ContinuationSession) -> None:
    note = next(n for n in session.roll.score.tracks[1].notes if n.time >= BAR)
    session.roll.selection = [BAR, 3 * BAR]
    session.roll.locked_parts = [0]
    session.roll.locked_notes = [[1, note.time, note.pitch]]
    request = session.tools.rewriting.rewriting()
    assert request.parts == [1]
    assert request.keep == Keep(notes=[(1, note.time, note.pitch)])
    for node in session.fill(request):
        positions = [(note.time, note.pitch) for note in node.score.tracks[1].notes]
        assert (note.time, note.pitch) in positions
    session.roll.locked_parts = [0, 1]
    with pytest.raises(InputError, match="all selected parts are locked: unlock one"):
        session.tools.rewriting.rewriting()


def test_a_new_instrument_is_written_to_the_others(session: ContinuationSession) -> None:
    session.tools.rewriting.part.value = "Cello"
    session.tools.rewriting.write_button.click()
    session.wait()
    assert session.message == ""
    for node in session.candidates:
        assert [track.name for track in node.score.tracks] == ["part 0", "part 1", "Cello"]
    session.keep(0)
    assert ("Cello", 2) in session.tools.rewriting.part.options


def test_without_a_selection_the_button_says_what_to_do(session: ContinuationSession) -> None:
    session.tools.rewriting.rewrite_button.click()
    session.wait()
    assert session.message == "nothing is selected: drag over the bars to write anew"
    assert session.candidates == []
    assert not session.tools.rewriting.rewrite_button.disabled


def test_undo_returns_to_the_bars_before_the_rewriting(session: ContinuationSession) -> None:
    before = notes_of(session.current.score)
    session.roll.selection = [BAR, 2 * BAR]
    session.fill(session.tools.rewriting.new_notes())
    session.keep(1)
    assert notes_of(session.current.score) != before
    session.undo()
    assert notes_of(session.current.score) == before
    assert len(session.candidates) == 2


def test_key_and_range_hold_and_are_counted_in_the_result(session: ContinuationSession) -> None:
    wishes = session.tools.wishes
    wishes.key.value, wishes.range.value, wishes.density.value = "A major", (50, 70), 2
    session.tools.rewriting.part.value = "Cello"
    (node, _) = session.fill(session.tools.rewriting.part_request())
    pitches = {note.pitch for note in node.new.tracks[2].notes}
    assert pitches
    assert all(50 <= pitch <= 70 and pitch % 12 in {9, 11, 1, 2, 4, 6, 8} for pitch in pitches)
    assert "100% of the notes in A major" in wishes.result.value
    assert f"pitches {min(pitches)} to {max(pitches)}" in wishes.result.value
    assert session.controls._code.code.endswith(
        "constraints=Constraints(scale='A major', pitch_range={0: (50, 70), 1: (50, 70), "
        "2: (50, 70)}), controls=Controls(density=2))"
    )
    (continued, _) = session.generate()
    pitches = {note.pitch for track in continued.new.tracks for note in track.notes}
    assert all(50 <= pitch <= 70 for pitch in pitches)
    assert "constraints=Constraints(scale='A major'" in session.controls._code.code
    assert "controls" not in session.controls._code.code


def test_a_click_in_the_tree_makes_a_version_the_current_score(
    session: ContinuationSession,
) -> None:
    tree = session.tools.tree
    assert tree.nodes == []
    session.roll.selection = [BAR, 2 * BAR]
    session.fill(session.tools.rewriting.rewriting())
    assert [row[:2] for row in tree.nodes] == [[0, None], [1, 0], [2, 0]]
    assert "in bars 2 to 2, seed 1" in tree.nodes[2][2]
    tree._handle_custom_msg({"type": "go", "id": 2}, [])
    assert session.current.id == tree.current == 2
    tree._handle_custom_msg({"type": "go", "id": 0}, [])
    assert session.current.id == tree.current == 0
    assert [node.id for node in session.candidates] == [1, 2]


def test_the_next_candidate_plays_on_at_the_same_place(session: ContinuationSession) -> None:
    session.roll.selection = [BAR, 2 * BAR]
    session.fill(session.tools.rewriting.rewriting())
    first, second = session.rows.children
    first.player.play_ticks(2 * BAR, None)
    first.roll._handle_custom_msg({"type": "switch"}, [])
    assert (first.player.state, second.player.state) == ("stopped", "playing")
    assert 2 * BAR <= second.roll.playback["from_tick"] <= 3 * BAR
    second.roll._handle_custom_msg({"type": "switch"}, [])
    assert (first.player.state, second.player.state) == ("playing", "stopped")
    first.player.stop()
    session.roll._handle_custom_msg({"type": "switch"}, [])
    assert first.roll.playback["from_tick"] == BAR - BAR // 4


def test_a_candidate_under_the_pointer_is_compared_with_the_current_score(
    session: ContinuationSession,
) -> None:
    session.roll.selection = [BAR, 2 * BAR]
    session.fill(session.tools.rewriting.rewriting())
    (row, _) = session.rows.children
    row.roll._handle_custom_msg({"type": "hover", "is_over": True}, [])
    assert session.roll.other == row.roll.notes
    row.roll._handle_custom_msg({"type": "hover", "is_over": False}, [])
    assert session.roll.other == b""


def test_bars_and_parts_of_candidates_are_taken_into_the_current_score(
    session: ContinuationSession,
) -> None:
    before = session.current
    session.roll.selection = [0, 2 * BAR]
    first, second = session.fill(session.tools.rewriting.rewriting())
    rows = session.rows.children
    rows[1].take_button.click()
    assert session.message == "nothing is selected on the candidate: drag over the bars to take"
    rows[1].roll.selection, rows[1].roll.selected_parts = [BAR, 2 * BAR], [1]
    rows[1].take_button.click()
    assert session.message == ""
    made = session.current
    assert (made.parent, made.settings["combined_with"]) == (before.id, second.id)
    assert take_track(made.score, 0) == take_track(before.score, 0)
    bar_2 = [
        [row for row in take_track(node.score, 1) if BAR <= row[0] < 2 * BAR]
        for node in (made, second)
    ]
    assert bar_2[0] == bar_2[1]
    assert session.candidates == [first, second]
    rows[0].roll.selection = [0, BAR]
    rows[0].take_button.click()
    assert (session.current.parent, session.current.settings["combined_with"]) == (
        made.id, first.id,
    )  # fmt: skip
    session.undo()
    assert session.current is made


@pytest.mark.parametrize(("name", "can_fill"), [("bach", False), ("general", True)])
def test_a_model_that_can_only_continue_says_so_instead_of_rewriting(
    name: str, can_fill: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RWKV_MUSIC_SOUNDFONT", "nowhere.sf2")
    made = ContinuationSession(name, tune(bars=2), prompt_bars=2, autosave=False)
    panel = made.tools.rewriting
    made.controls.show_idle()  # a generation ends
    buttons = (panel.rewrite_button, panel.rhythm_button, panel.vary_button, panel.write_button)
    assert [button.disabled for button in buttons] == [not can_fill] * 4
    sentence = "This model can only continue. Choose general to rewrite bars."
    assert (sentence in panel.region.value) != can_fill
    made.close()
