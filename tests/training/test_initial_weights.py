"""Runs that begin with the weights of another model, which must fit."""

import math
from pathlib import Path

import pytest
import torch

from rwkv_music.cli import main
from rwkv_music.errors import InputError
from rwkv_music.model import RWKV7, ModelConfig, MusicModel, initialize, load_model, save_checkpoint
from rwkv_music.tokenizer import Tokenizer
from rwkv_music.training.initial_weights import load_initial
from rwkv_music.training.run.directory import RunDirectory

SETTINGS = Tokenizer().settings
SIZES = ModelConfig(vocab_size=Tokenizer().vocab_size, num_layers=2, dim=64)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model of the tiny preset's sizes that thinks all tokens alike."""
    made = RWKV7(SIZES)
    initialize(made, seed=5)
    with torch.no_grad():
        made.head.weight.zero_()
    return save_checkpoint(MusicModel(made, SETTINGS), tmp_path / "other.safetensors")


def test_a_run_starts_with_the_weights_of_the_model_and_resumes_without_it(
    model: Path, tunes: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    command = ["train", "--out", str(out), "--device", "cpu"]
    given = ["--corpus", str(tunes), "--preset", "tiny", "--steps", "2", "--init", str(model)]
    assert main([*command, *given]) == 0
    run = RunDirectory(out)
    assert run.metrics()[0]["loss_train"] == pytest.approx(math.log(SIZES.vocab_size), rel=1e-5)
    assert run.config()["config"]["model"]["init"] == str(model)
    model.unlink()
    run.write_status("stopped", step=2, steps=2)
    assert main([*command, "--resume"]) == 0
    assert load_model(run.path).metadata["step"] == 2


def test_a_model_that_does_not_fit_is_refused_with_the_first_difference(model: Path) -> None:
    deeper = ModelConfig(vocab_size=SIZES.vocab_size, num_layers=4, dim=192)
    with pytest.raises(
        InputError, match=r"has 2 layers, the run 4: choose `preset='tiny'`, or another"
    ):
        load_initial(str(model), deeper, SETTINGS)
    with pytest.raises(InputError, match=r"model bach has 4 layers.* 2: choose `preset='small'`"):
        load_initial("bach", SIZES, SETTINGS)
    with pytest.raises(
        InputError, match=r"has .*velocities 32.* of the corpus .*velocities 64.*prepare"
    ):
        load_initial(str(model), SIZES, {**SETTINGS, "velocities": 64})
    assert load_initial(str(model), SIZES, SETTINGS).config == SIZES
