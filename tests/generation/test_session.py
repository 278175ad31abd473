"""The tree of a session: nodes stay, files are never overwritten."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rwkv_music.errors import InputError
from rwkv_music.generation import Continuation, Keep, Request, Session, continue_score
from rwkv_music.generation.prompts.prompt import Prompt
from rwkv_music.generation.sampling.prefix_cache import PrefixCache
from rwkv_music.generation.session.session_tree import unused_path
from rwkv_music.score import load_score, splice, take_bars
from tests.damaged_zip import of_later_version, with_unknown_compression
from tests.generation.test_continuation import MODEL, TOKENIZER
from tests.music import BAR, tune
from tests.tokens import notes_of


def continuation(seed: int) -> Continuation:
    new = tune(bars=1, seed=seed)
    return Continuation(
        score=splice(tune(bars=2), new, 2 * BAR),
        new=new,
        continuation_start=2 * BAR,
        nats=1.5,
        tokens=np.zeros(1, dtype=np.uint16),
        seed=seed,
    )


def continued_session() -> Session:
    session = Session(None, tune(bars=2))
    session.add([continuation(1), continuation(2)], bars=1)
    return session


def test_adding_keeps_the_current_prompt_and_keep_changes_it() -> None:
    session = continued_session()
    assert session.current.id == 0
    assert [node.settings["seed"] for node in session.children(0)] == [1, 2]
    kept = session.keep(2)
    assert session.current is kept
    assert kept.settings == {"bars": 1, "seed": 2, "nats": 1.5}


def test_undo_moves_to_the_parent_and_keeps_every_node() -> None:
    session = continued_session()
    session.keep(1)
    session.add([continuation(3)])
    assert session.undo().id == 0
    assert session.undo().id == 0
    assert [node.parent for node in session.nodes] == [None, 0, 0, 1]
    assert session.keep(3).parent == 1


def test_a_missing_node_is_refused() -> None:
    with pytest.raises(InputError, match="there is no node 9: choose one of 0 to 2"):
        continued_session().keep(9)


def test_export_never_overwrites(tmp_path: Path) -> None:
    session = continued_session()
    with pytest.raises(InputError, match="there are no new bars to export: generate"):
        session.export(tmp_path / "x.mid", part="new")
    session.keep(1)
    paths = [session.export(tmp_path / "x.mid") for _ in range(3)]
    assert [path.name for path in paths] == ["x.mid", "x-2.mid", "x-3.mid"]
    assert notes_of(load_score(paths[2])) == notes_of(session.current.score)
    new = session.export(tmp_path / "x.mid", part="new")
    assert session.current.new is not None
    assert notes_of(load_score(new)) == notes_of(session.current.new)
    assert unused_path(tmp_path / "y.mid") == tmp_path / "y.mid"


def test_a_saved_session_loads_unchanged(tmp_path: Path) -> None:
    session = continued_session()
    session.keep(2)
    back = Session.load(session.save(tmp_path / "session"))
    assert back.current.id == 2
    for old, new in zip(session.nodes, back.nodes, strict=True):
        assert (old.parent, old.continuation_start, old.settings) == (
            new.parent, new.continuation_start, new.settings,
        )  # fmt: skip
        assert notes_of(old.score) == notes_of(new.score)
    assert back.nodes[1].new is not None
    assert session.nodes[1].new is not None
    assert notes_of(back.nodes[1].new) == notes_of(session.nodes[1].new)
    with pytest.raises(InputError, match="holds no session"):
        Session.load(tmp_path)


def test_a_session_of_version_0_1_0_still_loads(tmp_path: Path) -> None:
    folder = continued_session().save(tmp_path / "session")
    stored = json.loads((folder / "session.json").read_text(encoding="utf-8"))
    for row in stored["nodes"]:
        row["seam"] = row.pop("continuation_start")
    (folder / "session.json").write_text(json.dumps(stored), encoding="utf-8")
    assert Session.load(folder).nodes[1].continuation_start == 2 * BAR


def test_a_session_is_one_zip_file_of_json_and_midi(tmp_path: Path) -> None:
    session = continued_session()
    path = session.save(tmp_path / "song.rwkvmusic")
    with zipfile.ZipFile(path) as archive:
        assert set(archive.namelist()) == {f"node-{i}.mid" for i in range(3)} | {"session.json"}
        head = json.loads(archive.read("session.json"))
    assert (head["format"], head["version"], head["current"]) == ("rwkvmusic", 1, 0)
    back = Session.load(path)
    assert [node.settings for node in back.nodes] == [node.settings for node in session.nodes]
    assert notes_of(back.nodes[2].score) == notes_of(session.nodes[2].score)


@pytest.mark.parametrize("change", [with_unknown_compression, of_later_version])
def test_a_session_that_zipfile_does_not_implement_is_refused(
    change: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    path = Session(None, tune(bars=2)).save(tmp_path / "song.rwkvmusic")
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(InputError, match="not a complete zip file"):
        Session.load(path)


def test_a_session_with_a_changed_byte_loads_or_is_refused(tmp_path: Path) -> None:
    path = Session(None, tune(bars=2)).save(tmp_path / "song.rwkvmusic")
    content = path.read_bytes()
    refused = 0
    for position in range(0, len(content), 3):
        changed = bytearray(content)
        changed[position] ^= 0x5A
        path.write_bytes(changed)
        try:
            Session.load(path)
        except InputError:
            refused += 1
    assert refused > len(content) / 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda head: head.update(version=2), "has version 2, this program reads up to 1"),
        (lambda head: head.pop("nodes"), "is damaged: session.json cannot be read"),
        (lambda head: head["nodes"].append(head["nodes"][0]), "node-3.mid is missing"),
        (lambda head: head.update(current=9), "the current node is missing"),
    ],
)
def test_a_damaged_or_newer_session_is_refused(
    change: Callable[[dict[str, Any]], object], message: str, tmp_path: Path
) -> None:
    folder = continued_session().save(tmp_path / "session")
    head = json.loads((folder / "session.json").read_text())
    change(head)
    (folder / "session.json").write_text(json.dumps(head))
    with pytest.raises(InputError, match=message):
        Session.load(folder)


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    path = continued_session().save(tmp_path / "song.rwkvmusic")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match="not a complete zip file"):
        Session.load(path)


def test_every_change_is_saved_if_asked_to(tmp_path: Path) -> None:
    session = continued_session()
    session.autosave = tmp_path / "song.rwkvmusic"
    session.keep(2)
    assert Session.load(session.autosave).current.id == 2
    session.undo()
    assert Session.load(session.autosave).current.id == 0
    session.redo()
    assert Session.load(session.autosave).current.id == 2


def test_redo_returns_to_the_node_that_undo_left() -> None:
    session = continued_session()
    session.keep(1)
    session.undo()
    assert session.redo().id == 1
    assert session.redo().id == 1
    session.undo()
    session.keep(2)
    assert session.redo().id == 2


def test_bars_and_parts_can_be_taken_from_another_candidate() -> None:
    session = continued_session()
    session.keep(1)
    one, two = (session.nodes[node_id].score for node_id in (1, 2))
    node = session.combine(2, bars=(3, 3), parts=["part 1"])
    assert (node.parent, session.current.id) == (1, 1)
    assert notes_of(take_bars(node.score, 0, 2)) == notes_of(take_bars(one, 0, 2))
    for index, source in ((0, one), (1, two)):
        taken, expected = (
            [(note.time, note.pitch) for note in score.tracks[index].notes]
            for score in (node.score, source)
        )
        assert taken == expected
    assert session.compare(1, 1) == [1.0, 1.0, 1.0]
    shares = session.compare(1, 2)
    assert shares[:2] == [1.0, 1.0]
    assert shares[2] < 1
    with pytest.raises(InputError, match="bars 3 to 4 are not in this score of 3 bars"):
        session.combine(2, bars=(3, 4))
    with pytest.raises(InputError, match="there is no part 'Oboe'"):
        session.combine(2, bars=(3, 3), parts=["Oboe"])


def test_generating_again_reads_nothing_and_branching_only_what_is_new() -> None:
    session = Session(MODEL, tune(bars=30))
    request = Request(bars=2, candidates=2, seed=3)
    first = session.generate(request)
    tokens_read = session.prefixes.tokens_read
    again = session.generate(request)
    assert session.prefixes.tokens_read == tokens_read > 500
    expected = continue_score(MODEL, tune(bars=30), bars=2, candidates=2, seed=3)
    for one, other, piece in zip(first, again, expected, strict=True):
        assert notes_of(one.score) == notes_of(other.score) == notes_of(piece.score)
    session.keep(first[0].id)
    session.generate(request)
    # The last notes of a candidate may be shortened at its end, so that its last bar is read again.
    assert session.prefixes.tokens_read - tokens_read < 300
    session.generate(request, bar=25)
    assert session.prefixes.tokens_read - tokens_read < 900
    with pytest.raises(InputError, match=r"bar must be in \[1, 32\], got 33"):
        session.generate(request, bar=33)
    with pytest.raises(InputError, match="the session has no model"):
        Session(None, tune(bars=1)).generate()


def test_states_beyond_the_memory_allowed_are_read_from_disk() -> None:
    prompt = Prompt(tune(bars=60), TOKENIZER)
    decoder = MODEL.decoder("float32")
    small, large = PrefixCache(max_bytes=1), PrefixCache()
    for cache in (small, large):
        cache.read(decoder, prompt.ids, prompt.grammar)
    assert len(small) == len(large) > 1
    shorter = Prompt(tune(bars=60), TOKENIZER)
    length = 0
    for cache in (small, large):
        cache.tokens_read = 0
        actual = cache.read(decoder, shorter.ids, shorter.grammar)
        length += len(actual.logits)
        assert cache.tokens_read == 0
    early = take_bars(tune(bars=60), 0, 45)
    given = Prompt(early, TOKENIZER)
    results = [cache.read(decoder, given.ids, given.grammar) for cache in (small, large)]
    assert small.tokens_read == large.tokens_read < len(given.ids)
    np.testing.assert_array_equal(results[0].logits, results[1].logits)
    assert torch.equal(results[0].state.wkv, results[1].state.wkv)


def test_filled_bars_become_children_and_are_known_after_loading(tmp_path: Path) -> None:
    session = Session(MODEL, tune(bars=4))
    made = session.fill(bars=(2, 3), parts=[1], candidates=2, seed=3, keep=Keep(rhythm=True))
    assert [(node.parent, node.new_bars, node.settings["seed"]) for node in made] == [
        (0, (2, 3), 3), (0, (2, 3), 4),
    ]  # fmt: skip
    assert notes_of(take_bars(made[0].score, 3, 4)) == notes_of(take_bars(tune(bars=4), 3, 4))
    back = Session.load(session.save(tmp_path / "filled.rwkvmusic"))
    assert back.nodes[1].new_bars == (2, 3)
    assert back.nodes[1].new is not None
    assert made[0].new is not None
    assert notes_of(back.nodes[1].new) == notes_of(made[0].new)
    with pytest.raises(InputError, match="the session has no model"):
        Session(None, tune(bars=4)).fill(bars=(2, 3))
