"""Print the package index of PyTorch's CPU builds if this machine has no use for another build.

    python tools/torch_index.py

On Linux x86-64, PyPI's torch brings CUDA along, which takes gigabytes. Without an NVIDIA GPU the
CPU build computes the same. Nothing is printed if there is a GPU, if another system or processor
gets a CPU build from PyPI anyway, or if pip is configured to look elsewhere.
"""

import os
import platform
import subprocess
import sys
from pathlib import Path

CPU_INDEX = "https://download.pytorch.org/whl/cpu"
"""Named on PyTorch's installation page."""
_GPU_FILES = (
    "dev/nvidiactl",
    "proc/driver/nvidia/version",
    "dev/dxg",
    "usr/lib/wsl/lib/nvidia-smi",
)
_PIP_SETTINGS = ("index-url", "find-links", "no-index")


def main() -> int:
    """Print the index, and to stderr what it is for."""
    if not has_cuda_wheels() or has_gpu(Path("/")) or pip_looks_elsewhere(pip_settings()):
        return 0
    print(
        "No NVIDIA GPU was found: PyTorch's CPU build (about 200 MB) is installed instead of the "
        "one with CUDA (about 3 GB). make lab TORCH=default installs the latter.",
        file=sys.stderr,
    )
    print(CPU_INDEX)
    return 0


def has_cuda_wheels() -> bool:
    """Whether PyPI's torch for this system and processor contains CUDA."""
    return platform.system() == "Linux" and platform.machine() == "x86_64"


def has_gpu(root: Path) -> bool:
    """Whether an NVIDIA driver has left its files, also in the Linux subsystem of Windows."""
    return any((root / name).exists() for name in _GPU_FILES)


def pip_settings() -> str:
    """Return the settings of pip, from its files and the environment."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    variables = (f"{name}='{value}'" for name, value in os.environ.items() if name[:4] == "PIP_")
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return "\n".join([done.stdout, *variables])


def pip_looks_elsewhere(settings: str) -> bool:
    """Whether the user has chosen where pip finds packages, so that the choice stays theirs."""
    names = (line.partition("=")[0].lower().replace("_", "-") for line in settings.splitlines())
    return any(name.endswith(_PIP_SETTINGS) for name in names)


if __name__ == "__main__":
    sys.exit(main())
