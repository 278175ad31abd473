"""Cost of token stores, and windows per second."""

from benchmarks.reports import Report, mebibytes, table, times


def tables(report: Report) -> list[str]:
    """Cost by number of files, files per second, windows per second."""
    return [_cost(report), _speed(report), _windows(report)]


def _cost(report: Report) -> str:
    head = (
        "files", "seconds", "files/s and core", "peak MiB", "peak MiB of a worker",
        "tokens", "MiB on disk", "seconds to open",
    )  # fmt: skip
    rows = [
        [
            f"{row['files']:,}",
            f"{row['seconds']:,.1f}",
            f"{row['files_per_second_and_core']:,.0f}",
            mebibytes(row["peak_bytes"]),
            mebibytes(row["peak_bytes_of_a_worker"]),
            f"{row['tokens']:,}",
            mebibytes(row["bytes"]),
            f"{row['opening_seconds']:.2f}",
        ]
        for row in report["rows"]
    ]
    return table(head, rows)


def _speed(report: Report) -> str:
    speed, folder = report["speed"], report["settings"]["music"][0]
    store = speed["store"]
    rows = [
        ["symusic, parsing alone", f"{speed['parse_files_per_second']:,.0f}", "1"],
        [
            "reading, encoding, bars and hash",
            f"{speed['encode_files_per_second']:,.0f}",
            times(speed["encode_over_parse"], 1),
        ],
        [
            "a whole store, processes and their start included",
            f"{store['files_per_second_and_core']:,.0f}",
            "",
        ],
    ]
    head = (f"{folder}, {speed['files']} files", "files/s and core", "time, times parsing")
    return table(head, rows)


def _windows(report: Report) -> str:
    rows = [
        [
            f"{row['max_tokens']:,}",
            f"{row['windows_per_second']:,.0f}",
            f"{row['mean_tokens']:,.0f}",
        ]
        for row in report["windows"]
    ]
    return table(("windows of at most so many tokens", "windows/s and core", "mean tokens"), rows)
