"""Generation from request to score beside an earlier commit, and the command line."""

from benchmarks.reports import Report, table, times


def tables(report: Report) -> list[str]:
    """A row for each number of candidates and variant, and one for the command line."""
    head = ("candidates, who", "tokens per CPU second", "times a5ee62f", "the model's own step")
    rows = [
        [
            f"{row['candidates']}, {row['who']}",
            f"{row['tokens_per_processor_second']:,.0f}",
            times(row["times_earlier"], 1),
            f"{row['model_share']['median']:.0%}" if row["model_share"] else "",
        ]
        for row in report["rows"]
    ]
    cold = report["command_line"]
    seconds = [f"{cold[name]:.2f}" for name in ("earlier", "now")]
    row = ["CPU seconds", *seconds, times(cold["now_over_earlier"])]
    command = table(("`rwkv-music continue`, three candidates", "a5ee62f", "now", "ratio"), [row])
    return [table(head, rows), command]
