"""Checkpoints of a run: two files a step, written so that a crash at any moment leaves whole ones.

    step-000150.training.safetensors  what is needed to go on: optimizer, random numbers, places
    step-000150.safetensors           the model, as `load_model` reads it
    last.safetensors                  the newest model, under a name that stays
    best.safetensors                  the model with the lowest held-out loss

Each is written aside, forced to the disk and renamed. The training file comes first: where there is
a step's model, the step is whole. `last` and `best` are further names of the same files (or copies,
where the file system knows no hard links).
"""

import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from rwkv_music.errors import CheckpointError
from rwkv_music.model import RWKV7, load_checkpoint, save_checkpoint
from rwkv_music.model.files import written_aside

_STEP = re.compile(r"step-(\d+)\.safetensors")
_OPTIMIZER = "optimizer/"
_CARRIED = "carried/"
_RANDOM = "random/"


class Checkpoints:
    """The checkpoints in one folder.

    Args:
        folder: Made when the first one is written.
        keep: Newest ones to keep.
    """

    def __init__(self, folder: Path, *, keep: int = 2) -> None:
        self.folder = folder
        self._keep = keep

    def path(self, which: str) -> Path:
        """The model called "best" or "last"."""
        return self.folder / f"{which}.safetensors"

    def model_path(self, step: int) -> Path:
        """The model of a step."""
        return self.folder / f"step-{step:06d}.safetensors"

    def training_path(self, step: int) -> Path:
        """What else is needed to go on from a step."""
        return self.folder / f"step-{step:06d}.training.safetensors"

    def steps(self) -> list[int]:
        """Steps one can go on from, ascending."""
        found = (_STEP.fullmatch(path.name) for path in self.folder.glob("step-*"))
        steps = sorted(int(match[1]) for match in found if match)
        return [step for step in steps if self.training_path(step).exists()]

    def save(
        self,
        step: int,
        model: RWKV7,
        optimizer: torch.optim.Optimizer,
        *,
        facts: Mapping[str, Any],
        metadata: Mapping[str, Any],
        carried: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Write a step's checkpoint, call it the last one, and drop what is too old.

        Args:
            step: The step after which it is taken.
            model: With its tokenizer's settings.
            optimizer: Of that model.
            facts: Anything JSON can hold that is needed to go on.
            metadata: What the model file itself should tell.
            carried: Further tensors that are needed to go on.

        Raises:
            CheckpointError: If there is no room; older checkpoints stay as they are.
        """
        tensors = {
            **_optimizer_tensors(model, optimizer),
            **_random_states(model.emb.weight.device),
            **{f"{_CARRIED}{name}": value.contiguous() for name, value in (carried or {}).items()},
        }
        header = {"step": str(step), "facts": json.dumps(dict(facts))}
        with written_aside(self.training_path(step)) as partial:
            save_file(tensors, partial, metadata=header)
        assert model.tokenizer_settings is not None
        save_checkpoint(
            model,
            self.model_path(step),
            tokenizer_settings=model.tokenizer_settings,
            metadata={"step": step, **metadata},
        )
        self.name("last", step)
        for old in self.steps()[: -self._keep]:
            self._remove(old)

    def restore(self, step: int, model: RWKV7, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """Put model, optimizer and random numbers back to what they were after a step.

        Returns:
            The facts that were saved with them; under "carried" the further tensors.

        Raises:
            CheckpointError: If a file is missing or damaged; nothing is changed then.
        """
        weights = load_checkpoint(
            self.model_path(step), tokenizer_settings=model.tokenizer_settings
        ).state_dict()
        path = self.training_path(step)
        try:
            with safe_open(path, framework="pt") as stored:
                facts = json.loads((stored.metadata() or {})["facts"])
                tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, KeyError, json.JSONDecodeError) as error:
            raise CheckpointError(
                f"{path} is not a whole file ({error}): delete this step's files to go on from the "
                "one before"
            ) from error
        model.load_state_dict(weights)
        _restore_optimizer(model, optimizer, tensors)
        _restore_random(model.emb.weight.device, tensors)
        carried = {
            name.removeprefix(_CARRIED): value.to(model.emb.weight.device)
            for name, value in tensors.items()
            if name.startswith(_CARRIED)
        }
        return {**facts, "carried": carried}

    def name(self, which: str, step: int) -> None:
        """Give a step's model another name, at once and for good: "last" or "best"."""
        with written_aside(self.path(which)) as partial:
            try:
                os.link(self.model_path(step), partial)
            except OSError:
                shutil.copyfile(self.model_path(step), partial)

    def tidy(self, *, after: int) -> None:
        """Remove half-written files, and every step later than the one a run goes on from."""
        for path in self.folder.glob("*.partial"):
            path.unlink()
        for path in self.folder.glob("step-*.safetensors"):
            if int(re.sub(r"\D", "", path.name)) > after:
                path.unlink()

    def clear(self) -> None:
        """Remove everything."""
        self.tidy(after=-1)
        for which in ("best", "last"):
            self.path(which).unlink(missing_ok=True)

    def _remove(self, step: int) -> None:
        self.model_path(step).unlink(missing_ok=True)
        self.training_path(step).unlink(missing_ok=True)


def _parameter_names(model: RWKV7, optimizer: torch.optim.Optimizer) -> list[str]:
    """Names of the parameters in the order in which the optimizer numbers them."""
    names = {id(value): name for name, value in model.named_parameters()}
    return [names[id(value)] for group in optimizer.param_groups for value in group["params"]]


def _optimizer_tensors(model: RWKV7, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    names = _parameter_names(model, optimizer)
    return {
        f"{_OPTIMIZER}{names[number]}/{key}": torch.as_tensor(value).detach().cpu().contiguous()
        for number, entries in optimizer.state_dict()["state"].items()
        for key, value in entries.items()
    }


def _restore_optimizer(
    model: RWKV7, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]
) -> None:
    numbers = {name: number for number, name in enumerate(_parameter_names(model, optimizer))}
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith(_OPTIMIZER):
            parameter, key = name.removeprefix(_OPTIMIZER).rsplit("/", 1)
            state.setdefault(numbers[parameter], {})[key] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _random_states(device: torch.device) -> dict[str, Tensor]:
    """The state of every random number generator that training draws from on a device."""
    states = {f"{_RANDOM}cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states[f"{_RANDOM}cuda"] = torch.cuda.get_rng_state(device)
    if device.type == "mps":
        states[f"{_RANDOM}mps"] = torch.mps.get_rng_state()
    return states


def _restore_random(device: torch.device, tensors: Mapping[str, Tensor]) -> None:
    torch.set_rng_state(tensors[f"{_RANDOM}cpu"])
    stored = tensors.get(f"{_RANDOM}{device.type}")
    if device.type == "cuda" and stored is not None:
        torch.cuda.set_rng_state(stored, device)
    if device.type == "mps" and stored is not None:
        torch.mps.set_rng_state(stored)
