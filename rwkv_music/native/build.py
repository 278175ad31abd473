"""Compile the native CPU library, once per instruction set.

`python rwkv_music/native/build.py` compiles it in a checkout. The build hook of the wheel loads
this file by its path before anything is installed, so it uses the standard library only.
"""

import argparse
import hashlib
import importlib.util
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCE = HERE / "source"
LIBRARY = HERE / "lib"
STAMP = "sources.sha256"

_AVX512 = (
    *("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma", "-mf16c"),
    "-mprefer-vector-width=512",
)
VARIANTS: dict[str, dict[str, tuple[str, ...]]] = {
    "x86-64": {
        "baseline": (),
        "avx2": ("-mavx2", "-mfma", "-mf16c"),
        "avx512": _AVX512,
        "amx": (*_AVX512, "-mavx512bf16", "-mamx-tile", "-mamx-bf16"),
    },
    "arm64": {"baseline": ()},
}
"""Compiler flags of each variant of an architecture, from the baseline on."""

SUFFIXES = {"linux": ".so", "macos": ".dylib", "windows": ".dll"}
FLAGS = (
    *("-O3", "-std=c++17", "-pthread", "-fvisibility=hidden"),
    *("-ffp-contract=fast", "-fno-math-errno"),
)
NO_COMPILER = (
    "No C++ compiler was found (CXX, c++, g++, clang++ or the package ziglang), so the native CPU "
    "library is left out and the slower PyTorch form is used."
)


class BuildError(Exception):
    """The compiler failed; the message has its output."""


@dataclass(frozen=True)
class Target:
    """A platform to compile for."""

    system: str
    """"linux", "macos", "windows"; any other name is treated as Linux."""
    architecture: str
    """"x86-64", "arm64"; any other name gets the baseline only."""
    tag: str
    """Platform tag of its wheels."""
    triple: str = ""
    """Zig's name of the platform; empty for this machine."""

    @property
    def variants(self) -> dict[str, tuple[str, ...]]:
        """Names and compiler flags of the variants to build; AMX is used on Linux only."""
        variants = VARIANTS.get(self.architecture, {"baseline": ()})
        return {name: flags for name, flags in variants.items() if name != "amx" or self.is_linux}

    @property
    def is_linux(self) -> bool:
        """True also for unknown systems."""
        return self.system not in ("macos", "windows")

    @property
    def names(self) -> list[str]:
        """Names of the library's files, the baseline first."""
        return [self.name_of(variant) for variant in self.variants]

    def name_of(self, variant: str) -> str:
        """Return the file name of a variant."""
        return f"rwkv_music-{variant}{SUFFIXES.get(self.system, '.so')}"


TARGETS = {
    "linux-x86-64": Target(
        "linux", "x86-64", "manylinux_2_17_x86_64.manylinux2014_x86_64", "x86_64-linux-gnu.2.17"
    ),
    "linux-arm64": Target(
        "linux", "arm64", "manylinux_2_17_aarch64.manylinux2014_aarch64", "aarch64-linux-gnu.2.17"
    ),
    "windows-x86-64": Target("windows", "x86-64", "win_amd64", "x86_64-windows-gnu"),
    "macos-x86-64": Target("macos", "x86-64", "macosx_11_0_x86_64", "x86_64-macos.11.0"),
    "macos-arm64": Target("macos", "arm64", "macosx_11_0_arm64", "aarch64-macos.11.0"),
}
"""Platforms of the published wheels."""


def host_target() -> Target:
    """Return the platform of this machine."""
    names = {"amd64": "x86-64", "x86_64": "x86-64", "aarch64": "arm64", "arm64": "arm64"}
    machine = platform.machine().lower()
    system = platform.system().lower().replace("darwin", "macos")
    tag = re.sub(r"[-.]", "_", sysconfig.get_platform())
    if system == "macos":  # Python's own tag may name both architectures, or an older system
        tag = f"macosx_11_0_{machine}"
    return Target(system, names.get(machine, machine), tag)


def exported_functions() -> list[str]:
    """Return the exported functions, in the order of the source files."""
    names = [
        name
        for path in sorted(SOURCE.iterdir())
        for name in re.findall(r"^RM_EXPORT\b[^(;]*?(\w+)\s*\(", path.read_text("utf-8"), re.M)
    ]
    return list(dict.fromkeys(names))


def find_compiler(target: Target) -> list[str] | None:
    """Return the command that compiles C++ for a platform, or None.

    Cross-compilation needs Zig.
    """
    if not target.triple:
        if chosen := os.environ.get("CXX"):
            return shlex.split(chosen)
        # GCC on Windows misaligns wide vectors on the stack (GCC bug 54412), which crashes.
        names = ("clang++",) if target.system == "windows" else ("c++", "g++", "clang++")
        for name in names:
            if path := shutil.which(name):
                return [path]
    if importlib.util.find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang", "c++"]
    return None


