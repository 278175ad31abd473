"""`about.json` in a token store or folder of music: where the music is from, and on which terms.

The file is optional. Run directories and model cards repeat what it says.

    {"title": "My songs", "licence": "CC0 1.0", "attribution": "...", "url": "...",
     "works": {"sonata-1.mid": "sonata", "sonata-2.mid": "sonata"}}

Pieces of one work are on the same side of the split of a mixture.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rwkv_music.errors import InputError

ABOUT_NAME = "about.json"
_TEXTS = ("title", "licence", "attribution", "url")


@dataclass(frozen=True, kw_only=True)
class CorpusAbout:
    """Content of `about.json`."""

    title: str = ""
    licence: str = ""
    attribution: str = ""
    url: str = ""
    works: Mapping[str, str] = field(default_factory=dict)
    """Name of a piece -> name of the work that it is a movement of."""

    @property
    def texts(self) -> dict[str, str]:
        """The texts that are given, by name."""
        return {name: text for name in _TEXTS if (text := getattr(self, name))}


def read_about(source: str | Path) -> CorpusAbout:
    """Return what a corpus says about itself; empty if it has no `about.json`.

    Raises:
        InputError: If the file is not such a table.
    """
    path = Path(source) / ABOUT_NAME
    if not path.is_file():
        return CorpusAbout()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        works = content.get("works", {})
        texts = {name: content[name] for name in _TEXTS if name in content}
        values = [*texts.values(), *works.keys(), *works.values()]
        if not all(isinstance(value, str) for value in values):
            raise TypeError("a value is not a string")
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise InputError(f"{path} cannot be read ({error}): repair or remove it") from error
    return CorpusAbout(**texts, works=works)


def write_about(about: CorpusAbout, folder: Path) -> None:
    """Write `about.json` into a folder."""
    content = {**about.texts, **({"works": dict(about.works)} if about.works else {})}
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    (folder / ABOUT_NAME).write_text(text, encoding="utf-8")
