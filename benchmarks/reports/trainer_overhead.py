"""The trainer beside the bare step, and padding with and without packing."""

from benchmarks.reports import Report, table, times


def tables(report: Report) -> list[str]:
    """A row for each corpus."""
    head = (
        "corpus", "tokens/s", "time, trainer / bare step", "the same in processor time",
        "time a token, packed / a row for each window", "the same in processor time",
        "padding, packed", "padding, a row for each window",
    )  # fmt: skip
    rows = [
        [
            row["corpus"],
            f"{row['tokens_per_second']:,}",
            times(row["trainer_over_bare"]),
            f"{row['trainer_over_bare']['processor_median']:.2f}",
            times(row["packed_over_unpacked_per_token"]),
            f"{row['packed_over_unpacked_per_token']['processor_median']:.2f}",
            f"{row['padding_packed']:.1%}",
            f"{row['padding_unpacked']:.1%}",
        ]
        for row in report["rows"]
    ]
    return [table(head, rows)]
