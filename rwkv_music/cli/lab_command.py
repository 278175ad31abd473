"""`rwkv-music lab`: open JupyterLab on the guided notebooks."""

import argparse
import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

from rwkv_music.cli.options import add_command
from rwkv_music.errors import InputError, MissingExtraError

_FIRST = "01_continue.ipynb"


def add_parser(commands: Any) -> None:  # noqa: ANN401 - argparse's own
    """Describe the command."""
    parser = add_command(
        commands,
        "lab",
        run,
        summary="Open JupyterLab in FOLDER, on the guided notebook if it is there.",
        example="rwkv-music lab notebooks/",
    )
    parser.add_argument(
        "folder",
        metavar="FOLDER",
        type=Path,
        nargs="?",
        default=Path("notebooks"),
        help="folder with notebooks (default: %(default)s)",
    )


def run(given: argparse.Namespace) -> int:
    """Start JupyterLab and wait for it."""
    if importlib.util.find_spec("jupyterlab") is None:
        raise MissingExtraError("the notebook", "jupyterlab", "lab")
    if not given.folder.is_dir():
        raise InputError(f"{given.folder} is not a folder: name the one with your notebooks")
    first = given.folder / _FIRST
    place = first if first.exists() else given.folder
    return subprocess.run([sys.executable, "-m", "jupyterlab", str(place)], check=False).returncode
