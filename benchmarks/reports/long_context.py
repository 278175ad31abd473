"""Perplexity with and without a carried state."""

from benchmarks.reports import Report, table


def tables(report: Report) -> list[str]:
    """Return a row for each model and length."""
    head = ("model, perplexity over the first", "texts", "state carried", "state reset", "change")
    rows = [
        [
            f"{row['model']}, {row['length']:,} tokens",
            str(row["pieces"]),
            f"{row['carried']:.3f}",
            f"{row['reset']:.3f}",
            f"{row['carried'] / row['reset'] - 1:+.1%}",
        ]
        for row in report["rows"]
    ]
    return [table(head, rows)]
