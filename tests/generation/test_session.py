"""The tree of a session: nodes stay, files are never overwritten."""

import json
from pathlib import Path

import numpy as np
import pytest

from rwkv_music.errors import InputError
from rwkv_music.generation import Continuation, Session
from rwkv_music.generation.session import unused_path
from rwkv_music.score import load_score, splice
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
    session = Session(tune(bars=2))
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
