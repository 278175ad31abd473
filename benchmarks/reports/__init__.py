"""What makes the tables of each result file: one module per file, named like it, with `tables`."""

from collections.abc import Iterable
from typing import Any

Report = dict[str, Any]


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table; the first column is text, the others figures."""
    names = list(head)
    lines = [names, ["-", *["-:"] * (len(names) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def times(ratio: dict[str, float] | None, digits: int = 2) -> str:
    """A ratio with its range."""
    if ratio is None:
        return ""
    median, lowest, highest = (
        f"{ratio[key]:.{digits}f}" for key in ("median", "lowest", "highest")
    )
    return f"{median} ({lowest} to {highest})"


def mebibytes(number: float) -> str:
    """Bytes, for reading."""
    return f"{number / 2**20:,.0f}"
