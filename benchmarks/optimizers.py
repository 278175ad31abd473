"""AdamW beside Adafactor: held-out loss after the same steps on the same batches.

    python -m benchmarks.optimizers --runs runs --json benchmarks/results/optimizers.json

Each optimizer is given several peak learning rates, since what is good for one is not for the
other. Each run is a run directory; one that exists is resumed, or reported if finished.
"""

import argparse
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.measuring import machine, rounded, write_report
from rwkv_music.training import TrainingConfig, train
from rwkv_music.training.optimizer import OPTIMIZERS


def main() -> None:
    """Train what is not trained yet, and tell the losses."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", default="bach", help="or a folder of music")
    parser.add_argument("--runs", type=Path, required=True, help="folder of run directories")
    parser.add_argument("--preset", default="1m")
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-3, 3e-3, 1e-2])
    parser.add_argument("--quick", action="store_true", help="marks figures that are no figures")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    settings = {
        "seed": given.seeds,
        **{name: getattr(given, name) for name in ("corpus", "preset", "steps", "quick")},
    }
    rows = [measure(*settings, given) for settings in product(OPTIMIZERS, given.rates, given.seeds)]
    report = {"machine": machine("rwkv-music"), "settings": settings, "rows": rows}
    write_report(report, given.json)


def measure(optimizer: str, rate: float, seed: int, given: argparse.Namespace) -> dict[str, Any]:
    """Losses at the end of one run."""
    config = TrainingConfig.preset(
        given.preset,
        corpus=given.corpus,
        out=str(given.runs / f"{optimizer}-{rate:g}-{seed}"),
        optimizer=optimizer,
        learning_rate=rate,
        seed=seed,
        steps=given.steps,
        warmup_steps=min(50, given.steps - 1),
        evaluate_every=given.steps,
        save_every=50,
        dropout=0.0,
        sample_prompts=0,
    )
    lines = train(config, resume=True).metrics()
    last = [line["loss_train"] for line in lines if "loss_train" in line][-20:]
    (looked,) = (line for line in lines if "loss_valid" in line)
    return {
        "optimizer": optimizer,
        "learning_rate": rate,
        "seed": seed,
        "loss_train_last_steps": rounded(sum(last) / len(last), 4),
        "loss_valid": rounded(looked["loss_valid"], 4),
    }


if __name__ == "__main__":
    main()
