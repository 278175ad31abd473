"""No file crashes or blocks the process, or raises anything but an InputError."""

import collections
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
MOST_MIB = 1024.0
"""Limit for reading, encoding, decoding and examining; ordinary files need a tenth of it."""
HANGING_SECONDS = 60.0
"""Far above the time of any file, so that only a hang exceeds it on a busy machine."""
MIDI_PROCESSOR_SECONDS = 1.0
"""The limit of a MIDI file in `rwkv-music prepare`, counted by the processor and not by the clock,
since a busy machine stretches only the latter."""


def run_files(start: int, stop: int) -> list[dict[str, object]]:
    """Return the outcome of each file. A crash is an outcome; the next file is tried."""
    outcomes: list[dict[str, object]] = []
    while start < stop:
        command = [sys.executable, "-m", "tests.fuzz_worker", str(start), str(stop)]
        done = subprocess.run(
            command, capture_output=True, cwd=REPOSITORY, check=False,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, timeout=HANGING_SECONDS * 60,
        )  # fmt: skip
        said = [json.loads(line) for line in done.stdout.splitlines()]
        outcomes += [line for line in said if "ends" in line]
        if done.returncode == 0:
            break
        name = said[-1].get("begins", "nothing") if said else "nothing"
        reason = f"exit code {done.returncode}: {done.stderr.decode()[-300:]}"
        outcomes.append({"ends": name, "outcome": "crashed", "text": reason, "seconds": 0.0})
        if name == "nothing":
            break
        start = int(str(name).split("-")[0]) + 1
    return outcomes


def check(outcomes: list[dict[str, object]], count: int) -> None:
    assert len(outcomes) == count
    bad = [outcome for outcome in outcomes if outcome["outcome"] in {"raised", "crashed"}]
    assert not bad, bad[:5]
    for result in outcomes:
        name, text = str(result["ends"]), str(result["text"])
        assert "\n" not in text, result
        assert float(str(result["seconds"])) < HANGING_SECONDS, result
        if name.endswith(".mid"):
            assert float(str(result["processor_seconds"])) < MIDI_PROCESSOR_SECONDS, result
        assert float(str(result["peak_mib"])) < MOST_MIB, result
        if result["outcome"] == "refused":
            assert text.startswith(name), result
    actual = collections.Counter(outcome["outcome"] for outcome in outcomes)
    assert min(actual[kind] for kind in ("read", "repaired", "refused")) > count // 20, actual


def test_five_hundred_hostile_files_are_read_repaired_or_rejected() -> None:
    check(run_files(0, 500), 500)


@pytest.mark.long
def test_ten_thousand_hostile_files_are_read_repaired_or_rejected() -> None:
    check(run_files(500, 10_500), 10_000)
