"""Compare training in bfloat16 with float32: time per step, and held-out loss after equal training.

    python -m benchmarks.training_precision STORE --json benchmarks/results/training_precision.json

Both runs have the same seed, hence the same weights, windows and augmentation. Each is a process of
its own. The processor time of a step is that of the whole run, less that of a run of one step, by
the number of further steps; both runs evaluate once.
"""

import argparse
import json
import resource
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.measuring import in_a_process, machine, rounded, write_report
from rwkv_music.ops.decoding import PRECISIONS
from rwkv_music.training import TrainingConfig, train

TRAINING_PRECISIONS = PRECISIONS[:2]
_LOSSES = ("loss_valid", "nats_per_note_valid")


def main() -> None:
    """Train with each precision and each seed."""
    given = arguments()
    if given.run is not None:
        precision, seed, steps = given.run
        print(json.dumps(training_run(given, precision, int(seed), int(steps))))
        return
    rows = [measure(given, seed) for seed in given.seeds]
    settings = {name: getattr(given, name) for name in ("preset", "steps", "seeds", "quick")}
    write_report(
        {
            "machine": machine("rwkv-music"),
            "settings": settings | {"store": Path(given.store).name},
            "rows": rows,
        },
        given.json,
    )


def arguments() -> argparse.Namespace:
    """Return what was asked for on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", help="token store, or another corpus")
    parser.add_argument("--preset", default="small")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--quick", action="store_true", help="a tiny model and few steps")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--run", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.quick:
        given.preset, given.steps = "tiny", 4
    return given


def measure(given: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Return the figures of both precisions with one seed."""
    row: dict[str, Any] = {"seed": seed}
    for precision in TRAINING_PRECISIONS:
        short, long = (
            in_a_process(
                "benchmarks.training_precision", given.store, "--preset", given.preset,
                "--run", precision, str(seed), str(steps),
            )
            for steps in (1, given.steps)
        )  # fmt: skip
        seconds = (long["processor_seconds"] - short["processor_seconds"]) / (given.steps - 1)
        row[precision] = {
            "processor_seconds_per_step": rounded(seconds),
            **{name: rounded(long[name], 5) for name in _LOSSES},
        }
    first, second = (row[precision] for precision in TRAINING_PRECISIONS)
    return row | {
        "times_faster": rounded(
            first["processor_seconds_per_step"] / second["processor_seconds_per_step"], 3
        ),
        "more_nats_per_note": rounded(
            second["nats_per_note_valid"] - first["nats_per_note_valid"], 2
        ),
    }


def training_run(
    given: argparse.Namespace, precision: str, seed: int, steps: int
) -> dict[str, float]:
    """Train in this process; return its processor time and the held-out losses."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        run = train(
            TrainingConfig.preset(
                given.preset,
                corpus=given.store,
                out=str(Path(folder) / "run"),
                steps=steps,
                warmup_steps=min(10, steps - 1),
                evaluate_every=steps,
                sample_prompts=1,
                seed=seed,
                precision=precision,
                logger="none",
                device="cpu",
            )
        )
        last = next(line for line in reversed(run.metrics()) if _LOSSES[0] in line)
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "processor_seconds": used.ru_utime + used.ru_stime,
        **{name: last[name] for name in _LOSSES},
    }


if __name__ == "__main__":
    main()
