"""Check wheels of rwkv-music without the machines they are for.

For every library in a wheel: its architecture is that of the wheel's tag, it exports exactly the
functions of the sources, and it needs only system libraries and no newer system than the tag says.
Libraries for this machine are also run, and their results are compared with the reference.

    python tools/check_wheels.py dist/*.whl
"""

import ctypes
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import lief
from packaging.tags import sys_tags
from packaging.utils import parse_wheel_filename

from rwkv_music.native import build

FOLDER = "rwkv_music/native/lib/"
SYSTEM_LIBRARIES = {
    "linux": r"lib(c|m|pthread|dl)\.so\.\d|ld-linux-(x86-64\.so\.2|aarch64\.so\.1)",
    "macos": r"/usr/lib/libSystem\.B\.dylib",
    "windows": r"kernel32\.dll|ucrtbase\.dll|api-ms-win-[\w-]+\.dll",
}
"""Regular expressions of system libraries."""

HARMLESS = r"__Z(n[aw]|d[al])\w*|__mh_dylib_header|___dso_handle"
"""Additional exports of Zig on macOS: C++'s new and delete, which any library may replace."""

PROBE = Path(__file__).parent / "probe_native.py"


@dataclass(frozen=True)
class Library:
    """Properties read from a library file."""

    architecture: str
    exports: frozenset[str]
    needs: tuple[str, ...]
    """Names of other libraries."""
    version: tuple[int, ...]
    """Required version of glibc or macOS; empty on Windows."""
    is_signed: bool = True
    """False if macOS would not load it."""


def read_library(path: Path) -> Library:
    """Read an ELF, Mach-O or PE file.

    Raises:
        ValueError: If it is another kind of file.
    """
    binary = lief.parse(path)
    if isinstance(binary, lief.ELF.Binary):
        return _read_elf(binary)
    if isinstance(binary, lief.MachO.Binary):
        return _read_mach_o(binary)
    if isinstance(binary, lief.PE.Binary):
        machine = str(binary.header.machine).rpartition(".")[2]
        exports = frozenset(str(entry.name) for entry in binary.exported_functions)
        names = tuple(str(name) for name in binary.libraries)
        return Library({"AMD64": "x86-64"}.get(machine, machine), exports, names, ())
    raise ValueError(f"{path} is not an ELF, Mach-O or PE library: build it again")


def _read_elf(binary: lief.ELF.Binary) -> Library:
    machine = str(binary.header.machine_type).rpartition(".")[2]
    exports = frozenset(str(entry.name) for entry in binary.exported_functions)
    symbols = (
        str(symbol.name)
        for requirement in binary.symbols_version_requirement
        for symbol in requirement.get_auxiliary_symbols()
    )
    glibc = [_numbers(name) for name in symbols if name.startswith("GLIBC_")]
    return Library(
        {"X86_64": "x86-64", "AARCH64": "arm64"}.get(machine, machine),
        exports,
        tuple(str(name) for name in binary.libraries),
        max(glibc, default=()),
    )


def _read_mach_o(binary: lief.MachO.Binary) -> Library:
    machine = str(binary.header.cpu_type).rpartition(".")[2]
    exports = frozenset(str(entry.name) for entry in binary.exported_functions)
    own_name = lief.MachO.LoadCommand.TYPE.ID_DYLIB
    return Library(
        {"X86_64": "x86-64", "ARM64": "arm64"}.get(machine, machine),
        frozenset(name.removeprefix("_") for name in exports if not re.fullmatch(HARMLESS, name)),
        tuple(str(entry.name) for entry in binary.libraries if entry.command != own_name),
        tuple(binary.build_version.minos[:2]),
        is_signed=machine != "ARM64" or binary.has_code_signature,
    )


