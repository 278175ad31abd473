"""All that a run needs to go on, taken out of a trainer and put back into one.

A snapshot is the same whether one process trains or several: parameters and the optimizer's tensors
whole, carried states of all rows, the random numbers of the process that leads.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from rwkv_music.model import RWKV7, ModelState
from rwkv_music.training.distributed.process_group import ProcessGroup

_OPTIMIZER = "optimizer/"
_CARRIED = "carried/"
_RANDOM = "random/"


class Snapshot(NamedTuple):
    """A model, and what else is needed to go on training it."""

    model: RWKV7
    tensors: dict[str, Tensor]
    """Optimizer, random numbers and carried state, on the CPU."""


def take_snapshot(
    model: RWKV7,
    optimizer: torch.optim.Optimizer,
    carried: ModelState | None,
    group: ProcessGroup,
) -> Snapshot:
    """All of a training's state; every process takes part, and what the leader gets is whole."""
    rows = {} if carried is None else carried.to_tensors()
    states = {f"{_CARRIED}{name}": group.all_gather(value) for name, value in rows.items()}
    if not (group.is_main or group.is_sharded):
        return Snapshot(model, {})
    tensors = {
        **_optimizer_tensors(model, optimizer, group),
        **_random_states(model.emb.weight.device),
        **{name: value.contiguous() for name, value in states.items()},
    }
    return Snapshot(whole_model(model, group), tensors)


def whole_model(model: RWKV7, group: ProcessGroup) -> RWKV7:
    """The model with all of its parameters, in the leader; every process takes part."""
    if not group.is_sharded:
        return model
    with torch.no_grad():
        weights = {name: group.full_tensor(value) for name, value in model.named_parameters()}
    if not group.is_main:
        return model
    made = RWKV7(model.config)
    made.load_state_dict(weights)
    return made.to(model.emb.weight.device)


def put_back(
    model: RWKV7,
    optimizer: torch.optim.Optimizer,
    tensors: Mapping[str, Tensor],
    group: ProcessGroup,
) -> ModelState | None:
    """Bring optimizer and random numbers back to what they were.

    Args:
        model: With the parameters it had then.
        optimizer: Of that model.
        tensors: Of a snapshot.
        group: Which part of them belongs to this process.

    Returns:
        The state that was carried, of this process's rows.
    """
    _restore_optimizer(model, optimizer, tensors, group)
    device = model.emb.weight.device
    _restore_random(device, tensors)
    carried = {
        name.removeprefix(_CARRIED): value[group.shard.rows(len(value))].to(device)
        for name, value in tensors.items()
        if name.startswith(_CARRIED)
    }
    return ModelState.from_tensors(carried) if carried else None


def _parameter_names(model: RWKV7, optimizer: torch.optim.Optimizer) -> list[str]:
    """Names of the parameters in the order in which the optimizer numbers them."""
    names = {id(value): name for name, value in model.named_parameters()}
    return [names[id(value)] for group in optimizer.param_groups for value in group["params"]]


def _optimizer_tensors(
    model: RWKV7, optimizer: torch.optim.Optimizer, group: ProcessGroup
) -> dict[str, Tensor]:
    names = _parameter_names(model, optimizer)
    return {
        f"{_OPTIMIZER}{names[number]}/{key}": (
            group.full_tensor(torch.as_tensor(value).detach()).cpu().contiguous()
        )
        for number, entries in optimizer.state_dict()["state"].items()
        for key, value in entries.items()
    }


def _restore_optimizer(
    model: RWKV7,
    optimizer: torch.optim.Optimizer,
    tensors: Mapping[str, Tensor],
    group: ProcessGroup,
) -> None:
    names = _parameter_names(model, optimizer)
    numbers = {name: number for number, name in enumerate(names)}
    parameters = dict(model.named_parameters())
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith(_OPTIMIZER):
            parameter, key = name.removeprefix(_OPTIMIZER).rsplit("/", 1)
            mine = group.shard_like(value, parameters[parameter])
            state.setdefault(numbers[parameter], {})[key] = mine
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
