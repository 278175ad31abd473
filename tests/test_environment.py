"""Temporary environment variables are restored."""

import contextlib
import os

import pytest

from rwkv_music.environment import temporary_env_var

NAME = "RWKV_MUSIC_TEST_VARIABLE"


@pytest.mark.parametrize("before", [None, "", "old"])
def test_a_variable_has_its_earlier_value_after_the_block(
    before: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if before is not None:
        monkeypatch.setenv(NAME, before)
    with contextlib.suppress(KeyError), temporary_env_var(NAME, "new"):
        assert os.environ[NAME] == "new"
        raise KeyError("an error inside the block")
    assert os.environ.get(NAME) == before
