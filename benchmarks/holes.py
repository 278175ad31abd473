"""Figures of a model's holes on token stores, beside other ways to fill them.

python -m benchmarks.holes MODEL stores/pop909 stores/lieder --json holes.json
"""

import argparse
from pathlib import Path
from typing import Any

from benchmarks.measuring import machine, write_report
from rwkv_music.data import Store
from rwkv_music.evaluation.infilling import evaluate_holes, hole_tasks
from rwkv_music.model import load_model


def main() -> None:
    """Measure holes of several lengths, of all parts and of one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("stores", type=Path, nargs="+")
    parser.add_argument("--bars", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--holes", type=int, default=20, help="of each kind and store")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    model = load_model(given.model)
    rows: list[dict[str, Any]] = []
    for path in given.stores:
        store = Store(path)
        for bars in given.bars:
            for one_part in (False, True):
                tasks = hole_tasks(
                    store.valid, store.tokenizer, bars=bars, one_part=one_part, number=given.holes
                )
                rows.append(
                    {
                        "set": path.name,
                        "bars": bars,
                        "parts": "one" if one_part else "all",
                        "holes": len(tasks),
                        "figures": evaluate_holes(model, tasks),
                    }
                )
    report = {"machine": machine("rwkv-music"), "rows": rows}
    write_report(report, given.json)


if __name__ == "__main__":
    main()
