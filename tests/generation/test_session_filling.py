"""Sessions that write bars and parts of a piece anew: every node stays, and one file keeps it."""

from pathlib import Path

import pytest
import symusic

from rwkv_music.errors import InputError
from rwkv_music.generation import Constraints, Request, Session, SessionNode, fill_score
from rwkv_music.generation.streaming import BarEnd, NewNote
from rwkv_music.score import num_bars
from tests.generation.test_continuation import MODEL
from tests.generation.test_filling import band, events_outside
from tests.tokens import notes_of

BAR = 1440
ANEW = Request(bars=(3, 4), parts=["Bass"], candidates=2, seed=5)


def new_notes(node: SessionNode, track: int) -> list[tuple[int, int, int]]:
    assert node.new is not None
    return sorted((note.time, note.pitch, note.duration) for note in node.new.tracks[track].notes)


def test_a_node_gets_children_with_some_bars_of_a_part_written_anew() -> None:
    session = Session(MODEL, band())
    nodes = session.generate(ANEW)
    pieces = fill_score(MODEL, band(), bars=(3, 4), parts=["Bass"], candidates=2, seed=5)
    assert [node.parent for node in nodes] == [0, 0]
    for node, piece in zip(nodes, pieces, strict=True):
        assert notes_of(node.score) == notes_of(piece.score)
        assert (node.continuation_start, node.end) == (2 * BAR, 4 * BAR)
        assert node.settings["bars"] == [3, 4]
        assert node.settings["parts"] == ["Bass"]
    read = session.prefixes.tokens_read
    session.generate(ANEW)
    assert session.prefixes.tokens_read == read > 0


def test_any_node_can_be_written_in_whichever_is_the_current_one() -> None:
    session = Session(MODEL, band())
    first, _ = session.generate(ANEW)
    (second,) = session.generate(Request(bars=(1, 1), parts=["Lead"], candidates=1), node=first.id)
    (third,) = session.generate(Request(bars=1, candidates=1), node=second.id, bar=5)
    assert session.current.id == 0
    assert (second.parent, third.parent) == (first.id, second.id)
    assert new_notes(first, 1) == sorted(
        (note.time - 2 * BAR, note.pitch, note.duration)
        for note in second.score.tracks[1].notes
        if 2 * BAR <= note.time < 4 * BAR
    )
    assert third.continuation_start == 5 * BAR
    with pytest.raises(InputError, match="bar is 3, but bars"):
        session.generate(ANEW, bar=3)
    with pytest.raises(InputError, match="there is no node 9"):
        session.generate(ANEW, node=9)


def test_a_saved_session_knows_what_was_written_anew(tmp_path: Path) -> None:
    session = Session(MODEL, band())
    (cello,) = session.generate(Request(bars=(2, 3), parts=["cello"], candidates=1))
    session.generate(ANEW, node=cello.id)
    back = Session.load(session.save(tmp_path / "song.rwkvmusic"))
    for old, new in zip(session.nodes[1:], back.nodes[1:], strict=True):
        assert (old.parent, old.continuation_start, old.end) == (
            new.parent, new.continuation_start, new.end,
        )  # fmt: skip
        assert old.settings == new.settings
        assert old.new is not None
        assert new.new is not None
        assert notes_of(old.new) == notes_of(new.new)


def test_discarded_nodes_stay_in_the_file_and_come_back(tmp_path: Path) -> None:
    session = Session(MODEL, band())
    first, second = session.generate(ANEW)
    session.discard(first.id)
    assert [node.id for node in session.children(0)] == [second.id]
    back = Session.load(session.save(tmp_path / "song.rwkvmusic"))
    assert [node.id for node in back.children(0, discarded=True)] == [first.id]
    back.restore(first.id)
    assert [node.id for node in back.children(0)] == [first.id, second.id]
    session.keep(second.id)
    for node_id in (0, second.id):
        with pytest.raises(InputError, match="is the current one or an earlier version"):
            session.discard(node_id)


def test_a_new_instrument_accompanies_a_piece_of_many_bars() -> None:
    session = Session(MODEL, band(12))
    nodes = session.accompany(["cello"], candidates=2, seed=3)
    assert len(nodes) == 2
    for node in nodes:
        assert [track.name for track in node.score.tracks] == ["Lead", "Bass", "Kit", "Cello"]
        assert (node.continuation_start, node.end) == (0, 12 * BAR)
        onsets = [note.time for note in node.score.tracks[3].notes]
        assert min(onsets) < 8 * BAR <= max(onsets)
        assert len(new_notes(node, 3)) == len(onsets)
        assert not new_notes(node, 0)
        rest = node.score.copy()
        del rest.tracks[3]
        assert events_outside(rest, set(), 0, 0) == events_outside(band(12), set(), 0, 0)
    assert new_notes(nodes[0], 3) != new_notes(nodes[1], 3)
    (again,) = session.accompany(["cello"], candidates=1, seed=3)
    assert new_notes(again, 3) == new_notes(nodes[0], 3)


