"""What config.json says: everything needed to repeat a run, and each time it was started."""

import platform
import sys
import time
from importlib import metadata
from typing import Any

import torch

from rwkv_music.model import RWKV7
from rwkv_music.ops.backends import choose_backend
from rwkv_music.training.config import TrainingConfig

_VERSIONS_OF = ("rwkv-music", "torch", "numpy", "symusic", "music21")


def describe_run(config: TrainingConfig, model: RWKV7, processes: int) -> dict[str, Any]:
    """The part of config.json that follows from settings, model and processes."""
    return {
        "config": config.to_dict(),
        "model": model.config.to_dict(),
        "parameters": sum(each.numel() for each in model.parameters()),
        "tokenizer": model.tokenizer_settings,
        "device": str(model.emb.weight.device),
        "kernel": choose_backend(model.emb.weight, model.config.head_size),
        "processes": processes,
        **surroundings(),
    }


def surroundings() -> dict[str, Any]:
    """Command, versions and machine: what decides about the last bit of a number."""
    return {
        "command": " ".join(["rwkv-music", *sys.argv[1:]]),
        "versions": {
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in _VERSIONS_OF},
        },
        "machine": f"{platform.system()} {platform.machine()}",
        "threads": torch.get_num_threads(),
    }


def describe_session(from_step: int, processes: int) -> dict[str, Any]:
    """One start of a run."""
    moment = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    start = {"started": moment, "from_step": from_step, "processes": processes}
    return {**start, **surroundings()}


def differences(config: dict[str, Any], model: RWKV7, processes: int) -> list[str]:
    """What is not as it was when the run began, so that its numbers may differ in the last bits.

    Args:
        config: What config.json says.
        model: On the device it is trained on now.
        processes: That train it now.
    """
    here = {
        **surroundings(),
        "device": str(model.emb.weight.device),
        "kernel": choose_backend(model.emb.weight, model.config.head_size),
        "processes": processes,
    }
    found = [
        f"{name} {here['versions'][name]} (was {before})"
        for name, before in config["versions"].items()
        if here["versions"].get(name) != before
    ]
    found += [
        f"{name} {here[name]} (was {config[name]})"
        for name in ("machine", "threads", "device", "kernel", "processes")
        if here[name] != config.get(name, here[name])
    ]
    return found
