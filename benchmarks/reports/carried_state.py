"""Perplexity and held-out loss after training on three kinds of input."""

from itertools import groupby

from benchmarks.reports import Report, table


def tables(report: Report) -> list[str]:
    """Return a row for each kind of input and seed."""
    rows = report["rows"]
    lengths = list(dict.fromkeys(row["length"] for row in rows))
    head = [
        "trained on, seed",
        *(f"{length:,} tokens" for length in lengths),
        f"{lengths[-1]:,}, state reset",
        "nats per token, completions",
        "nats per token, windows",
    ]
    lines = []
    for (way, seed), group in groupby(rows, lambda row: (row["way"], row["seed"])):
        by_length = list(group)
        last = by_length[-1]
        lines.append([
            f"{way}, {seed}",
            *(f"{row['carried']:.3f}" for row in by_length),
            f"{last['reset']:.3f}",
            f"{last['loss_valid']:.3f}",
            f"{last['loss_valid_everything']:.3f}",
        ])  # fmt: skip
    return [table(head, sorted(lines))]
