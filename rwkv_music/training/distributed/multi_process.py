"""Several processes that train one model: launched, placed and wrapped by accelerate.

This module adds the commands of the main process, and sums in which every scored token has the same
weight.
"""

import contextlib
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from accelerate import Accelerator, DistributedDataParallelKwargs, PartialState
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from rwkv_music.devices import choose_device
from rwkv_music.errors import OtherProcessError
from rwkv_music.model import RWKV7
from rwkv_music.training.config import HardwareConfig
from rwkv_music.training.distributed.process_group import LOST, ProcessGroup, is_lost

_COMMAND_TIMEOUT = timedelta(hours=24)
"""How long a process waits for the next command: the main process may evaluate meanwhile."""
_MIXED_PRECISION = {"float32": "no", "bfloat16": "bf16"}

T = TypeVar("T")


class MultiProcessGroup(ProcessGroup):
    """A member of a group of several processes.

    Commands, sums and objects use a gloo group of their own, which needs no GPU and has a long
    timeout; gradients use the group that accelerate sets up: NCCL on GPUs, gloo on CPUs.

    Args:
        device: "auto", "cpu" or "cuda".
    """

    def __init__(self, device: str) -> None:
        self.device = choose_device(device)
        if self.device == "mps":
            self.device = "cpu"
        self._is_cpu = self.device == "cpu"
        with warnings.catch_warnings():
            # The user sets the number of threads; torchrun sets it to one and warns about it.
            warnings.filterwarnings("ignore", message="OMP_NUM_THREADS")
            state = PartialState(cpu=self._is_cpu)
        self.rank, self.world_size = state.process_index, state.num_processes
        self.local_world_size = int(os.environ.get("LOCAL_WORLD_SIZE", self.world_size))
        self._control_group = dist.new_group(backend="gloo", timeout=_COMMAND_TIMEOUT)
        self._accelerator: Accelerator | None = None

    def run_on_main(self, function: Callable[[], T]) -> T:
        """Call a function in the main process and return its result in every process."""
        if not self.is_main:
            result, error_text = self.broadcast_object(None)
            if error_text is not None:
                raise OtherProcessError(f"process 0 has ended this run: {error_text}")
            return result  # type: ignore[no-any-return]
        try:
            made = function()
        except BaseException as error:
            self.broadcast_object((None, f"{error or type(error).__name__}"))
            raise
        self.broadcast_object((made, None))
        return made

    def broadcast_object(self, value: Any) -> Any:  # noqa: ANN401 - anything that can be pickled
        """Return the main process's object in every process; what the others pass is ignored."""
        box = [value]
        with _lost_processes_named():
            dist.broadcast_object_list(box, src=0, group=self._control_group)
        return box[0]

    def send_command(self, command: str) -> None:
        """Send a command to the other processes; only the main process may call this."""
        assert self.is_main
        super().send_command(command)
        self.broadcast_object(command)

    def receive_command(self) -> str:
        """Wait for the next command of the main process."""
        assert not self.is_main
        command: str = self.broadcast_object(None)
        return command

    def all_reduce(self, values: Tensor) -> Tensor:
        """Return the sum over all processes, on the CPU."""
        total = values.detach().cpu().clone()
        with _lost_processes_named():
            dist.all_reduce(total, group=self._control_group)
        return total

    def broadcast(self, tensors: Mapping[str, Tensor] | None) -> Mapping[str, Tensor]:
        """Return the main process's tensors on the CPU of every process; the others pass None."""
        layout = None
        if tensors is not None:
            layout = {name: (list(value.shape), value.dtype) for name, value in tensors.items()}
        layout = self.broadcast_object(layout)
        received = {}
        for name, (shape, dtype) in layout.items():
            value = torch.empty(shape, dtype=dtype)
            if tensors is not None:
                value = tensors[name].detach().cpu().contiguous()
            with _lost_processes_named():
                dist.broadcast(value, src=0, group=self._control_group)
            received[name] = value
        return received

    def all_gather(self, rows: Tensor) -> Tensor:
        """Return the rows of all processes on the CPU, in the order of their ranks."""
        own = rows.detach().cpu().contiguous()
        parts = [torch.empty_like(own) for _ in range(self.world_size)]
        with _lost_processes_named():
            dist.all_gather(parts, own, group=self._control_group)
        return torch.cat(parts)

    def wrap_model(self, loss: nn.Module, model: RWKV7, hardware: HardwareConfig) -> nn.Module:
        """Return a module to call instead of `loss`, whose gradients are means over processes."""
        self.is_sharded = hardware.sharding == "fsdp"
        if self.is_sharded:
            return self._shard(loss, model)
        self._accelerator = Accelerator(
            cpu=self._is_cpu,
            mixed_precision=_MIXED_PRECISION[hardware.precision],
            kwargs_handlers=[DistributedDataParallelKwargs(gradient_as_bucket_view=True)],
        )
        wrapped: nn.Module = self._accelerator.prepare_model(loss)
        return wrapped

    def _shard(self, loss: nn.Module, model: RWKV7) -> nn.Module:
        """Shard each layer as a unit, and embeddings, head and last norm as another.

        accelerate's own FSDP casts all parameters of a layer to bfloat16, including the decay's
        bias and the norms, which RWKV-7 needs in float32; autocast narrows matrix products only.
        """
        # torch warns of layers that change their output in place; none does.
        warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
        mesh = init_device_mesh(self.device, (self.world_size,))
        for block in model.blocks:
            fully_shard(block, mesh=mesh)
        fully_shard(loss, mesh=mesh)
        return loss

    @contextlib.contextmanager
    def no_sync(self, wrapped: nn.Module, *, is_last: bool) -> Iterator[None]:
        """Context for one of several accumulated batches: only the last one syncs gradients.

        A sharded model syncs with each batch, because no process can hold whole gradients.
        """
        if self._accelerator is None or is_last:
            yield
        else:
            with self._accelerator.no_sync(wrapped):
                yield

    def seed_step(self, seed: int, step: int) -> None:
        """Seed a step's random numbers of this rank, independent of the steps before."""
        (step_seed,) = np.random.SeedSequence([seed, step, self.rank]).generate_state(1, np.uint64)
        torch.manual_seed(int(step_seed))

    def full_tensor(self, tensor: Tensor) -> Tensor:
        """Return the whole of a tensor that may be sharded (collective)."""
        return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor

    def shard_like(self, tensor: Tensor, parameter: Tensor) -> Tensor:
        """Return this process's shard of a full tensor that belongs to a parameter."""
        if not isinstance(parameter, DTensor) or tensor.shape != parameter.shape:
            return tensor
        return distribute_tensor(
            tensor.to(parameter.device),
            parameter.device_mesh,
            parameter.placements,
            src_data_rank=None,
        )

    def close(self) -> None:
        """Leave the process group (collective: every rank must call it)."""
        if dist.is_initialized():
            dist.destroy_process_group()


@contextlib.contextmanager
def _lost_processes_named() -> Iterator[None]:
    """Translate the errors of a lost connection into an `OtherProcessError`."""
    try:
        yield
    except RuntimeError as error:
        if is_lost(error):
            raise OtherProcessError(LOST) from error
        raise
