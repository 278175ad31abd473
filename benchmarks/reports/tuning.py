"""State tuning beside LoRA, by number of files."""

from benchmarks.reports import Report, table


def tables(report: Report) -> list[str]:
    """Nats per note of held-out files before and after."""
    head = (
        "music, method, files", "numbers trained", "seconds", "nats a note, untuned", "tuned",
        "change",
    )  # fmt: skip
    rows = [
        [
            f"{row['music']}, {row['method']}, {row['files']}",
            f"{row['trained_numbers']:,}",
            f"{row['seconds']:.0f}",
            f"{row['untuned']:.2f}",
            f"{row['tuned']:.2f}",
            f"{row['tuned'] / row['untuned'] - 1:+.0%}",
        ]
        for row in report["rows"]
    ]
    return [table(head, rows)]
