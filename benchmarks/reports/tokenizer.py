"""Speed and fidelity of the tokenizer beside MidiTok."""

from benchmarks.reports import Report, table


def tables(report: Report) -> list[str]:
    """Speed and fidelity by corpus."""
    head = (
        "files", "notes", "tokens a note", "encoding, times MidiTok", "decoding, times MidiTok",
        "onset error, 99 %, ms", "duration error, 99 %, ms",
    )  # fmt: skip
    rows = [
        [
            f"{name} ({row['files']})",
            f"{row['notes']:,}",
            f"{row['tokens_per_note']:.2f}",
            f"{row['encode_times_peer']:.1f}",
            f"{row['decode_times_peer']:.1f}",
            f"{row['worst_file_wall_clock_p99_ms']:.1f}",
            f"{row['worst_file_duration_p99_ms']:.1f}",
        ]
        for name, row in report["rows"].items()
    ]
    return [table(head, rows)]
