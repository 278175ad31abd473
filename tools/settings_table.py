"""Write the table of training settings into docs/training.md, from their declarations.

python tools/settings_table.py          # renew the table
python tools/settings_table.py --check  # exit with 1 if it is out of date
"""

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from rwkv_music.settings import Setting
from rwkv_music.training.config import group_titles, training_settings

PAGE = Path(__file__).resolve().parents[1] / "docs" / "training.md"
BEGIN, END = "<!-- begin settings -->", "<!-- end settings -->"


def main() -> int:
    """Renew the table, or check it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="only compare")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page (default: %(default)s)")
    given = parser.parse_args()
    before = given.page.read_text(encoding="utf-8")
    after = with_table(before)
    if before == after:
        return 0
    if given.check:
        print(
            f"{given.page.name} is out of date: run python tools/settings_table.py",
            file=sys.stderr,
        )
        return 1
    given.page.write_text(after, encoding="utf-8")
    return 0


def with_table(page: str) -> str:
    """Return a page with the current table between its marks."""
    start, end = page.index(BEGIN) + len(BEGIN), page.index(END)
    return f"{page[:start]}\n{settings_table()}\n{page[end:]}"


def settings_table() -> str:
    """Return the tables of all groups as Markdown."""
    settings = training_settings().values()
    sections = []
    for group, title in group_titles().items():
        members = [declared for declared in settings if declared.group == group]
        sections.append(f"**`config.{group}`**: {title}\n\n" + "\n".join(_rows(members)))
    return "\n\n".join(sections)


def _rows(settings: Iterable[Setting]) -> Iterator[str]:
    yield "| setting | values | default | meaning |"
    yield "| --- | --- | --- | --- |"
    for declared in settings:
        default = "required" if declared.is_required else f"`{declared.default!r}`"
        cells = (f"`{declared.name}`", _values(declared), default, declared.help)
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _values(declared: Setting) -> str:
    if declared.choices:
        return ", ".join(f"`{choice}`" for choice in declared.choices)
    if declared.type is bool:
        return "`True`, `False`"
    name = {int: "int", float: "float", str: "str"}[declared.type]
    limits = str(declared.limits)
    return f"{name}, {limits}" if limits else name


if __name__ == "__main__":
    sys.exit(main())
