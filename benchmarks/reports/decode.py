"""Decoding compared with the `rwkv` package."""

from benchmarks.reports import Report, mebibytes, table, times


def tables(report: Report) -> list[str]:
    """Return tables of speed by model and task, memory over time, and loss on music."""
    head = ("model, task, implementation", "tokens/s", "times the package", "logit error")
    rows = [
        [
            f"{row['size']} ({row['parameters'] / 1e6:.1f} M), {row['task']}, "
            f"{row['implementation']} {row['precision']}",
            f"{row['tokens_per_second']:,.0f}",
            times(row["times_faster_than_package"], 1),
            f"{row['logit_error']:.1e}" if "logit_error" in row else "",
        ]
        for row in report["rows"]
    ]
    memory = [
        [
            f"{row['implementation']}, {row['size']}",
            mebibytes(row["resident_bytes_early"]),
            mebibytes(row["resident_bytes_late"]),
            f"{row['tokens']:,}",
        ]
        for row in report["memory"]
    ]
    all_tables = [table(head, rows)]
    if memory:
        all_tables.append(
            table(("memory", "MiB at token 100", "MiB at the last", "tokens"), memory)
        )
    return [*all_tables, *_music_tables(report.get("music"))]


def _music_tables(music: Report | None) -> list[str]:
    """Return the increase in loss with narrower weights."""
    if music is None:
        return []
    rows = [
        [
            f"{row['implementation']} {row['precision']}",
            f"{row['nats_per_token']:.4f}",
            f"{row['more_than_float32']:+.1e}",
        ]
        for row in music["rows"]
    ]
    where = f"{music['model']} on {music['source']}, {music['pieces']} pieces"
    return [table((where, "nats per token", "more than float32"), rows)]
