"""Write the tables of the pages in docs/ from benchmarks/results/*.json.

    python -m benchmarks.tables            # update the pages
    python -m benchmarks.tables --check    # fail if a page differs from the results

A table is between `<!-- begin NAME -->` and `<!-- end NAME -->`, where NAME is the result file; the
module of that name in benchmarks/reports/ makes it. Other names are left alone.
"""

import argparse
import json
import pkgutil
import re
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks import reports
from benchmarks.measuring import REPOSITORY, RESULTS
from benchmarks.reports import Report

PAGES = sorted((REPOSITORY / "docs").glob("*.md"))
_MARKED = re.compile(
    r"(?P<begin><!-- begin (?P<name>\w+) -->\n).*?(?P<end><!-- end (?P=name) -->)", re.DOTALL
)


def main() -> None:
    """Update or check the pages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing")
    parser.add_argument("--pages", type=Path, nargs="+", default=PAGES)
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    for page in given.pages:
        before = page.read_text(encoding="utf-8")
        after = updated(before, given.results)
        if given.check and after != before:
            sys.exit(f"{page.name} differs from the results: run python -m benchmarks.tables")
        if not given.check:
            page.write_text(after, encoding="utf-8")


def updated(page: str, results: Path) -> str:
    """Return the page with every table updated."""

    def replace(match: re.Match[str]) -> str:
        if match["name"] not in TABLES:
            return match[0]
        report = json.loads((results / f"{match['name']}.json").read_text(encoding="utf-8"))
        return f"{match['begin']}{section(match['name'], report)}\n{match['end']}"

    return _MARKED.sub(replace, page)


def section(name: str, report: Report) -> str:
    """Return a result file as Markdown: its tables, and the machine."""
    assert not report.get("settings", {}).get("quick"), (
        f"{name}.json is from quick mode: run the full benchmark"
    )
    left_out = [f"Left out: {report['left_out']}."] if report.get("left_out") else []
    return "\n\n".join([*TABLES[name](report), *left_out, measured_on(report["machine"])])


def measured_on(machine: dict[str, Any]) -> str:
    """Return one line with the date, the commit and the machine."""
    shown = ("cores", "threads", "python", "numpy", "symusic", "miditok")
    plain = {key: machine[key] for key in ("processor", *shown) if key in machine}
    versions = machine.get("versions", {})
    words = [
        *(f"{value}" if key == "processor" else f"{key} {value}" for key, value in plain.items()),
        *([machine["torch_uses"]] if "torch_uses" in machine else []),
        *(f"{key} {value}" for key, value in versions.items()),
    ]
    return f"*{machine['date']}, commit {machine['commit']}: {', '.join(words)}.*"


TABLES: dict[str, Callable[[Report], list[str]]] = {
    name: import_module(f"{reports.__name__}.{name}").tables
    for _, name, _ in pkgutil.iter_modules(reports.__path__)
}
"""The function that makes the tables of each result file."""


if __name__ == "__main__":
    main()
