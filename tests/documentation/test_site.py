"""The site is built without a warning, and every link on it leads somewhere."""

import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

pytest.importorskip("mkdocs", reason="mkdocs is not installed: pip install rwkv-music[docs]")

REPOSITORY = Path(__file__).resolve().parents[2]


def build(folder: Path, *, gallery: str) -> Path:
    """Build the site into a folder."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet"]
    variables = {"RWKV_MUSIC_SITE_GALLERY": gallery, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        [*command, "--site-dir", str(folder)],
        cwd=REPOSITORY,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stderr
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, with empty pages in place of the music."""
    return build(tmp_path_factory.mktemp("site"), gallery="empty")


class Page(HTMLParser):
    """The links and anchors of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in {"href", "src"} and value:
                self.links.append(value)
            if name == "id" and value:
                self.anchors.add(value)


def test_every_link_on_the_site_leads_somewhere(site: Path) -> None:
    pages = {path: Page(path) for path in site.rglob("*.html") if path.name != "404.html"}
    broken = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.exists() or (
                parts.fragment and target in pages and parts.fragment not in pages[target].anchors
            ):
                broken.append(f"{path.relative_to(site)}: {link}")
    assert len(pages) > 50
    assert broken == []


def test_the_site_asks_no_other_server_for_anything(site: Path) -> None:
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        for mark in ('src="http', "fonts.googleapis", 'rel="stylesheet" href="http'):
            assert mark not in text, path.name


def test_the_reference_names_every_command_and_every_public_name(site: Path) -> None:
    import rwkv_music
    from rwkv_music.cli import build_parser

    commands = (site / "reference" / "cli.html").read_text(encoding="utf-8")
    help_text = build_parser().format_help()
    assert help_text.count("\n    ") > 10
    for name in ("continue", "fill", "prepare", "train", "doctor", "evaluate", "lab", "merge"):
        assert f'<h2 id="{name}">' in commands
    names = (site / "reference" / "api.html").read_text(encoding="utf-8")
    missing = [name for name in rwkv_music.__all__ if name != "__version__" and name not in names]
    assert missing == []


@pytest.mark.long
def test_the_gallery_plays(tmp_path: Path) -> None:
    site = build(tmp_path / "site", gallery="full")
    pages = list((site / "gallery").glob("*.html"))
    assert len(pages) >= 24
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert '"sound": "' in text
        assert 'data-action="play"' in text
