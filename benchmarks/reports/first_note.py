"""Time to the first new note at several lengths of the prompt."""

from benchmarks.reports import Report, table


def tables(report: Report) -> list[str]:
    """A row for each length and request."""
    head = ("prompt, request", "anew, ms", "again, ms", "slowest again, ms")
    rows = [
        [
            f"{row['tokens']:,} tokens, {row['bars']} bars, {row['request']}",
            *(f"{1000 * row[name]:.0f}" for name in ("anew", "again", "slowest_again")),
        ]
        for row in report["rows"]
    ]
    return [table(head, rows)]
