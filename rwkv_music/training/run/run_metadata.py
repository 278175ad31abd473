"""The contents of config.json: everything needed to repeat a run, and each of its sessions."""

import os
import platform
import shlex
import sys
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from rwkv_music.model import RWKV7
from rwkv_music.ops.backends import choose_backend
from rwkv_music.training.config import TrainingConfig, training_settings

_VERSIONS_OF = ("rwkv-music", "torch", "numpy", "symusic", "music21")


def run_metadata(
    config: TrainingConfig, model: RWKV7, tokenizer_settings: Mapping[str, int], processes: int
) -> dict[str, Any]:
    """Return the part of config.json that follows from settings, model and processes."""
    return {
        "config": config.to_dict(),
        "model": model.config.to_dict(),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "tokenizer": dict(tokenizer_settings),
        "device": str(model.emb.weight.device),
        "kernel": choose_backend(model.emb.weight, model.config.head_size),
        "processes": processes,
        "command": command_of(config, processes),
        **environment_info(),
    }


def command_of(config: TrainingConfig, processes: int, *, resumes: bool = False) -> str:
    """Return a shell command that repeats a run.

    It is the command line that was used, if there was one. A run that was started in Python, as in
    a notebook, is started with `python -c` and the settings that differ from the defaults.

    Args:
        config: The run's settings.
        processes: Number of processes that train it.
        resumes: Whether the run resumes from a checkpoint.
    """
    if _is_command_line(Path(sys.argv[0])):
        return shlex.join([*_program(processes), *sys.argv[1:]])
    if resumes:
        code = f"from rwkv_music import attach; attach({config.run.out!r}).resume()"
    else:
        declared = training_settings()
        given = ", ".join(
            f"{name}={value!r}"
            for name, value in config.flat().items()
            if declared[name].is_required or value != declared[name].default
        )
        names, call = "TrainingConfig, start_training", f"start_training(TrainingConfig({given}))"
        code = f"from rwkv_music import {names}; {call}"
    return shlex.join(["python", "-c", code])


def _is_command_line(program: Path) -> bool:
    is_module = (program.parent.name, program.name) == ("rwkv_music", "__main__.py")
    return program.stem == "rwkv-music" or is_module


def _program(processes: int) -> list[str]:
    """Return `rwkv-music`, or the torchrun command that starts this many processes of it."""
    if processes == 1:
        return ["rwkv-music"]
    here = int(os.environ.get("LOCAL_WORLD_SIZE", processes))
    machines = ["--nnodes", str(processes // here)] if here < processes else []
    return ["torchrun", *machines, "--nproc-per-node", str(here), "-m", "rwkv_music"]


def environment_info() -> dict[str, Any]:
    """Return versions and machine, which decide the last bits of a number."""
    return {
        "versions": {
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in _VERSIONS_OF},
        },
        "machine": f"{platform.system()} {platform.machine()}",
        "threads": torch.get_num_threads(),
    }


def session_metadata(config: TrainingConfig, from_step: int, processes: int) -> dict[str, Any]:
    """Return the entry of config.json for one start of a run."""
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "from_step": from_step,
        "processes": processes,
        "command": command_of(config, processes, resumes=from_step > 0),
        **environment_info(),
    }


def differences(config: dict[str, Any], model: RWKV7, processes: int) -> list[str]:
    """Return what has changed since the run started, so that the last bits may differ.

    Args:
        config: The contents of config.json.
        model: The model, on its current device.
        processes: Number of processes that train it now.
    """
    here = {
        **environment_info(),
        "device": str(model.emb.weight.device),
        "kernel": choose_backend(model.emb.weight, model.config.head_size),
        "processes": processes,
    }
    changes = [
        f"{name} {here['versions'][name]} (was {before})"
        for name, before in config["versions"].items()
        if here["versions"].get(name) != before
    ]
    changes += [
        f"{name} {here[name]} (was {config[name]})"
        for name in ("machine", "threads", "device", "kernel", "processes")
        if here[name] != config.get(name, here[name])
    ]
    return changes
