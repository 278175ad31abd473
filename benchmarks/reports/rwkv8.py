"""The tables of results/rwkv8.json."""

import statistics

from benchmarks.reports import Report, table, times


def tables(report: Report) -> list[str]:
    """Return the change in loss by the parts of RWKV-8, and their cost in time."""
    head = (
        "corpus, tokens, variant", "parameters", "nats per note", "over plain, by seed",
        "nats per token", "over plain, by seed", "training loss over plain, by seed",
    )  # fmt: skip
    rows = [
        [
            f"{row['corpus']}, {row['tokens'] / 1e6:.1f} M, {row['variant']}",
            f"{row['parameters']:,}",
            f"{row['nats_per_note']:.4f}",
            by_seed(row["nats_per_note_over_plain"]),
            f"{row['nats_per_token']:.4f}",
            by_seed(row["nats_per_token_over_plain"]),
            by_seed(row["loss_train_over_plain"]),
        ]
        for row in report["rows"]
    ]
    costs = [
        [name, times(ratio), f"{ratio['processor_median']:.2f}"]
        for name, ratio in report["step_time_over_plain"].items()
    ]
    return [table(head, rows), table(("time of a step over plain's", "clock", "processor"), costs)]


def by_seed(differences: list[float]) -> str:
    """Return the mean and the value of each seed; empty for the plain model."""
    if not any(differences):
        return ""
    by_seed = ", ".join(f"{value:+.3f}" for value in differences)
    return f"{statistics.mean(differences):+.3f} ({by_seed})"
