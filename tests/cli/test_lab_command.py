"""`rwkv-music lab` and `make lab`: JupyterLab starts, for root and for other users."""

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from rwkv_music.cli import lab_command, main
from rwkv_music.errors import InputError
from tests.skips import NO_JUPYTERLAB

REPOSITORY = Path(__file__).resolve().parents[2]
NOBODY = "65534"
START_SECONDS = 120

AS_ROOT = ([], ["sudo", "-n", "-E"], ["unshare", "--user", "--map-root-user"])
AS_OTHER = (
    [],
    ["setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"],
    ["unshare", "--user"],
)
"""Ways to run a command as root, and as another user; `[]` is as the tests are run."""


def prefix_for(prefixes: tuple[list[str], ...], *, root: bool) -> list[str]:
    """Return the first prefix that works here; skip the test if there is none."""
    code = (
        "import os, subprocess, sys, jupyterlab, rwkv_music.cli\n"
        "open('notebooks/01_continue.ipynb').close()\n"
        "subprocess.run([sys.executable, '-c', ''], check=True)\n"
        "print(os.geteuid())"
    )
    for prefix in prefixes:
        if prefix and shutil.which(prefix[0]) is None:
            continue
        done = subprocess.run(
            [*prefix, sys.executable, "-c", code],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0 and (done.stdout.strip() == "0") == root:
            return prefix
    pytest.skip(f"no command here runs as {'root' if root else 'a user other than root'}")


def make_lab_command(flags: str) -> list[str]:
    """Return what `make lab` runs, with the interpreter of these tests."""
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    (recipe,) = re.findall(r"^lab:.*\n\t(.*)$", makefile, flags=re.MULTILINE)
    program, *arguments = shlex.split(recipe.replace("$(LAB_FLAGS)", flags))
    assert program == "$(BIN)/rwkv-music"
    return [sys.executable, "-m", "rwkv_music", *arguments]


@pytest.fixture
def home() -> Iterator[Path]:
    """A home folder that every user may write to; pytest's own are private."""
    folder = Path(tempfile.mkdtemp(prefix="rwkv-music-lab-"))
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def version_of_server(port: int, process: subprocess.Popen[str]) -> str:
    """Wait until a server answers, and return its version."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api", timeout=5) as answer:
                return str(json.load(answer)["version"])
        except OSError:
            if process.poll() is not None:
                break
            time.sleep(0.2)
    process.kill()
    assert process.stderr is not None
    pytest.fail(f"JupyterLab does not answer: {process.stderr.read()[-2000:]}")


def listening_elsewhere(pid: int, port: int) -> set[str]:
    """Return the addresses other than 127.0.0.1 on which a process and its children listen."""
    addresses = set()
    server = psutil.Process(pid)
    for process in [server, *server.children(recursive=True)]:
        # Some are of another user, and some have ended since they were listed.
        with contextlib.suppress(psutil.AccessDenied, psutil.NoSuchProcess):
            addresses |= {
                connection.laddr.ip
                for connection in process.net_connections("tcp")
                if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
            }
    return addresses - {"127.0.0.1", "::1"}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no root, and make lab needs a shell")
@pytest.mark.parametrize("root", [True, False], ids=["root", "another user"])
def test_make_lab_starts_a_server_on_this_machine_only(root: bool, home: Path) -> None:
    pytest.importorskip("jupyterlab", reason=NO_JUPYTERLAB)
    prefix = prefix_for(AS_ROOT if root else AS_OTHER, root=root)
    port = free_port()
    command = make_lab_command(f"--no-browser --port={port}")
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("JUPYTER")
    }
    process = subprocess.Popen(
        [*prefix, *command],
        cwd=REPOSITORY,
        env={**environment, "HOME": str(home), "JUPYTER_RUNTIME_DIR": str(home / "runtime")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert version_of_server(port, process)
        assert not listening_elsewhere(process.pid, port)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        _, error = process.communicate(timeout=60)
    assert ("running as root: JupyterLab is started with --allow-root" in error) == root


@pytest.mark.parametrize("root", [True, False])
def test_allow_root_is_passed_to_root_only(
    root: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "00_start_here.ipynb").touch()
    commands: list[list[str]] = []

    def run(command: list[str], *, check: bool) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(command, 3)

    monkeypatch.setattr(lab_command, "is_root", lambda: root)
    monkeypatch.setattr(subprocess, "run", run)
    assert main(["lab", str(tmp_path), "--port", "9000"]) == 3
    (command,) = commands
    assert command[1:4] == ["-m", "jupyterlab", str(tmp_path / "00_start_here.ipynb")]
    assert command[4:] == [*(["--allow-root", "--ip=127.0.0.1"] if root else []), "--port", "9000"]
    assert ("running as root" in capsys.readouterr().err) == root


def test_options_for_jupyterlab_need_no_folder_before_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], *, check: bool) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(lab_command, "is_root", lambda: False)
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.chdir(tmp_path)
    assert main(["lab", "--port", "9000"]) == 0
    first = Path("rwkv-music", "notebooks", "00_start_here.ipynb")
    assert commands[0][3:] == [str(first), "--port", "9000"]
    assert first.exists()


@pytest.mark.parametrize("arguments", [[], ["lab"], ["lab", "--help"], ["play", "--loud"]])
def test_other_command_lines_stay_as_they_are(arguments: list[str]) -> None:
    assert lab_command.with_folder(arguments) == arguments


def test_notebooks_are_copied_to_a_new_folder_and_never_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "my music"
    first = lab_command.start_page(folder)
    assert first == folder / "notebooks" / "00_start_here.ipynb"
    assert (folder / "examples" / "prompt.mid").exists()
    assert (folder / "examples" / "music" / "bell.mid").exists()
    first.write_text("mine")
    (folder / "notebooks" / "01_continue.ipynb").unlink()
    assert lab_command.start_page(folder) == first
    assert first.read_text() == "mine"
    assert (folder / "notebooks" / "01_continue.ipynb").exists()


def test_a_folder_with_notebooks_is_opened_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "song.ipynb").touch()
    assert lab_command.start_page(tmp_path) == tmp_path
    assert [path.name for path in tmp_path.iterdir()] == ["song.ipynb"]


def test_notebooks_of_an_installed_package_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site-packages" / "rwkv_music" / "cli" / "lab_command.py"
    monkeypatch.setattr(lab_command, "__file__", str(package))
    monkeypatch.setattr(lab_command.sysconfig, "get_path", lambda _name: str(tmp_path))
    with pytest.raises(InputError, match="the guided notebooks are not in "):
        lab_command.guide_folder()
    shared = tmp_path / "share" / "rwkv-music"
    (shared / "notebooks").mkdir(parents=True)
    (shared / "notebooks" / "00_start_here.ipynb").touch()
    assert lab_command.guide_folder() == shared


def test_a_file_is_no_folder_for_notebooks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("jupyterlab", reason=NO_JUPYTERLAB)
    (tmp_path / "file").touch()
    assert main(["lab", str(tmp_path / "file")]) == 2
    assert "file is a file: give a folder for your notebooks" in capsys.readouterr().err