def compile_library(
    folder: Path = LIBRARY,
    *,
    compiler: list[str] | None = None,
    target: Target | None = None,
) -> list[Path]:
    """Compile every variant that the compiler supports.

    Args:
        folder: Output folder; files of an earlier build are removed.
        compiler: Command of GCC or Clang; that of `find_compiler` when None.
        target: Platform to compile for; this machine when None.

    Returns:
        The files, the baseline first; empty, after a message, if there is no compiler.

    Raises:
        BuildError: If the compiler fails; the folder is then empty.
    """
    target = target or host_target()
    compiler = compiler or find_compiler(target)
    remove_library(folder)
    if compiler is None:
        print(NO_COMPILER)
        return []
    folder.mkdir(parents=True, exist_ok=True)
    supported = {
        name: flags for name, flags in target.variants.items() if _supports(compiler, flags)
    }
    files = [target.name_of(variant) for variant in supported]
    # Files are replaced, not overwritten, since another process may have them loaded.
    with tempfile.TemporaryDirectory(dir=folder, prefix="building-") as name:
        _compile_variants(compiler, target, supported, Path(name))
        for file in files:
            (Path(name) / file).replace(folder / file)
    (folder / STAMP).write_text("\n".join([_fingerprint(target), *files, ""]), encoding="utf-8")
    return [folder / file for file in files]


def _supports(compiler: list[str], flags: tuple[str, ...]) -> bool:
    """Return whether a compiler supports a variant's flags; AMX needs GCC 11."""
    if not flags or "ziglang" in compiler:
        return True
    command = [*compiler, *flags, "-fsyntax-only", "-x", "c++", "-"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return done.returncode == 0


def present_library(folder: Path = LIBRARY, *, target: Target | None = None) -> list[Path]:
    """Return the library's files, if they were built from the current sources for this machine."""
    target = target or host_target()
    stamp = folder / STAMP
    if not stamp.is_file():
        return []
    fingerprint, *files = stamp.read_text(encoding="utf-8").splitlines() or [""]
    paths = [folder / file for file in files]
    is_current = fingerprint == _fingerprint(target) and all(path.is_file() for path in paths)
    return paths if is_current else []


def remove_library(folder: Path = LIBRARY) -> None:
    """Remove the files of an earlier build."""
    for path in folder.glob("rwkv_music-*"):
        path.unlink()
    (folder / STAMP).unlink(missing_ok=True)


def _compile_variants(
    compiler: list[str], target: Target, variants: dict[str, tuple[str, ...]], folder: Path
) -> None:
    # Two steps, so that Zig builds its C++ runtime once and not once per variant.
    common = [*compiler, *_machine_flags(target), f"-DRWKV_MUSIC_SOURCES={sources_hash()}"]
    shared = [] if target.system == "windows" else ["-fPIC"]
    source = str(SOURCE / "library.cpp")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        steps = [
            pool.submit(
                _run,
                [*common, *FLAGS, *shared, *flags, "-c", source, "-o", f"{folder / variant}.o"],
            )
            for variant, flags in variants.items()
        ]
        for step in steps:
            step.result()
    link = [*_runtime_flags(compiler, target), *_export_flags(target, folder)]
    for variant in variants:
        file = target.name_of(variant)
        into = ["-shared", "-pthread", *shared, *link, *_name_flags(target, file)]
        _run([*common, *into, f"{folder / variant}.o", "-o", str(folder / file)])


def _machine_flags(target: Target) -> Iterator[str]:
    if target.triple:
        yield from ("-target", target.triple)
    elif target.system == "macos":
        yield from ("-arch", platform.machine(), "-mmacosx-version-min=11.0")


def _runtime_flags(compiler: list[str], target: Target) -> Iterator[str]:
    """Link the C++ runtime statically, since the user's may differ or be older."""
    if "ziglang" in compiler:
        yield "-s"  # strips the symbols of the runtime
    elif target.system == "windows":
        yield "-static"
    elif target.system != "macos":
        yield from ("-static-libgcc", "-static-libstdc++", "-s")


def _export_flags(target: Target, folder: Path) -> Iterator[str]:
    """Hide the C++ runtime, or it would be shared with the one loaded by torch."""
    if target.system in ("macos", "windows"):  # which hide it by default
        return
    names = " ".join(f"{name};" for name in exported_functions())
    script = folder / "exports.map"
    script.write_text(f"{{ global: {names} local: *; }};\n", encoding="utf-8")
    yield f"-Wl,--version-script={script}"


def _name_flags(target: Target, file: str) -> Iterator[str]:
    if target.system == "macos":  # or the library would contain its build path
        yield f"-Wl,-install_name,@rpath/{file}"


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BuildError(f"{shlex.join(command)} failed:\n{done.stderr.strip()}")


def sources_hash(folder: Path = SOURCE) -> int:
    """Return an integer hash of the sources.

    The library contains it, so that a library built from other sources is not used.
    """
    return int(_digest(sorted(folder.iterdir())).hexdigest()[:15], 16)


def _fingerprint(target: Target) -> str:
    """Return a hash of everything the library depends on, except the compiler."""
    digest = _digest([Path(__file__), *sorted(SOURCE.iterdir())])
    digest.update(repr(target).encode())
    return digest.hexdigest()


def _digest(paths: Iterable[Path]) -> "hashlib._Hash":
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest


def renew_library(folder: Path = LIBRARY, *, target: Target | None = None) -> list[Path]:
    """Return the library's files, compiled again if the sources changed (see `compile_library`)."""
    return present_library(folder, target=target) or compile_library(folder, target=target)


def main() -> int:
    """Compile the library in the checkout and print its files."""
    parser = argparse.ArgumentParser(description="Compile the native CPU library in this folder.")
    parser.add_argument("--if-changed", action="store_true", help="only if the sources changed")
    try:
        paths = renew_library() if parser.parse_args().if_changed else compile_library()
    except BuildError as error:
        print(f"{error}\nThe native CPU library was not built; the slower PyTorch form is used.")
        return 1
    if paths:
        print("Native CPU library:", ", ".join(path.name for path in paths))
    return 0


if __name__ == "__main__":
    sys.exit(main())