def test_bars_are_varied() -> None:
    session = Session(MODEL, band())
    (node,) = session.vary((2, 2), parts=["Lead"], candidates=1)
    assert node.settings["controls"] == {"similarity": "vary"}
    assert events_outside(node.score, {0}, BAR, 2 * BAR) == events_outside(
        band(), {0}, BAR, 2 * BAR
    )


def test_a_fill_that_is_stopped_keeps_its_complete_bars_and_can_be_gone_on_with() -> None:
    session = Session(MODEL, band())
    request = Request(bars=(2, 5), parts=["Bass"], candidates=1, seed=8)
    whole = session.generate(request)[0]
    events = session.stream(request)
    ended = next(event for event in events if isinstance(event, BarEnd))
    events.close()
    assert not list(events)
    (node,) = session.add(events.results())
    assert (ended.bars, ended.time) == (1, BAR)
    assert (node.continuation_start, node.end) == (BAR, 2 * BAR)
    first_bar = [row[:2] for row in new_notes(whole, 1) if row[0] < BAR]
    assert [row[:2] for row in new_notes(node, 1)] == first_bar
    assert events_outside(node.score, {1}, BAR, 2 * BAR) == events_outside(
        band(), {1}, BAR, 2 * BAR
    )
    (rest,) = session.generate(Request(bars=(3, 5), parts=["Bass"], candidates=1), node=node.id)
    assert rest.end == 5 * BAR


def test_a_fill_that_is_stopped_at_once_changes_nothing() -> None:
    session = Session(MODEL, band())
    events = session.stream(ANEW)
    events.close()
    for piece in events.results():
        assert (piece.num_bars, piece.new.note_num()) == (0, 0)
        assert events_outside(piece.score, set(), 0, 0) == events_outside(band(), set(), 0, 0)
    assert session.generate(ANEW, should_stop=lambda: True) == []


def test_the_streamed_notes_of_a_fill_are_those_of_the_result() -> None:
    session = Session(MODEL, band())
    request = Request(bars=(2, 4), parts=["Bass", "cello"], candidates=3, seed=2)
    streamed: dict[int, set[tuple[int, ...]]] = {}
    ends: dict[int, list[tuple[int, int]]] = {}
    events = session.stream(request)
    for event in events:
        if isinstance(event, NewNote):
            row = (event.track, event.time, event.duration, event.pitch, event.velocity)
            streamed.setdefault(event.candidate, set()).add(row)
        else:
            ends.setdefault(event.candidate, []).append((event.bars, event.time))
    pieces = events.results()
    assert len(pieces) == 3
    for piece in pieces:
        number = piece.seed - 2
        notes = {
            (track, note.time, note.duration, note.pitch, note.velocity)
            for track in range(len(piece.new.tracks))
            for note in piece.new.tracks[track].notes
        }
        assert streamed[number] == notes
        assert ends[number] == [(1, BAR), (2, 2 * BAR), (3, 3 * BAR)]


def test_parts_can_be_continued_alone() -> None:
    session = Session(MODEL, band())
    (node,) = session.generate(Request(bars=2, parts=["Bass"], candidates=1))
    assert num_bars(node.score) <= 8
    assert (node.continuation_start, node.end) == (6 * BAR, 8 * BAR)
    assert new_notes(node, 1)
    assert not new_notes(node, 0)
    assert events_outside(node.score, {1}, 6 * BAR, 8 * BAR) == events_outside(
        band(), {1}, 6 * BAR, 8 * BAR
    )


def test_the_settings_of_a_request_are_kept_in_the_node() -> None:
    limits = Constraints(scale="C major", pitch_range={1: ("C2", "C4")})
    (node,) = Session(MODEL, band()).generate(
        Request(bars=(2, 2), parts=[1], candidates=1, top_p=0.9, constraints=limits)
    )
    stated = {name: value for name, value in node.settings.items() if name != "nats"}
    assert stated == {
        "bars": [2, 2],
        "candidates": 1,
        "parts": [1],
        "top_p": 0.9,
        "constraints": {"scale": "C major", "pitch_range": {"1": ["C2", "C4"]}},
        "seed": 0,
    }


def test_empty_tracks_do_not_confuse_a_saved_session(tmp_path: Path) -> None:
    score = band()
    score.tracks.insert(0, symusic.Track("Empty", 20))
    session = Session(MODEL, score)
    (node,) = session.generate(Request(bars=(2, 2), parts=["Bass"], candidates=1))
    back = Session.load(session.save(tmp_path / "song.rwkvmusic")).nodes[1]
    assert node.new is not None
    assert back.new is not None
    assert notes_of(back.new) == notes_of(node.new)
