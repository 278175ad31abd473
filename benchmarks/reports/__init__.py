"""Tables of the result files: one module per file, with the same name and a function `tables`."""

from collections.abc import Iterable
from typing import Any

Report = dict[str, Any]


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table; the first column is text, the others are numbers."""
    names = list(head)
    lines = [names, ["-", *["-:"] * (len(names) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def times(ratio: dict[str, float] | None, digits: int = 2) -> str:
    """Return a ratio with its range."""
    if ratio is None:
        return ""
    median, lowest, highest = (
        f"{ratio[key]:.{digits}f}" for key in ("median", "lowest", "highest")
    )
    return f"{median} ({lowest} to {highest})"


def mebibytes(num_bytes: float) -> str:
    """Return bytes in MiB as text."""
    return f"{num_bytes / 2**20:,.0f}"
