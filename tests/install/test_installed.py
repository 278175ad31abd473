"""The wheel and the source distribution work where nothing of this checkout is."""

import shutil
import subprocess
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from rwkv_music.native import build
from tests.install.environments import (
    PIP,
    REPOSITORY,
    build_distributions,
    empty_environment,
    fresh_environment,
    install_alone,
    users_variables,
)
from tests.install.journey import Journey

needs_compiler = pytest.mark.skipif(
    build.find_compiler(build.host_target()) is None,
    reason="there is no C++ compiler: install g++",
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that an installation from this checkout would make."""
    return build_distributions(tmp_path_factory.mktemp("wheel"), "wheel")


@needs_compiler
def test_the_wheel_makes_music_without_this_checkout_and_without_a_compiler(
    wheel: Path, tmp_path: Path
) -> None:
    names = sorted([*build.host_target().names, build.STAMP])
    assert sorted(natives_in(wheel)) == names
    environment = tmp_path / "environment"
    python = fresh_environment(environment)
    install_alone(python, wheel)
    shared = environment / "share" / "rwkv-music"
    for folder in ("notebooks", "examples"):
        committed = {path.name for path in (REPOSITORY / folder).glob("*.[im]*")}
        assert {path.name for path in (shared / folder).glob("*.[im]*")} == committed
    Journey(environment, tmp_path / "user").hear()
    variant, path = probe(python, users_variables(environment, tmp_path), tmp_path)
    assert variant in build.host_target().variants
    assert Path(path).is_relative_to(environment)


def natives_in(wheel: Path) -> list[str]:
    """Return the native library's files in a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return [Path(name).name for name in archive.namelist() if "/native/lib/" in name]


def probe(python: Path, variables: dict[str, str], folder: Path) -> list[str]:
    """Check the installed native library; return its variant and file."""
    command = [str(python), str(REPOSITORY / "tools" / "probe_native.py")]
    done = subprocess.run(
        command, env=variables, cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip().split("\t")


def test_the_source_distribution_holds_what_building_and_testing_need(tmp_path: Path) -> None:
    sdist = build_distributions(tmp_path, "sdist")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    version = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    assert sdist.name == f"rwkv_music-{version}.tar.gz"
    sources = (REPOSITORY / "rwkv_music" / "native").rglob("*.[ch]*")
    needed = {path.relative_to(REPOSITORY).as_posix() for path in sources if path.is_file()}
    assert needed
    needed |= {"hatch_build.py", "constraints.txt", "Makefile", "notebooks/00_start_here.ipynb"}
    assert {name for name in needed if "/lib/" not in name} <= names
    assert [name for name in names if "/native/lib/" in name or name.startswith("runs/")] == []


@pytest.mark.long
@needs_compiler
@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_a_stranger_installs_it_plays_trains_evaluates_and_opens_the_notebooks(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Everything comes from the package index; a wheel is made of the sdist as pip does it."""
    distribution = build_distributions(tmp_path / "dist", kind)
    environment = tmp_path / "environment"
    python = empty_environment(environment)
    constraints = str(REPOSITORY / "constraints.txt")
    install = [*PIP, "--python", str(python), "install", "-c", constraints]
    subprocess.run([*install, f"{distribution}[lab,playback]"], check=True, capture_output=True)
    journey = Journey(environment, tmp_path / "user")
    journey.hear()
    journey.fill()
    journey.train()
    journey.evaluate()
    journey.notebook()
    with capsys.disabled():
        print(f"\n{kind}:", ", ".join(f"{name} {s:.1f} s" for name, s in journey.times.items()))
    shutil.rmtree(environment)
