"""The tutorials run word by word in an empty folder with the examples."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rwkv_music.cli import build_parser

REPOSITORY = Path(__file__).resolve().parents[2]
TUTORIALS = REPOSITORY / "docs" / "tutorials"
PAGES = sorted((REPOSITORY / "docs").rglob("*.md"))
RUN = ("continue", "rewrite", "train")
"""Tutorials whose files are all in the examples."""


def lines_of(page: Path) -> list[str]:
    """Return the lines of a page's shell blocks that call the program."""
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    commands = (line.split("  #")[0].strip() for line in lines)
    return [line for line in commands if line.startswith("rwkv-music ")]


def python_of(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_command_of_a_page_is_understood(page: Path) -> None:
    for line in lines_of(page):
        words = shlex.split(re.sub(r"\$\w+", "3", line))[1:]  # variables of a scheduler
        given = build_parser().parse_args([word for word in words if word not in {"...", "|"}])
        assert given.command or given.version


@pytest.mark.parametrize("name", [*RUN, "large-corpus"])
def test_the_python_of_a_tutorial_runs(name: str, tmp_path: Path) -> None:
    shutil.copytree(REPOSITORY / "examples", tmp_path / "examples")
    for code in python_of(TUTORIALS / f"{name}.md"):
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.long
@pytest.mark.parametrize("name", RUN)
def test_the_commands_of_a_tutorial_run(name: str, tmp_path: Path) -> None:
    shutil.copytree(REPOSITORY / "examples", tmp_path / "examples")
    for line in lines_of(TUTORIALS / f"{name}.md"):
        done = subprocess.run(
            [sys.executable, "-m", "rwkv_music", *shlex.split(line)[1:]],
            cwd=tmp_path,
            env={**os.environ, "SDL_AUDIODRIVER": "dummy"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"


def test_files_with_a_clear_licence_are_linked(tmp_path: Path) -> None:
    """The function of the tutorial on a large corpus, with a table of two files."""
    (tmp_path / "mid").mkdir()
    for name in ("free.mid", "unclear.mid"):
        (tmp_path / "mid" / name).write_bytes(b"MThd")
    table = tmp_path / "table.csv"
    table.write_text("path,clear\nmid/free.mid,True\nmid/unclear.mid,False\n", encoding="utf-8")
    names: dict = {}
    (code,) = python_of(TUTORIALS / "large-corpus.md")
    exec(code, names)  # noqa: S102 - a page of ours
    chosen = tmp_path / "chosen"
    count = names["link_files"](table, chosen, path_column="path", licence_column="clear")
    assert count == 1
    assert [path.name for path in chosen.rglob("*.mid")] == ["free.mid"]
    assert (chosen / "mid" / "free.mid").read_bytes() == b"MThd"
