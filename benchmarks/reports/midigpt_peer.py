"""midigpt beside ours, from request to score."""

import statistics

from benchmarks.reports import Report, table


def tables(report: Report) -> list[str]:
    """A row for each contestant."""
    head = ("who, network, weights", "notes per CPU second", "CPU seconds", "notes", "valid runs")
    rows = [
        [
            row["who"],
            f"{row['notes_per_processor_second']:,.0f}",
            f"{statistics.median(row['processor_seconds']):.2f}",
            f"{statistics.median(row['notes']):.0f}",
            f"{row['valid']} of {row['runs']}",
        ]
        for row in report["rows"]
    ]
    return [table(head, rows)]
