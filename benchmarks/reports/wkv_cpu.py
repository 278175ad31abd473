"""The recurrence alone, beside step loops."""

from benchmarks.reports import Report, table, times


def tables(report: Report) -> list[str]:
    """The recurrence by shape, and its accuracy by family of inputs."""
    head = (
        "B x T x H, precision, who", "ms", "times our step loop", "times the autograd loop",
        "worst error", "kept bytes a token at C = 256",
    )  # fmt: skip
    rows = [
        [
            f"{row['shape']}, {row['precision']}, {_threads(row, report)}{row['implementation']}",
            f"{row['seconds'] * 1000:.3g}",
            times(row["times_faster_than"]["reference"], 1),
            times(row["times_faster_than"].get("autograd loop"), 1),
            f"{row['worst_error']:.1e}",
            f"{row['saved_bytes_per_token_at_256']:,.0f}",
        ]
        for row in report["rows"]
    ]
    families = list(dict.fromkeys(row["family"] for row in report["accuracy"]))
    errors = {(row["backend"], row["family"]): row["worst_error"] for row in report["accuracy"]}
    backends = list(dict.fromkeys(backend for backend, _ in errors))
    accuracy = [
        [backend, *(f"{errors[backend, family]:.1e}" for family in families)]
        for backend in backends
    ]
    return [table(head, rows), table(("worst error, float32", *families), accuracy)]


def _threads(row: Report, report: Report) -> str:
    """Told where a row had only one of several."""
    return "one thread, " if row["threads"] < report["machine"]["threads"] else ""
