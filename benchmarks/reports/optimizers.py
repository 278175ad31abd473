"""Losses of both optimizers at each learning rate."""

from benchmarks.reports import Report, table


def tables(report: Report) -> list[str]:
    """Return a row for each run."""
    head = (
        "optimizer, peak learning rate, seed", "nats per token, held-out completions",
        "nats per token, last 20 steps",
    )  # fmt: skip
    rows = [
        [
            f"{row['optimizer']}, {row['learning_rate']:g}, {row['seed']}",
            f"{row['loss_valid']:.3f}",
            f"{row['loss_train_last_steps']:.3f}",
        ]
        for row in report["rows"]
    ]
    return [table(head, rows)]