def problems(library: Library, target: build.Target) -> list[str]:
    """Return what is wrong with a library for a platform, one sentence each."""
    expected = frozenset(build.exported_functions())
    allowed = SYSTEM_LIBRARIES[target.system]
    foreign = [name for name in library.needs if not re.fullmatch(allowed, name, re.IGNORECASE)]
    limit = _numbers(target.tag) if target.triple else library.version
    checks = {
        f"it is for {library.architecture}": library.architecture != target.architecture,
        f"it lacks {_listed(expected - library.exports)}": expected - library.exports,
        f"it also exports {_listed(library.exports - expected)}": library.exports - expected,
        f"it needs {_listed(foreign)}": foreign,
        f"it needs system {library.version}, the tag says {limit}": library.version > limit,
        "it is not signed": not library.is_signed,
    }
    return [sentence for sentence, failed in checks.items() if failed]


def target_of(wheel: Path) -> build.Target | None:
    """Return the platform in a wheel's name, or None for any.

    Raises:
        ValueError: If no wheels are built for this platform.
    """
    platforms = {tag.platform for tag in parse_wheel_filename(wheel.name)[3]}
    for target in (*build.TARGETS.values(), build.host_target()):
        if set(target.tag.split(".")) == platforms:
            return target
    if platforms == {"any"}:
        return None
    raise ValueError(f"{wheel.name} is for an unknown platform: give wheels built by make wheels")


def run_library(site: Path, variant: str, target: build.Target) -> str:
    """Run a library and compare its results, if this machine can run it.

    Args:
        site: Folder with the wheel's content.
        variant: Variant of the library.
        target: Platform of the wheel.

    Returns:
        How far the library was checked.

    Raises:
        ValueError: If it cannot be loaded or its results differ.
    """
    if not {tag.platform for tag in sys_tags()} & set(target.tag.split(".")):
        return "symbols checked, not run"
    level = ctypes.CDLL(str(site / FOLDER / target.names[0])).rwkv_music_level()
    if list(target.variants).index(variant) > level:
        return "symbols checked, not run: this processor lacks it"
    environment = {**os.environ, "PYTHONPATH": str(site), "RWKV_MUSIC_NATIVE": variant}
    command = [sys.executable, str(PROBE)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0 or f"{variant}\t{site}" not in done.stdout:
        raise ValueError(f"running {variant} fails: {done.stdout.strip()} {done.stderr.strip()}")
    return "run here, results agree"


def check_wheel(wheel: Path) -> list[tuple[str, str]]:
    """Return the variants in a wheel, each with how far it was checked.

    Raises:
        ValueError: If the wheel is wrong; the message says what.
    """
    target = target_of(wheel)
    expected = [] if target is None else target.names
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(wheel) as archive:
        inside = [name for name in archive.namelist() if name.startswith(FOLDER)]
        libraries = {name.removeprefix(FOLDER) for name in inside} - {build.STAMP}
        if libraries != set(expected):
            raise ValueError(f"{wheel.name} contains {_listed(libraries)}, not {_listed(expected)}")
        if target is None:
            return [("none", "pure Python")]
        archive.extractall(folder)
        paths = [Path(folder) / FOLDER / name for name in expected]
        for path in paths:
            if wrong := problems(read_library(path), target):
                raise ValueError(f"{path.name} in {wheel.name}: {'; '.join(wrong)}")
        return [
            (variant, run_library(Path(folder), variant, target)) for variant in target.variants
        ]


def main(wheels: list[str]) -> int:
    """Check the wheels and print a table of their content."""
    lief.logging.disable()  # suppress messages about skipped parts of a file
    failures = 0
    for wheel in map(Path, wheels):
        try:
            for variant, verdict in check_wheel(wheel):
                print(f"{wheel.name:76} {variant:9} {verdict}")
        except ValueError as error:
            failures += 1
            print(f"WRONG: {error}")
    return 1 if failures or not wheels else 0


def _numbers(text: str) -> tuple[int, ...]:
    """Return the first version in a text: (2, 17) for manylinux_2_17 or GLIBC_2.17."""
    match = re.search(r"_(\d+)[._](\d+)", text)
    return tuple(map(int, match.groups())) if match else ()


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
