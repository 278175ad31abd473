"""`rwkv-music lab`: open JupyterLab on the guided notebooks."""

import argparse
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from rwkv_music.cli.options import add_command
from rwkv_music.cli.terminal import print_message
from rwkv_music.errors import InputError, MissingExtraError

_FIRST_NOTEBOOK = "01_continue.ipynb"
_AS_ROOT = ("--allow-root", "--ip=127.0.0.1")


def add_parser(commands: Any) -> None:  # noqa: ANN401 - argparse's own
    """Describe the command."""
    parser = add_command(
        commands,
        "lab",
        run,
        summary="Open JupyterLab in FOLDER, on the first guided notebook if it is there.",
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
    parser.add_argument(
        "flags",
        metavar="...",
        nargs=argparse.REMAINDER,
        help="options for JupyterLab, such as --no-browser or --port 9000",
    )


def run(given: argparse.Namespace) -> int:
    """Start JupyterLab and wait for it to end."""
    if importlib.util.find_spec("jupyterlab") is None:
        raise MissingExtraError("the notebook", "jupyterlab", "lab")
    if not given.folder.is_dir():
        raise InputError(f"{given.folder} is not a folder: give the one with your notebooks")
    first = given.folder / _FIRST_NOTEBOOK
    start = first if first.exists() else given.folder
    flags = [*root_flags(), *given.flags]
    if is_root():
        print_message(
            "running as root: JupyterLab is started with --allow-root and listens on this machine "
            "only (127.0.0.1)"
        )
    command = [sys.executable, "-m", "jupyterlab", str(start), *flags]
    return subprocess.run(command, check=False).returncode


def is_root() -> bool:
    """Whether this process runs as root, as it does in most containers."""
    return hasattr(os, "geteuid") and os.geteuid() == 0


def root_flags() -> tuple[str, ...]:
    """Return the options with which JupyterLab starts as root, reachable from this machine only."""
    return _AS_ROOT if is_root() else ()
