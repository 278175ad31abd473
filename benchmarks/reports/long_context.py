"""Perplexity with the state handed on, and without."""

from benchmarks.reports import Report, table


def tables(report: Report) -> list[str]:
    """A row for each model and length."""
    head = ("model, perplexity over the first", "texts", "state handed on", "begun anew", "change")
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
