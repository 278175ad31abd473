"""The GPU benchmark as far as a CPU can run it."""

import json
import subprocess
import sys
from pathlib import Path

from tests.benchmarks.quick import REPOSITORY

SIZES = ["--heads", "1", "2", "--lengths", "16", "--repeats", "2"]


def run(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.wkv_gpu", *SIZES, *options]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)


def test_it_writes_a_time_and_an_error_for_every_size(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    done = run("--on-cpu", "--json", str(path))
    assert done.returncode == 0, done.stderr
    report = json.loads(path.read_text(encoding="utf-8"))
    sizes = {(row["heads"], row["steps"]) for row in report["rows"]}
    assert sizes == {(1, 16), (2, 16)}
    for row in report["rows"]:
        assert row["error"] < 3e-3, row
        assert row["milliseconds"] > 0
    assert "commit" in report["machine"]


def test_without_a_gpu_it_says_what_it_needs() -> None:
    import torch

    if torch.cuda.is_available():
        return
    done = run()
    assert done.returncode == 1
    assert done.stderr.startswith("wkv_gpu needs an NVIDIA GPU; torch")
