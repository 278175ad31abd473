"""A variable set for a while leaves no trace."""

import contextlib
import os

import pytest

from rwkv_music.environment import variable_set

NAME = "RWKV_MUSIC_OF_THE_TESTS"


@pytest.mark.parametrize("before", [None, "", "old"])
def test_a_variable_says_afterwards_what_it_said_before(
    before: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if before is not None:
        monkeypatch.setenv(NAME, before)
    with contextlib.suppress(KeyError), variable_set(NAME, "new"):
        assert os.environ[NAME] == "new"
        raise KeyError("an accident")
    assert os.environ.get(NAME) == before
