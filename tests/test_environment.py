"""A variable set for a while leaves no trace."""

import contextlib
import os

import pytest

from rwkv_music.environment import temporary_env_var

NAME = "RWKV_MUSIC_OF_THE_TESTS"


@pytest.mark.parametrize("before", [None, "", "old"])
def test_a_variable_says_afterwards_what_it_said_before(
    before: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if before is not None:
        monkeypatch.setenv(NAME, before)
    with contextlib.suppress(KeyError), temporary_env_var(NAME, "new"):
        assert os.environ[NAME] == "new"
        raise KeyError("an accident")
    assert os.environ.get(NAME) == before
