"""`rwkv-music lab`: open JupyterLab on the guided notebooks, copied to a folder if needed."""

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rwkv_music.cli.options import add_command
from rwkv_music.cli.terminal import print_message
from rwkv_music.errors import InputError, MissingExtraError, write_errors

_FIRST_NOTEBOOK = "00_start_here.ipynb"
_GUIDE = ("notebooks", "examples")
_NEW_FOLDER = "rwkv-music"
_HELP = ("-h", "--help")
_AS_ROOT = ("--allow-root", "--ip=127.0.0.1")


def add_parser(commands: Any) -> None:  # noqa: ANN401 - argparse's own
    """Describe the command."""
    parser = add_command(
        commands,
        "lab",
        run,
        summary="Open JupyterLab on the guided notebooks in FOLDER; a folder without any gets "
        "copies of them. No file is replaced.",
        example="rwkv-music lab my-music/",
    )
    parser.add_argument(
        "folder",
        metavar="FOLDER",
        type=Path,
        nargs="?",
        help=f"folder with notebooks (default: notebooks if it exists, {_NEW_FOLDER} otherwise)",
    )
    parser.add_argument(
        "flags",
        metavar="...",
        nargs=argparse.REMAINDER,
        help="options for JupyterLab, such as --no-browser or --port 9000",
    )


def with_folder(arguments: Sequence[str]) -> list[str]:
    """Insert the default folder before the options for JupyterLab if no folder is given.

    argparse cannot leave out a positional argument that options of another program follow.
    """
    command, *others = arguments or [""]
    if command != "lab" or not others or not others[0].startswith("-") or others[0] in _HELP:
        return list(arguments)
    return [command, str(default_folder()), *others]


def run(given: argparse.Namespace) -> int:
    """Start JupyterLab and wait for it to end."""
    if importlib.util.find_spec("jupyterlab") is None:
        raise MissingExtraError("the notebook", "jupyterlab", "lab")
    start = start_page(default_folder() if given.folder is None else given.folder)
    flags = [*root_flags(), *given.flags]
    if is_root():
        print_message(
            "running as root: JupyterLab is started with --allow-root and listens on this machine "
            "only (127.0.0.1)"
        )
    command = [sys.executable, "-m", "jupyterlab", str(start), *flags]
    return subprocess.run(command, check=False).returncode


def default_folder() -> Path:
    """Return the folder to open if none is given."""
    notebooks = Path(_GUIDE[0])
    return notebooks if notebooks.is_dir() else Path(_NEW_FOLDER)


def start_page(folder: Path) -> Path:
    """Return the notebook or folder to open, after copying the guide to a folder without notebooks.

    Raises:
        InputError: If the folder is a file, or cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file: give a folder for your notebooks")
    if next(folder.glob("*.ipynb"), None) is None:
        copy_guide(folder)
        folder = folder / _GUIDE[0]
    first = folder / _FIRST_NOTEBOOK
    return first if first.exists() else folder


def copy_guide(folder: Path) -> None:
    """Copy the guided notebooks and their examples to a folder; files that exist stay.

    Raises:
        InputError: If the notebooks are not installed, or the folder cannot be written.
    """
    source = guide_folder()
    with write_errors(folder):
        for name in _GUIDE:
            for path in sorted((source / name).rglob("*")):
                target = folder / path.relative_to(source)
                if path.is_file() and not target.exists():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(path, target)


def guide_folder() -> Path:
    """Return the folder with the notebooks: of the source tree, or of the installed package.

    Raises:
        InputError: If there is none.
    """
    tree = Path(__file__).resolve().parents[2]
    installed = Path(sysconfig.get_path("data")) / "share" / "rwkv-music"
    for folder in (tree, installed):
        if (folder / _GUIDE[0] / _FIRST_NOTEBOOK).exists():
            return folder
    raise InputError(
        f"the guided notebooks are not in {installed}: install rwkv-music again, or give a folder "
        "with notebooks of your own"
    )


def is_root() -> bool:
    """Whether this process runs as root, as it does in most containers."""
    return hasattr(os, "geteuid") and os.geteuid() == 0


def root_flags() -> tuple[str, ...]:
    """Return the options with which JupyterLab starts as root, reachable from this machine only."""
    return _AS_ROOT if is_root() else ()
