"""Training in bfloat16 beside float32."""

from benchmarks.reports import Report, table


def tables(report: Report) -> list[str]:
    """A row for each seed and precision."""
    head = ("seed, precision", "CPU seconds a step", "held-out nats per note")
    rows = [
        [
            f"{row['seed']}, {precision}",
            f"{row[precision]['processor_seconds_per_step']:.2f}",
            f"{row[precision]['nats_per_note_valid']:.3f}",
        ]
        for row in report["rows"]
        for precision in ("float32", "bfloat16")
    ]
    return [table(head, rows)]
