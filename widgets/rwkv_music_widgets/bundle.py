"""One ES module out of several: anywidget loads a single file, and there is no bundler here.

Each widget's module is put behind the modules it imports from this folder. Import lines and the
word `export` go; only `export default` stays. Names are therefore unique across the folder.
"""

import re
from pathlib import Path

STATIC = Path(__file__).parent / "static"

_IMPORT = re.compile(r"^import\s[^;]*?from\s+\"\./(?P<name>[\w.]+)\";\n", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:function|class|const)\b)", re.MULTILINE)


def bundled(name: str) -> str:
    """The text of one module with everything it needs.

    Args:
        name: A file in the folder `static`, e.g. "piano_roll.mjs".
    """
    parts: dict[str, str] = {}
    _collect(name, parts)
    return "\n".join(parts.values())


def style(name: str) -> str:
    """The text of a style sheet in the folder `static`."""
    return (STATIC / name).read_text(encoding="utf-8")


def _collect(name: str, parts: dict[str, str]) -> None:
    if name in parts:
        return
    text = (STATIC / name).read_text(encoding="utf-8")
    for needed in _IMPORT.finditer(text):
        _collect(needed["name"], parts)
    parts[name] = _EXPORT.sub("", _IMPORT.sub("", text))
