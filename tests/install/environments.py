"""Fresh Python environments, and the distributions that are installed into them."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]


def build_distributions(folder: Path, *kinds: str) -> Path:
    """Build "wheel", "sdist" or both from this checkout; return the last one named."""
    for kind in kinds:
        command = [sys.executable, "-m", "build", f"--{kind}", "--no-isolation"]
        subprocess.run(
            [*command, "--outdir", str(folder), str(REPOSITORY)], check=True, capture_output=True
        )
    (path,) = folder.glob("*.whl" if kinds[-1] == "wheel" else "*.tar.gz")
    return path


def program(folder: Path, name: str) -> Path:
    """Return the path of a program of an environment."""
    return folder / ("Scripts" if os.name == "nt" else "bin") / name


def empty_environment(folder: Path) -> Path:
    """Make an environment without any package and return its Python."""
    venv.create(folder, symlinks=os.name != "nt")
    return program(folder, "python.exe" if os.name == "nt" else "python")


def fresh_environment(folder: Path) -> Path:
    """Make an environment that sees torch and the like, but not this checkout; return its Python.

    The packages are those of the environment of these tests, by a line in a .pth file. Its own .pth
    files, of which an editable installation of this checkout is one, are not read.
    """
    python = empty_environment(folder)
    variables = {"base": str(folder), "platbase": str(folder)}
    scheme = "venv" if "venv" in sysconfig.get_scheme_names() else "posix_prefix"
    site = Path(sysconfig.get_path("purelib", scheme, vars=variables))
    (site / "packages.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return python


def install_alone(python: Path, distribution: Path) -> None:
    """Install a wheel into a fresh environment, without its dependencies and without a network."""
    command = [*PIP, "--python", str(python), "install", "--no-deps", "--no-index"]
    subprocess.run([*command, str(distribution)], check=True, capture_output=True)


def users_variables(environment: Path, home: Path) -> dict[str, str]:
    """Return the variables of a user whose PATH holds nothing but the environment's programs.

    No compiler, no setting of ours and no sound device is in them; the home folder is new.
    """
    ours = ("RWKV_MUSIC_", "JUPYTER", "PYTHONPATH", "CXX", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {
        **kept,
        "PATH": str(program(environment, "")),
        "HOME": str(home),
        "IPYTHONDIR": str(home / "ipython"),
        "RWKV_MUSIC_CACHE": str(home / "cache"),
        "SDL_AUDIODRIVER": "dummy",
    }
