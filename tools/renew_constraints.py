"""Renew constraints.txt to the newest versions that fit together, or check it for every Python.

    python tools/renew_constraints.py          # as far as needed for pyproject.toml
    python tools/renew_constraints.py --upgrade  # everything
    python tools/renew_constraints.py --check  # is there a wheel of every pin for every Python?

uv resolves for all Pythons and platforms at once. torch keeps its version, since its builds are
tested one by one; what torch pins itself is left out. Markers that are in the file stay.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parents[1]
CONSTRAINTS = REPOSITORY / "constraints.txt"
EXTRAS = ("dev", "wheels")
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
PLATFORMS = ("x86_64-manylinux_2_28", "aarch64-manylinux_2_28", "macos", "windows")
_MACOS = "14.0"  # torch's wheels ask for it
_ELSEWHERE = re.compile(r"== .emscripten")  # Python in a browser
_TORCHS_OWN = re.compile(r"(nvidia-(?!ml-py)|cuda-bindings$|cuda-toolkit$|triton$)")


def main() -> int:
    """Renew the file, or check it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="only look for wheels of every pin")
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions")
    given = parser.parse_args()
    before = CONSTRAINTS.read_text(encoding="utf-8")
    if given.check:
        problems = missing_wheels(CONSTRAINTS)
        print("\n".join(problems) or "every pin has a wheel for every Python and platform")
        return 1 if problems else 0
    CONSTRAINTS.write_text(renewed(before, resolved(before, given.upgrade)), encoding="utf-8")
    return 0


def resolved(before: str, upgrade: bool) -> str:
    """Return the pins that uv finds for all extras, with the markers that they need."""
    extras = [f"--extra={name}" for name in EXTRAS]
    with tempfile.TemporaryDirectory() as folder:
        output, torch = Path(folder) / "pins.txt", Path(folder) / "torch.txt"
        kept = "\n".join(line for line in before.splitlines() if not line.startswith("#"))
        output.write_text(kept, encoding="utf-8")  # preferred versions, unless upgrading
        torch.write_text(str(pins(before)["torch"]), encoding="utf-8")
        _uv(
            ["--universal", "--python-version", PYTHONS[0], "--fork-strategy", "fewest"],
            ["--no-strip-markers", "-c", str(torch), *extras, *(["--upgrade"] * upgrade)],
            [str(REPOSITORY / "pyproject.toml"), "-o", str(output)],
        )
        return output.read_text(encoding="utf-8")


def missing_wheels(path: Path) -> list[str]:
    """Return what uv says for each Python and platform for which a pin of the file has no wheel."""
    problems = []
    for python in PYTHONS:
        for platform in PLATFORMS:
            options = ["--python-version", python, "--python-platform", platform]
            try:
                _uv(options, ["--no-deps", "--only-binary", ":all:"], [str(path)])
            except subprocess.CalledProcessError as error:
                problems.append(f"Python {python}, {platform}: {error.stderr.strip()}")
    return problems


def _uv(*arguments: list[str]) -> None:
    """Run uv's resolver.

    Raises:
        CalledProcessError: If it finds no solution; `stderr` says why.
    """
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-header"]
    flat = [argument for group in arguments for argument in group]
    subprocess.run(
        [*command, "--no-annotate", "--native-tls", *flat],
        env={**os.environ, "MACOSX_DEPLOYMENT_TARGET": _MACOS},
        capture_output=True, text=True, check=True,
    )  # fmt: skip


def renewed(before: str, resolved: str) -> str:
    """Return the file with new versions.

    Args:
        before: The file as it is; its comments stay, and so does the marker of a pin, or its
            absence.
        resolved: Pins as uv writes them.
    """
    lines = [line for line in before.splitlines() if line.startswith("#")]
    old = pins(before)
    for name, pin in sorted(pins(resolved).items()):
        marker = old[name].marker if name in old else pin.marker
        if _TORCHS_OWN.match(name) or _ELSEWHERE.search(str(marker)):
            continue
        text = f"{name}{pin.specifier}" + (f" ; {marker}" if marker else "")
        lines.append(text.replace('"', "'"))
    return "\n".join(lines) + "\n"


def pins(text: str) -> dict[str, Requirement]:
    """Return the pins of a file by name.

    Raises:
        ValueError: If a package is pinned twice, which pip would refuse for some Python.
    """
    pinned: dict[str, Requirement] = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            pin = Requirement(line)
            name = canonicalize_name(pin.name)
            if name in pinned:
                raise ValueError(f"{name} is pinned twice: {pinned[name]} and {pin}")
            pinned[name] = pin
    return pinned


if __name__ == "__main__":
    sys.exit(main())
