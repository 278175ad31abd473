"""Perplexity and held-out loss after three ways of reading in training."""

from itertools import groupby

from benchmarks.reports import Report, table


def tables(report: Report) -> list[str]:
    """A row for each way and seed."""
    rows = report["rows"]
    lengths = list(dict.fromkeys(row["length"] for row in rows))
    head = [
        "trained on, seed",
        *(f"{length:,} tokens" for length in lengths),
        f"{lengths[-1]:,}, begun anew",
        "nats a token, completions",
        "nats a token, windows",
    ]
    lines = []
    for (way, seed), found in groupby(rows, lambda row: (row["way"], row["seed"])):
        by_length = list(found)
        last = by_length[-1]
        lines.append([
            f"{way}, {seed}",
            *(f"{row['carried']:.3f}" for row in by_length),
            f"{last['reset']:.3f}",
            f"{last['loss_valid']:.3f}",
            f"{last['loss_valid_everything']:.3f}",
        ])  # fmt: skip
    return [table(head, sorted(lines))]
