"""Hooks of mkdocs: pages that live outside docs/, generated tables, and the pages of the gallery.

Links to files that are not on the site, such as sources, become plain text.
"""

import argparse
import io
import json
import os
import re
from contextlib import redirect_stdout
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

REPOSITORY = Path(__file__).resolve().parents[1]
OUTSIDE = {
    "ARCHITECTURE.md": "project/architecture.md",
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    "README.md": "index.md",
    "rwkv_music/models/README.md": "models/README.md",
    "rwkv_music/models/general.md": "models/general.md",
    "rwkv_music/models/bach.md": "models/bach.md",
    "rwkv_music/models/pop.md": "models/pop.md",
    "rwkv_music/ops/wkv7/README.md": "project/wkv7.md",
}
"""Documents outside docs/ -> where they are on the site."""
COMMANDS = "<!-- commands -->"
_LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")
_FROM_SITE = {site: source for source, site in OUTSIDE.items() if site != "index.md"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the documents from outside docs/, and a page to listen to each piece of the gallery."""
    for source, site in OUTSIDE.items():
        if site not in files.src_uris:
            path = REPOSITORY / source
            files.append(File.generated(config, site, abs_src_path=str(path)))
    starts = json.loads((Path(config.docs_dir) / "gallery/continuation_starts.json").read_text())
    for name, start in starts.items():
        path = Path(config.docs_dir) / "gallery" / f"{name}.mid"
        content = _listening_page(path, start) if config.extra["gallery"] == "full" else name
        files.append(File.generated(config, f"gallery/{name}.html", content=content))
    return files


def _listening_page(path: Path, start: int) -> str:
    """Return the page that the notebook exports for a score."""
    from rwkv_music_widgets.export.html_page import PagePiece, page_html

    from rwkv_music import load_score

    title = path.stem.replace("-", " ").capitalize()
    return page_html([PagePiece(load_score(path), title, start or None)], title=title)


def on_page_markdown(markdown: str, *, page: Page, files: Files, **_others: object) -> str:
    """Fill in generated parts, and turn links to where the documents are on the site."""
    site = page.file.src_uri
    source = _FROM_SITE.get(site, f"docs/{site}")
    if site == "gallery.md":
        markdown = re.sub(r"\]\((gallery/[^)]+)\.mid\)", r"](\1.html) ([MIDI](\1.mid))", markdown)
    if COMMANDS in markdown:
        markdown = markdown.replace(COMMANDS, command_reference())
    return _LINK.sub(lambda link: _turned(link, source, site, files), markdown)


def _turned(link: re.Match[str], source: str, site: str, files: Files) -> str:
    """Return a link as it is on the site; its text alone if the file is not there."""
    target, _, heading = link["target"].partition("#")
    if not target or "://" in target or target.startswith("mailto:"):
        return link[0]
    document = os.path.normpath(PurePosixPath(source).parent / target).replace(os.sep, "/")
    found = OUTSIDE.get(document, document.removeprefix("docs/"))
    if found not in files.src_uris:
        return link["text"]
    relative = os.path.relpath(found, PurePosixPath(site).parent).replace(os.sep, "/")
    anchor = f"#{heading}" if heading else ""
    return f"{link['image']}[{link['text']}]({relative}{anchor})"


def command_reference() -> str:
    """Return the help of every command."""
    from rwkv_music.cli import build_parser

    os.environ["COLUMNS"] = "90"  # argparse wraps to the width of a terminal
    parser = build_parser()
    (commands,) = [
        action for action in parser._actions if isinstance(action, argparse._SubParsersAction)
    ]
    sections = []
    for name, command in commands.choices.items():
        text = io.StringIO()
        with redirect_stdout(text):
            command.print_help()
        sections.append(f"## {name}\n\n```text\n{text.getvalue()}```\n")
    return "\n".join(sections)
