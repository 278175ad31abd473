"""Table of the JSB chorales."""

from benchmarks.reports import Report, table

PUBLISHED = {"Music Transformer": 0.335, "Transformer": 0.417, "CoCoNet, in this order": 0.436}
"""Nats per slot of the valid part; Huang et al., "Music Transformer" (2019)."""


def tables(report: Report) -> list[str]:
    """The figures of each part, how the models were trained, and what was published."""
    rows = [
        [
            row["part"],
            str(row["pieces"]),
            f"{row['slots']:,}",
            f"{row['first model, own key']:.4f}",
            f"{row['all models, all keys']:.4f}",
        ]
        for row in report["rows"]
    ]
    head = ("part", "chorales", "slots", "own key", "mean of all keys")
    published = [[name, f"{nats:.3f}"] for name, nats in PUBLISHED.items()]
    seeds = ", ".join(map(str, report["seeds"]))
    size, steps = report["parameters"][0] / 1e6, report["settings"]["fit"]["steps"]
    training = (
        f"Seeds {seeds}, {size:.2f} million parameters, {steps:,} steps, "
        f"{report['minutes']:.0f} minutes."
    )
    others = table(("published, valid part", "nats per slot"), published)
    return [table(head, rows), training, others]
