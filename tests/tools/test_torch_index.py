"""`make lab` installs PyTorch's CPU build where no other is of use, and only there."""

import importlib.util
import platform
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    """tools/torch_index.py."""
    return load_tool("torch_index")


def load_tool(name: str) -> ModuleType:
    """Import a module of tools/, which is no package."""
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("system", "machine", "settings", "gpu", "expected"),
    [
        ("Linux", "x86_64", "", False, True),
        ("Linux", "x86_64", "", True, False),
        ("Linux", "aarch64", "", False, False),
        ("Darwin", "x86_64", "", False, False),
        ("Windows", "AMD64", "", False, False),
        ("Linux", "x86_64", "global.extra-index-url='file:///packages'", False, False),
        ("Linux", "x86_64", "PIP_FIND_LINKS='/wheels'", False, False),
        ("Linux", "x86_64", ":env:.timeout='60'\nPIP_CACHE_DIR='/cache'", False, True),
    ],
)
def test_the_cpu_build_is_taken_only_where_it_is_smaller_and_pip_is_not_told_otherwise(
    tool: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    system: str,
    machine: str,
    settings: str,
    gpu: bool,
    expected: bool,
) -> None:
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(tool, "pip_settings", lambda: settings)
    monkeypatch.setattr(tool, "has_gpu", lambda _root: gpu)
    assert tool.main() == 0
    shown = capsys.readouterr()
    assert shown.out == (f"{tool.CPU_INDEX}\n" if expected else "")
    assert ("No NVIDIA GPU was found" in shown.err) == expected


@pytest.mark.parametrize("name", ["dev/nvidiactl", "dev/dxg"])
def test_a_gpu_is_known_by_the_files_of_its_driver(
    tool: ModuleType, tmp_path: Path, name: str
) -> None:
    assert not tool.has_gpu(tmp_path)
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).touch()
    assert tool.has_gpu(tmp_path)


def test_settings_of_pip_from_the_environment_are_seen(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "file:///packages")
    assert tool.pip_looks_elsewhere(tool.pip_settings())


@pytest.mark.skipif(platform.system() == "Windows", reason="make needs a shell")
@pytest.mark.parametrize(
    ("index", "flags", "expected"),
    [
        ("https://example.org/cpu", [], "--index-url https://example.org/cpu torch"),
        ("", [], ""),
        ("https://example.org/cpu", ["TORCH=default"], ""),
    ],
)
def test_make_installs_torch_first_from_the_index_of_the_tool(
    tmp_path: Path, index: str, flags: list[str], expected: str
) -> None:
    """With a Python and a pip that only note what they are asked for."""
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(
        "#!/bin/sh\n"
        f'case "$*" in tools/torch_index.py) echo "{index}";; *) echo "$*" >> asked;; esac\n'
    )
    python.chmod(0o755)
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_bytes((REPOSITORY / name).read_bytes())
    command = ["make", "--silent", ".venv/installed", "PYTHON=true", *flags]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    asked = (tmp_path / "asked").read_text()
    assert ("--no-deps" in asked) == bool(expected), done.stderr
    assert expected in asked
    assert "-e .[lab,playback,gpu]" in asked
