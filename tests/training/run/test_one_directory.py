"""However a run is started, it fills the same directory, which its page describes."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rwkv_music.cli import main
from rwkv_music.training import attach, start_training, train
from rwkv_music.training.run.directory import RunDirectory
from tests.training.conftest import NewConfig
from tests.training.curves import curve

SECONDS_AT_MOST = 240
PAGE = Path(__file__).resolve().parents[3] / "docs" / "training.md"
SETTINGS = {"steps": 6, "evaluate_every": 3, "warmup_steps": 4, "sample_prompts": 2}
STARTER = """
import json, sys, time
from rwkv_music import TrainingConfig, start_training
start_training(TrainingConfig.from_dict(json.loads(sys.argv[1])))
print("started", flush=True)
time.sleep(1000)
"""


def files(run: RunDirectory) -> list[str]:
    """Names in a run directory."""
    return sorted(path.relative_to(run.path).as_posix() for path in run.path.rglob("*"))


def keys(table: str) -> set[str]:
    """The names in the first column of a Markdown table."""
    cells = re.findall(r"^\| (.*?) \|", table, flags=re.MULTILINE)
    return set(re.findall(r"`(\w+)`", " ".join(cells)))


def test_the_command_a_call_and_a_process_leave_the_same_directory(
    new_config: NewConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    called = train(new_config("called", **SETTINGS))
    started = start_training(new_config("started", **SETTINGS))
    typed = new_config("typed", **SETTINGS)
    options = {
        "corpus": typed.data.corpus, "out": typed.run.out, "preset": "tiny", "device": "cpu",
        "seed": 1, "steps": 6, "evaluate-every": 3,
    }  # fmt: skip
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    assert main(["train", *words]) == 0
    assert "finished after step 6" in capsys.readouterr().out
    started.wait(SECONDS_AT_MOST)
    for run in (started.directory, RunDirectory(typed.out_path)):
        assert files(run) == files(called)
        assert curve(run) == curve(called)
        assert run.config().keys() == called.config().keys()
        assert run.status().keys() == called.status().keys()


def test_the_documentation_lists_exactly_the_keys_of_the_metrics(new_config: NewConfig) -> None:
    lines = train(new_config(**SETTINGS)).metrics()
    _, steps, looks = PAGE.read_text(encoding="utf-8").split("\n| key | meaning |\n")
    looks = looks.partition("\n## ")[0]
    written: dict[str, set[str]] = {kind: set() for kind in ("loss_train", "loss_valid")}
    for line in lines:
        (kind,) = written.keys() & line.keys()
        written[kind] |= line.keys()
    assert keys(steps) == written["loss_train"]
    assert keys(looks) == written["loss_valid"]


@pytest.mark.skipif(os.name == "nt", reason="Windows knows no process groups to kill")
def test_a_run_outlives_the_kernel_that_started_it(new_config: NewConfig) -> None:
    config = new_config(**SETTINGS)
    with subprocess.Popen(
        [sys.executable, "-c", STARTER, json.dumps(config.to_dict())],
        stdout=subprocess.PIPE, text=True, start_new_session=True,
    ) as kernel:  # fmt: skip
        assert kernel.stdout is not None
        assert kernel.stdout.readline() == "started\n"
        os.killpg(kernel.pid, signal.SIGKILL)
    assert attach(config.out_path).wait(SECONDS_AT_MOST)["state"] == "finished"
