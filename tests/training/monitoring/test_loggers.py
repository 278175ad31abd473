"""What Weights & Biases is told, by a module of its name that writes down each call."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from accelerate.state import PartialState

from rwkv_music.errors import TrainingFailedError
from rwkv_music.training import Callbacks, train
from rwkv_music.training.run.control import STOP
from rwkv_music.training.run.directory import RunDirectory
from tests.training.conftest import NewConfig

FAKE = """
calls = []

class Run:
    def log(self, values, step):
        calls.append(("log", step, values))

    def finish(self):
        calls.append(("finish",))

def init(**settings):
    calls.append(("init", settings))
    return Run()
"""


@pytest.fixture
def wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module in place of the real one, whether that is installed or not."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "wandb.py").write_text(FAKE, encoding="utf-8")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    yield importlib.import_module("wandb")
    sys.modules.pop("wandb", None)
    PartialState._reset_state()


def numbers(line: dict[str, Any], before: str = "") -> dict[str, float]:
    """The numbers of a line of metrics.jsonl, as W&B gets them."""
    actual: dict[str, float] = {}
    for name, value in line.items():
        if isinstance(value, dict):
            actual |= numbers(value, f"{before}{name}/")
        elif isinstance(value, int | float) and name != "step":
            actual[before + name] = value
    return actual


def test_wandb_receives_every_number_and_the_end_of_the_run(
    wandb: ModuleType, new_config: NewConfig
) -> None:
    config = new_config("my run", logger="wandb", steps=6, evaluate_every=3)
    run = train(config)
    (began, settings), *told, ended = wandb.calls
    assert (began, ended) == ("init", ("finish",))
    assert (settings["project"], settings["name"]) == ("rwkv-music", "my run")
    assert (settings["dir"], settings["config"]) == (str(run.path), config.to_dict())
    assert told == [("log", line["step"], numbers(line)) for line in run.metrics()]
    step, look = told[2][2], told[3][2]
    assert {"loss_train", "learning_rate", "tokens_per_second", "loss_by_type/PITCH"} <= step.keys()
    assert {"loss_valid", "nats_per_note_valid", "loss_by_type_valid/PITCH"} <= look.keys()


def test_a_resumed_run_is_the_same_run_at_wandb(wandb: ModuleType, new_config: NewConfig) -> None:
    config = new_config(logger="wandb", steps=6, evaluate_every=6)
    control = RunDirectory(config.out_path).control

    def stop_at_four(report: Any) -> None:
        if report.step == 4:
            control.ask(STOP)

    train(config, callbacks=Callbacks(on_step=stop_at_four))
    train(config, resume=True)
    train(new_config("other", logger="wandb", steps=5, evaluate_every=5))
    first, second, other = (call[1] for call in wandb.calls if call[0] == "init")
    assert first["id"] == second["id"] != other["id"]
    assert first["resume"] == "allow"
    steps = [call[1] for call in wandb.calls if call[0] == "log"][:7]
    assert steps == [1, 2, 3, 4, 5, 6, 6]
    assert [call[0] for call in wandb.calls].count("finish") == 3


def test_wandb_receives_the_end_of_a_run_that_fails(
    wandb: ModuleType, new_config: NewConfig
) -> None:
    def fail(_: object) -> None:
        raise MemoryError

    with pytest.raises(TrainingFailedError, match="out of memory"):
        train(new_config(logger="wandb"), callbacks=Callbacks(on_step=fail))
    assert wandb.calls[-1] == ("finish",)
