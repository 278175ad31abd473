"""Prompts that a shipped model does not know."""

import numpy as np
import pytest
import symusic

from rwkv_music.evaluation.familiarity import held_out_limit, prompt_nats
from rwkv_music.model import load_model
from rwkv_music.score import load_score
from tests.conftest import REPOSITORY


def noise(notes: int = 200) -> symusic.Score:
    rng = np.random.default_rng(0)
    score = symusic.Score(480)
    track = symusic.Track("noise", 90)
    for _ in range(notes):
        onset, pitch = int(rng.integers(0, 15000)), int(rng.integers(0, 128))
        track.notes.append(symusic.Note(onset, int(rng.integers(20, 900)), pitch, 60))
    score.tracks.append(track)
    return score


@pytest.mark.parametrize("name", ["general", "pop"])
def test_noise_is_beyond_the_held_out_range_and_a_pop_prompt_is_not(name: str) -> None:
    model, limit = load_model(name), held_out_limit(name)
    assert limit is not None
    unknown = prompt_nats(model, noise())
    known = prompt_nats(model, load_score(REPOSITORY / "rwkv_music" / "prompts" / "ballad.mid"))
    assert unknown is not None
    assert known is not None
    assert known < limit < unknown


def test_pop_is_beyond_the_range_of_the_chorales() -> None:
    limit = held_out_limit("bach")
    nats = prompt_nats(
        load_model("bach"), load_score(REPOSITORY / "rwkv_music" / "prompts" / "ballad.mid")
    )
    assert limit is not None
    assert nats is not None
    assert nats > 2 * limit


def test_models_of_ones_own_and_short_prompts_say_nothing() -> None:
    assert held_out_limit("runs/mine") is None
    assert held_out_limit("mine") is None
    assert prompt_nats(load_model("general"), noise(5)) is None
