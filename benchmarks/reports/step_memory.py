"""Peak memory by preset with its estimate, and of the head alone."""

from benchmarks.reports import Report, mebibytes, table
from benchmarks.step_memory import ESTIMATED, FORMS, config_of, estimate_of, sizes_of
from rwkv_music.training.memory import count_parameters


def tables(report: Report) -> list[str]:
    """Return tables of measured and estimated steps, and of the head in three forms."""
    peaks = {(row["preset"], row["form"]): row["peak_bytes"] for row in report["rows"]}
    names = [*dict.fromkeys(name for name, _ in peaks), *ESTIMATED]
    head = ("preset, form", "parameters, million", "measured MiB", "estimated MiB", "ratio")
    rows = []
    for name in names:
        for form in FORMS:
            estimate = estimate_of(name, form, report["settings"]).total
            peak = peaks.get((name, form))
            parameters = count_parameters(sizes_of(config_of(name, form)))
            rows.append([
                f"{name}, {form}",
                f"{parameters / 1e6:,.1f}",
                "not measured" if peak is None else mebibytes(peak),
                mebibytes(estimate),
                "" if peak is None else f"{estimate / peak:.2f}",
            ])  # fmt: skip
    heads = [
        [f"{row['vocabulary']:,}, {row['form']}", mebibytes(row["peak_bytes"])]
        for row in report["heads"]
    ]
    return [table(head, rows), table(("vocabulary, positions passed to the head", "MiB"), heads)]
