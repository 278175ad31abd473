"""Several processes that train one model: accelerate's launch, placement and wrapping.

What is ours is small: the leader's words, and sums in which each scored token weighs the same.
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
from rwkv_music.training.config import TrainingConfig
from rwkv_music.training.distributed.process_group import Cluster
from rwkv_music.training.run.failures import LOST, is_lost

_PATIENCE = timedelta(hours=24)
"""How long a process waits for the leader's next word, which may measure or complete samples."""
_PRECISIONS = {"float32": "no", "bfloat16": "bf16"}

T = TypeVar("T")


class Together(Cluster):
    """One of several processes.

    Words, sums and places go over a group of their own, which needs no GPU and waits for long;
    gradients over the group that accelerate has set up, NCCL on GPUs and gloo on CPUs.

    Args:
        device: "auto", "cpu" or "cuda".
    """

    def __init__(self, device: str) -> None:
        self.device = choose_device(device)
        if self.device == "mps":
            self.device = "cpu"
        self._is_cpu = self.device == "cpu"
        with warnings.catch_warnings():
            # The number of threads is the user's; torchrun sets it to one and says so.
            warnings.filterwarnings("ignore", message="OMP_NUM_THREADS")
            state = PartialState(cpu=self._is_cpu)
        self.rank, self.number = state.process_index, state.num_processes
        self.neighbours = int(os.environ.get("LOCAL_WORLD_SIZE", self.number))
        self._talk = dist.new_group(backend="gloo", timeout=_PATIENCE)
        self._accelerator: Accelerator | None = None

    def first(self, act: Callable[[], T]) -> T:
        """What the leader's `act` returns, in every process; no other process calls it."""
        if not self.is_leader:
            found, told = self._from_leader(None)
            if told is not None:
                raise OtherProcessError(f"process 0 has ended this run: {told}")
            return found  # type: ignore[no-any-return]
        try:
            made = act()
        except BaseException as error:
            self._from_leader((None, f"{error or type(error).__name__}"))
            raise
        self._from_leader((made, None))
        return made

    def _from_leader(self, value: Any) -> Any:  # noqa: ANN401 - anything that can be pickled
        box = [value]
        with _told():
            dist.broadcast_object_list(box, src=0, group=self._talk)
        return box[0]

    def say(self, word: str) -> None:
        """Tell the others what comes next; only the leader speaks."""
        assert self.is_leader
        super().say(word)
        self._from_leader(word)

    def hear(self) -> str:
        """What comes next, for a process that does not lead."""
        assert not self.is_leader
        word: str = self._from_leader(None)
        return word

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes, on the CPU."""
        total = values.detach().cpu().clone()
        with _told():
            dist.all_reduce(total, group=self._talk)
        return total

    def spread(self, tensors: Mapping[str, Tensor] | None) -> Mapping[str, Tensor]:
        """The leader's tensors, on the CPU of every process; the others hand in None."""
        told = None
        if tensors is not None:
            told = {name: (list(value.shape), value.dtype) for name, value in tensors.items()}
        told = self._from_leader(told)
        received = {}
        for name, (shape, dtype) in told.items():
            value = torch.empty(shape, dtype=dtype)
            if tensors is not None:
                value = tensors[name].detach().cpu().contiguous()
            with _told():
                dist.broadcast(value, src=0, group=self._talk)
            received[name] = value
        return received

    def joined(self, rows: Tensor) -> Tensor:
        """The rows of all processes on the CPU, those of the first process first."""
        mine = rows.detach().cpu().contiguous()
        parts = [torch.empty_like(mine) for _ in range(self.number)]
        with _told():
            dist.all_gather(parts, mine, group=self._talk)
        return torch.cat(parts)

    def wrap(self, objective: nn.Module, model: RWKV7, config: TrainingConfig) -> nn.Module:
        """The module to call instead, whose gradients are the mean over all processes."""
        self.is_sharded = config.hardware.sharding == "fsdp"
        if self.is_sharded:
            return self._shard(objective, model)
        self._accelerator = Accelerator(
            cpu=self._is_cpu,
            mixed_precision=_PRECISIONS[config.hardware.precision],
            kwargs_handlers=[DistributedDataParallelKwargs(gradient_as_bucket_view=True)],
        )
        wrapped: nn.Module = self._accelerator.prepare_model(objective)
        return wrapped

    def _shard(self, objective: nn.Module, model: RWKV7) -> nn.Module:
        """A unit for each layer, and one for embeddings, head and the last norm.

        accelerate's own way casts all parameters of a layer to bfloat16, the decay's bias and the
        norms too, which RWKV-7 needs in float32; autocast narrows the matrix products alone.
        """
        # No layer changes its output in place, which is what torch warns of.
        warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
        mesh = init_device_mesh(self.device, (self.number,))
        for block in model.blocks:
            fully_shard(block, mesh=mesh)
        fully_shard(objective, mesh=mesh)
        return objective

    @contextlib.contextmanager
    def adding_up(self, wrapped: nn.Module, *, is_last: bool) -> Iterator[None]:
        """Around one of several batches: gradients are exchanged with the last one.

        Parts of a sharded model are exchanged with each, since nobody has room for whole gradients.
        """
        if self._accelerator is None or is_last:
            yield
        else:
            with self._accelerator.no_sync(wrapped):
                yield

    def begin_step(self, seed: int, step: int) -> None:
        """Random numbers of a step, of this process, whichever processes took the steps before."""
        (drawn,) = np.random.SeedSequence([seed, step, self.rank]).generate_state(1, np.uint64)
        torch.manual_seed(int(drawn))

    def whole(self, tensor: Tensor) -> Tensor:
        """All of a tensor of which each process may hold a part; every process takes part."""
        return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor

    def part_like(self, tensor: Tensor, parameter: Tensor) -> Tensor:
        """What this process holds of a whole tensor that belongs to a parameter."""
        if not isinstance(parameter, DTensor) or tensor.shape != parameter.shape:
            return tensor
        return distribute_tensor(
            tensor.to(parameter.device),
            parameter.device_mesh,
            parameter.placements,
            src_data_rank=None,
        )

    def leave(self) -> None:
        """Part from the others in peace, when all of them do."""
        if dist.is_initialized():
            dist.destroy_process_group()


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Say in words that another process is gone."""
    try:
        yield
    except RuntimeError as error:
        if is_lost(error):
            raise OtherProcessError(LOST) from error
        raise
