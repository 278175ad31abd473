"""The built-in prompts."""

import pytest

from rwkv_music.data import load_prompt, prompt_names
from rwkv_music.errors import InputError

SONGS = ["ballad", "lantern", "lullaby", "night drive", "skipping"]


def test_prompts_that_suit_the_model_come_first() -> None:
    assert prompt_names()[:5] == SONGS
    assert prompt_names("bach")[-5:] == SONGS
    assert prompt_names("bach")[0].startswith("bwv")
    assert sorted(prompt_names("pop")) == sorted(prompt_names("runs/mine"))


@pytest.mark.parametrize("name", SONGS)
def test_a_song_has_three_parts(name: str) -> None:
    score = load_prompt(name)
    assert [track.name for track in score.tracks] == ["MELODY", "BRIDGE", "PIANO"]
    assert all(len(track.notes) for track in score.tracks)


def test_an_unknown_prompt_is_refused() -> None:
    with pytest.raises(InputError, match="there is no Bach chorale 'yesterday'"):
        load_prompt("yesterday")
