"""The continuation session without a browser: nothing that a user made is lost or hidden."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from rwkv_music_widgets import ContinuationSession, PianoRoll, Player
from rwkv_music_widgets.messages import MessageBox
from rwkv_music_widgets.session import growing_candidates
from rwkv_music_widgets.session.autosave import have_same_notes

from rwkv_music.errors import InputError
from rwkv_music.generation import continue_score
from rwkv_music.model import load_model
from rwkv_music.score import take_bars
from tests.music import BAR, tune


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Iterator[ContinuationSession]:
    monkeypatch.setenv("RWKV_MUSIC_SOUNDFONT", "nowhere.sf2")
    made = ContinuationSession("bach", tune(bars=6), prompt_bars=2)
    made.controls.bars.value = made.controls.num_candidates.value = 1
    yield made
    made.close()


def upload(session: ContinuationSession, name: str, content: bytes) -> None:
    session.controls.upload.value = (
        {
            "name": name,
            "content": content,
            "size": len(content),
            "type": "",
            "last_modified": datetime.now(UTC),
        },
    )
    session.wait()


def test_changing_the_prompt_keeps_the_earlier_branch(session: ContinuationSession) -> None:
    made = session.generate()
    session.controls.prompt_bars.value = 3
    session.wait()
    assert session.candidates == []
    assert not session.controls.undo.disabled
    session.undo()
    assert session.candidates == made
    assert session.controls.undo.disabled


def test_every_batch_of_candidates_stays_reachable(session: ContinuationSession) -> None:
    first, second = session.generate(), session.generate()
    assert first != second
    assert session.controls.batch.options == (("batch 1 of 2", 0), ("batch 2 of 2", 1))
    assert session.controls.batch.value == 1
    session.controls.batch.value = 0
    assert session.candidates == first
    session.keep(0)
    session.undo()
    assert session.candidates == second


def test_the_prompt_is_limited_to_the_piece(session: ContinuationSession) -> None:
    assert session.controls.prompt_bars.max == 6
    session.controls.prompt_bars.value = 99
    session.wait()
    assert session.controls.prompt_bars.value == 6
    session.set_prompt(tune(bars=2))
    assert session.controls.prompt_bars.value == 2


def test_the_loaded_piece_and_model_are_named(session: ContinuationSession) -> None:
    assert session.controls.loaded.value == "<b>music from a variable</b>, 6 bars; model bach"
    session.generate()
    session.set_prompt(tune(bars=6))
    assert session.controls.loaded.value == "<b>music from a variable</b>, 6 bars; model bach"
    assert 'load_model("bach")' in session.controls._code.code
    upload(session, "<my>.mid", tune(bars=3).dumps_midi())
    assert session.controls.loaded.value == "<b>&lt;my&gt;.mid</b>, 3 bars; model bach"


def test_the_same_file_can_be_opened_twice(session: ContinuationSession) -> None:
    content = tune(bars=3, seed=1).dumps_midi()
    expected = take_bars(tune(bars=3, seed=1), 0, 2).note_num()
    for _ in range(2):
        upload(session, "song.mid", content)
        assert session.controls.upload.value == ()
        assert session.current.score.note_num() == expected
        session.set_prompt(tune(bars=6))


def test_choices_that_change_the_prompt_wait_for_the_candidates(
    session: ContinuationSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    disabled = []

    def watch(*_arguments: Any, **_settings: Any) -> None:
        controls = session.controls
        choices = (controls.example, controls.upload, controls.prompt_bars, controls.generate)
        disabled.extend(choice.disabled for choice in choices)
        raise InputError("seen")

    module = "rwkv_music_widgets.session.candidate_generator.stream"
    monkeypatch.setattr(module, watch)
    with pytest.raises(InputError, match="seen"):
        session.generate()
    assert disabled == [True] * 4
    assert not session.controls.example.disabled


def test_candidates_grow_in_their_rows_and_are_those_of_continue_score(
    session: ContinuationSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    controls = session.controls
    controls.bars.value, controls.num_candidates.value = 2, 2
    controls.new_seed.value = False
    shown: list[tuple[int, int]] = []
    monkeypatch.setattr(growing_candidates, "_SECONDS_BETWEEN_UPDATES", -1.0)

    def replace_notes(roll: PianoRoll, score: Any) -> None:
        shown.append((score.note_num(), len(roll.bars) // 4))

    monkeypatch.setattr(PianoRoll, "replace_notes", replace_notes)
    made = session.generate()
    expected = continue_score(
        load_model("bach"), session.current.score, bars=2, candidates=2, temperature=1.0,
        top_p=0.95, seed=controls.seed.value,
    )  # fmt: skip
    for node, piece in zip(made, expected, strict=True):
        assert have_same_notes(node.score, piece.score)
    assert [node.settings["nats"] for node in made] == [round(p.nats, 4) for p in expected]
    num_new = sum(piece.new.note_num() for piece in expected)
    assert len(shown) == num_new
    # Room for all bars is there from the first note on: 2 of the prompt, 2 new, and their end.
    assert {lines for _notes, lines in shown} == {5}
    assert [row.node for row in session.rows.children] == made


def test_an_unexpected_error_is_shown_with_its_traceback(
    session: ContinuationSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: Any, **_settings: Any) -> None:
        raise ZeroDivisionError("<b>oops</b>")

    module = "rwkv_music_widgets.session.candidate_generator.stream"
    monkeypatch.setattr(module, fail)
    session.controls.generate.click()
    session.wait()
    assert session.message == "unexpected error: ZeroDivisionError('<b>oops</b>')"
    assert "<summary>Traceback" in session.message_box.value
    assert "&lt;b&gt;oops" in session.message_box.value
    assert "<b>oops" not in session.message_box.value


def test_one_player_plays_at_a_time(session: ContinuationSession) -> None:
    other = Player(PianoRoll(tune(bars=2)))
    session.player.play_button.click()
    assert session.player.state == "playing"
    other.play_button.click()
    assert (session.player.state, other.state) == ("stopped", "playing")
    assert session.roll.playback["state"] == "stopped"
    session.player.play_button.click()
    assert (session.player.state, other.state) == ("playing", "stopped")


def test_a_player_is_stopped_when_the_playhead_reaches_the_end(
    session: ContinuationSession,
) -> None:
    player, roll = session.player, session.roll
    player.play_button.click()
    ended = roll.playback["count"]
    player.play_button.click()
    roll.ended_playback = ended  # a view that is late tells the end of the first playback
    assert player.state == "playing"
    roll.ended_playback = roll.playback["count"]
    assert player.state == "stopped"


def test_the_space_bar_plays_pauses_and_resumes(session: ContinuationSession) -> None:
    states = []
    for _ in range(3):
        session.roll._handle_custom_msg({"type": "toggle playback"}, [])
        states.append(session.player.state)
    assert states == ["playing", "paused", "playing"]


def test_silence_at_the_beginning_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RWKV_MUSIC_SOUNDFONT", "nowhere.sf2")
    score = tune(bars=2)
    roll = PianoRoll(score.shift_time(3 * BAR))
    player = Player(roll)
    player.play_button.click()
    assert roll.playback["from_tick"] == 3 * BAR
    player.stop()


def test_a_message_is_escaped_and_announced() -> None:
    box = MessageBox()
    box.show_error("<i>no</i>")
    assert box.text == "<i>no</i>"
    assert 'role="alert"' in box.value
    assert "&lt;i&gt;no&lt;/i&gt;" in box.value
    box.clear()
    assert (box.text, box.value) == ("", "")
