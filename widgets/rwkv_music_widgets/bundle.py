"""Joins ES modules into one: anywidget loads a single file, and this project has no bundler.

Modules of the folder `static` are concatenated after the modules that they import. Import lines
and the word `export` are removed, except for `export default`. Names are therefore unique across
the folder.
"""

import re
from pathlib import Path

STATIC = Path(__file__).parent / "static"

_IMPORT = re.compile(r"^import\s[^;]*?from\s+\"\./(?P<name>[\w.]+)\";\n", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:function|class|const)\b)", re.MULTILINE)


def bundled(name: str) -> str:
    """Return the text of one module, preceded by the modules that it imports.

    Args:
        name: A file in the folder `static`, e.g. "piano_roll.mjs".
    """
    modules: dict[str, str] = {}
    _collect(name, modules)
    return "\n".join(modules.values())


def style_sheet(name: str) -> str:
    """Return the text of a style sheet in the folder `static`."""
    return (STATIC / name).read_text(encoding="utf-8")


def _collect(name: str, modules: dict[str, str]) -> None:
    if name in modules:
        return
    text = (STATIC / name).read_text(encoding="utf-8")
    for imported in _IMPORT.finditer(text):
        _collect(imported["name"], modules)
    modules[name] = _EXPORT.sub("", _IMPORT.sub("", text))
