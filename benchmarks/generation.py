"""Time generation from request to score, beside an earlier commit in another checkout.

    git worktree add ../earlier a5ee62f && python ../earlier/rwkv_music/ops/native/build.py
    python -m benchmarks.generation --earlier ../earlier --json benchmarks/results/generation.json

Both run the same script (generation_turn.py) in processes of their own, in turns, with one thread.
Times are processor times. The model's own step is the native decoding step alone, over the tokens
that were sampled, in the same process and right after them; its share is that of all that happens
from the first new token to the last.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.measuring import REPOSITORY, machine, rounded, write_report

_TURN = REPOSITORY / "benchmarks" / "generation_turn.py"
_PROMPT = REPOSITORY / "rwkv_music" / "prompts" / "ballad.mid"
_VARIANTS = {
    "now": {},
    "now, float32": {"precision": "float32"},
    "now, float32, no constraints": {"precision": "float32", "free": True},
}


def main() -> None:
    """Measure every number of candidates, and the command line from start to end."""
    given = arguments()
    rows = [row for number in given.candidates for row in measure(number, given)]
    settings = {name: getattr(given, name) for name in ("candidates", "bars", "repeats", "model")}
    report = {
        "machine": machine("rwkv-music"),
        "settings": settings,
        "rows": rows,
        "command_line": command_line(given),
    }
    write_report(report, given.json)


def arguments() -> argparse.Namespace:
    """Return what was asked for on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--earlier", type=Path, required=True, help="checkout of another commit")
    parser.add_argument("--candidates", type=int, nargs="+", default=[1, 3, 8])
    parser.add_argument("--bars", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--model", default="pop")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def measure(candidates: int, given: argparse.Namespace) -> list[dict[str, Any]]:
    """Return a row for each variant; the first is the earlier commit."""
    turns: dict[str, list[dict[str, Any]]] = {}
    for _ in range(given.repeats):
        for name, options in {"earlier": {}, **_VARIANTS}.items():
            checkout = given.earlier if name == "earlier" else REPOSITORY
            request = {"model": given.model, "bars": given.bars, "candidates": candidates}
            turns.setdefault(name, []).append(turn(checkout, request | options))
    rates = {
        name: [each["tokens"] / each["processor_seconds"] for each in own]
        for name, own in turns.items()
    }
    return [
        {
            "candidates": candidates,
            "who": name,
            "tokens_per_processor_second": rounded(statistics.median(rates[name])),
            "times_earlier": spread(
                [own / other for own, other in zip(rates[name], rates["earlier"], strict=True)]
            ),
            "model_share": spread([each["model_share"] for each in own])
            if "model_share" in own[0]
            else None,
        }
        for name, own in turns.items()
    ]


def spread(values: list[float]) -> dict[str, float]:
    """Return the median, the lowest and the highest."""
    return {
        "median": rounded(statistics.median(values)),
        "lowest": rounded(min(values)),
        "highest": rounded(max(values)),
    }


def turn(checkout: Path, request: dict[str, Any]) -> dict[str, Any]:
    """Generate in a process of its own and return what it measured."""
    command = [sys.executable, str(_TURN), str(_PROMPT), json.dumps(request)]
    done = subprocess.run(
        command, env=environment(checkout), stdout=subprocess.PIPE, text=True, check=True
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def command_line(given: argparse.Namespace) -> dict[str, Any]:
    """Return the processor seconds of `rwkv-music continue` with three candidates."""
    seconds: dict[str, list[float]] = {"earlier": [], "now": []}
    for _ in range(given.repeats):
        for name, checkout in (("earlier", given.earlier), ("now", REPOSITORY)):
            seconds[name].append(one_command(checkout, given.model))
    ratios = [
        now / earlier for now, earlier in zip(seconds["now"], seconds["earlier"], strict=True)
    ]
    return {
        **{name: rounded(statistics.median(own)) for name, own in seconds.items()},
        "now_over_earlier": spread(ratios),
    }


def one_command(checkout: Path, model: str) -> float:
    """Run the command once and return its processor seconds."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "rwkv_music", "continue", str(_PROMPT)]
        before = os.times()
        subprocess.run(
            [*command, "--model", model, "-o", folder],
            env=environment(checkout),
            cwd=checkout,
            capture_output=True,
            check=True,
        )
        after = os.times()
    return (
        after.children_user + after.children_system - before.children_user - before.children_system
    )


def environment(checkout: Path) -> dict[str, str]:
    """Return an environment in which Python imports from a checkout, with one thread."""
    return {**os.environ, "PYTHONPATH": str(checkout.resolve()), "OMP_NUM_THREADS": "1"}


if __name__ == "__main__":
    main()
