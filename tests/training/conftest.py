"""A folder of tunes to train on, and settings for runs of seconds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rwkv_music.score import save_score
from rwkv_music.training import TrainingConfig
from tests.music import tune

NewConfig = Callable[..., TrainingConfig]


@pytest.fixture(scope="session")
def tunes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tunes over one scale pattern, so that there is something to learn."""
    folder = tmp_path_factory.mktemp("tunes")
    for seed in range(12):
        save_score(tune(bars=6, seed=seed), folder / f"tune-{seed}.mid")
    return folder


@pytest.fixture
def new_config(tunes: Path, tmp_path: Path) -> NewConfig:
    """Settings of a run over the tunes in a folder of this test's own, "run" unless named."""

    def new(name: str = "run", **settings: Any) -> TrainingConfig:
        given = {
            "corpus": str(tunes), "out": str(tmp_path / name), "device": "cpu", "seed": 1,
            "steps": 12, "evaluate_every": 6, "sample_prompts": 0,
        }  # fmt: skip
        return TrainingConfig.preset("tiny", **{**given, **settings})

    return new
