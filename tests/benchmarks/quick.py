"""Runs a benchmark's quick mode as a user would."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]


def quick_report(module: str, folder: Path, *options: str) -> dict[str, Any]:
    """What `python -m benchmarks.MODULE --quick` writes."""
    path = folder / "report.json"
    command = [sys.executable, "-m", f"benchmarks.{module}", "--quick", "--json", str(path)]
    done = subprocess.run(
        [*command, *options], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    assert {"processor", "cores", "threads", "instruction_sets", "versions", "commit", "date"} <= (
        report["machine"].keys()
    )
    assert report["command"].startswith(f"python -m benchmarks.{module} --quick")
    assert "seed" in report["settings"]
    assert report["rows"]
    return report
