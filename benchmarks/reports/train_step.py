"""A training step beside a transformer of equal size."""

from benchmarks.reports import Report, mebibytes, table, times


def tables(report: Report) -> list[str]:
    """Ours beside the transformer, by precision and length."""
    peers = {
        (row["precision"], row["length"]): row
        for row in report["rows"] if row["model"] == "transformer"
    }  # fmt: skip
    head = (
        "precision, T, backend", "tokens/s", "transformer", "time, ours / transformer",
        "kept bytes a token and layer", "transformer", "peak MiB", "transformer",
    )  # fmt: skip
    rows = []
    for row in report["rows"]:
        if row["model"] != "transformer":
            peer = peers[row["precision"], row["length"]]
            rows.append([
                f"{row['precision']}, {row['length']}, {row['backend']}",
                f"{row['tokens_per_second']:,}",
                f"{peer['tokens_per_second']:,}",
                times(row["time_over_transformer"]),
                f"{row['saved_bytes_per_token_and_layer']:,.0f}",
                f"{peer['saved_bytes_per_token_and_layer']:,.0f}",
                mebibytes(row["peak_bytes"]),
                mebibytes(peer["peak_bytes"]),
            ])  # fmt: skip
    return [table(head, rows)]
