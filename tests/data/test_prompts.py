"""The beginnings that come with the models."""

import pytest

from rwkv_music.data import load_prompt, prompt_names
from rwkv_music.errors import InputError

SONGS = ["ballad", "lantern", "lullaby", "night drive", "skipping"]


def test_each_model_is_offered_first_what_suits_it() -> None:
    assert prompt_names("pop")[:5] == SONGS
    assert prompt_names()[-5:] == SONGS
    assert prompt_names()[0].startswith("bwv")
    assert sorted(prompt_names("pop")) == sorted(prompt_names("runs/mine"))


@pytest.mark.parametrize("name", SONGS)
def test_a_song_has_the_three_parts_of_piano_pop(name: str) -> None:
    score = load_prompt(name)
    assert [track.name for track in score.tracks] == ["MELODY", "BRIDGE", "PIANO"]
    assert all(len(track.notes) for track in score.tracks)


def test_a_name_that_there_is_not_is_refused() -> None:
    with pytest.raises(InputError, match="there is no Bach chorale 'yesterday'"):
        load_prompt("yesterday")
