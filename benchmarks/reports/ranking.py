"""The candidate ranked first beside a random one."""

from benchmarks.reports import Report, table

_NAMES = {
    "note_f1": "F1 of the notes",
    "onset_f1": "F1 of the onsets",
    "chroma_similarity": "pitch classes beat by beat",
    "distance": "distance in the statistics",
}


def tables(report: Report) -> list[str]:
    """A row for each figure over all prompts, and the sets in which notes agree better or worse."""
    head = ("what is ranked, figure", "prompts", "first", "random", "difference", "95 % interval")
    rows = [
        [
            f"{row['kind']}, {_NAMES[name]}",
            f"{row[name]['prompts']}",
            *(f"{row[name][column]:.3f}" for column in ("first", "random")),
            *(f"{number:+.4f}" for number in [row[name]["difference"]]),
            "{:+.4f} to {:+.4f}".format(*row[name]["interval"]),
        ]
        for row in report["rows"]
        if row["set"] == "all"
        for name in _NAMES
        if name in row
    ]
    return [table(head, rows)]
