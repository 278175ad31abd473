"""Everything a run needs to resume exactly: model, optimizer, carried state, random numbers.

A state dict is the same whether one process trains or several: parameters and optimizer tensors are
full, the carried state has all rows, and the random numbers are those of the main process.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from rwkv_music.model import RWKV7, ModelState
from rwkv_music.training.distributed.process_group import ProcessGroup

OPTIMIZER = "optimizer/"
CARRIED = "carried/"
RANDOM = "random/"


@dataclass(eq=False)
class TrainState:
    """The state of a training run; all methods are collective."""

    model: RWKV7
    """The model that is trained; it may be sharded."""
    optimizer: torch.optim.Optimizer
    """The optimizer over its parameters."""
    group: ProcessGroup
    """The processes that train it."""
    step: int = 0
    """Optimizer steps taken."""
    carried: ModelState | None = None
    """State that the next batch continues from, where batches continue one another."""

    def state_dict(self) -> dict[str, Tensor]:
        """Return optimizer tensors, carried state and random numbers; empty if not needed here."""
        rows = {} if self.carried is None else self.carried.to_tensors()
        carried = {f"{CARRIED}{name}": self.group.all_gather(part) for name, part in rows.items()}
        if not (self.group.is_main or self.group.is_sharded):
            return {}
        return {
            **self._optimizer_tensors(),
            **_random_states(self.model.emb.weight.device),
            **{name: part.contiguous() for name, part in carried.items()},
        }

    def load_state_dict(self, tensors: Mapping[str, Tensor], *, step: int) -> None:
        """Restore what `state_dict` returned; the model's parameters are already loaded."""
        self._load_optimizer(tensors)
        device = self.model.emb.weight.device
        _restore_random(device, tensors)
        carried = {
            name.removeprefix(CARRIED): rows[self.group.shard.rows(len(rows))].to(device)
            for name, rows in tensors.items()
            if name.startswith(CARRIED)
        }
        self.carried = ModelState.from_tensors(carried) if carried else None
        self.step = step

    def full_model(self) -> RWKV7:
        """Return the model with all of its parameters; only the main process's is complete."""
        if not self.group.is_sharded:
            return self.model
        with torch.no_grad():
            weights = {
                name: self.group.full_tensor(parameter)
                for name, parameter in self.model.named_parameters()
            }
        if not self.group.is_main:
            return self.model
        model = RWKV7(self.model.config)
        model.load_state_dict(weights)
        return model.to(self.model.emb.weight.device)

    def _parameter_names(self) -> list[str]:
        """Return the names of the parameters in the order in which the optimizer counts them."""
        names = {id(parameter): name for name, parameter in self.model.named_parameters()}
        groups = self.optimizer.param_groups
        return [names[id(parameter)] for group in groups for parameter in group["params"]]

    def _optimizer_tensors(self) -> dict[str, Tensor]:
        names = self._parameter_names()
        return {
            f"{OPTIMIZER}{names[index]}/{key}": (
                self.group.full_tensor(torch.as_tensor(value).detach()).cpu().contiguous()
            )
            for index, entries in self.optimizer.state_dict()["state"].items()
            for key, value in entries.items()
        }

    def _load_optimizer(self, tensors: Mapping[str, Tensor]) -> None:
        indices = {name: index for index, name in enumerate(self._parameter_names())}
        parameters = dict(self.model.named_parameters())
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith(OPTIMIZER):
                parameter, key = name.removeprefix(OPTIMIZER).rsplit("/", 1)
                shard = self.group.shard_like(value, parameters[parameter])
                state.setdefault(indices[parameter], {})[key] = shard
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})


def _random_states(device: torch.device) -> dict[str, Tensor]:
    """Return the state of every random number generator that training uses on a device."""
    states = {f"{RANDOM}cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states[f"{RANDOM}cuda"] = torch.cuda.get_rng_state(device)
    if device.type == "mps":
        states[f"{RANDOM}mps"] = torch.mps.get_rng_state()
    return states


def _restore_random(device: torch.device, tensors: Mapping[str, Tensor]) -> None:
    torch.set_rng_state(tensors[f"{RANDOM}cpu"])
    device_state = tensors.get(f"{RANDOM}{device.type}")
    if device.type == "cuda" and device_state is not None:
        torch.cuda.set_rng_state(device_state, device)
    if device.type == "mps" and device_state is not None:
        torch.mps.set_rng_state(device_state)
