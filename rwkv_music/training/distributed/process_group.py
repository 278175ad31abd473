"""The processes that train one model, seen from one of them.

Rank 0 is the main process: it alone reads the control file, evaluates, samples and writes the run
directory. Before each collective operation it sends a command (`STEP`, `GATHER`, ...) that the
other ranks wait for. A single process is a group of size 1, for which every operation is the
identity; neither `accelerate` nor `torch.distributed` is imported.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import TypeVar

from torch import Tensor, nn

from rwkv_music.data.loading.process_shard import ProcessShard
from rwkv_music.model import RWKV7
from rwkv_music.training.config import HardwareConfig

STEP, GATHER, GATHER_MODEL, WAIT, END = COMMANDS = ("step", "gather", "gather model", "wait", "end")
"""Commands of the main process: take a step, gather the training state or the model, keep waiting,
end."""

LOST = "another process of this run has ended: see its last output for the cause"
_LOST_MESSAGES = (
    "connection closed", "connection reset", "connection refused", "broken pipe",
    "timed out waiting",
)  # fmt: skip

T = TypeVar("T")


class ProcessGroup:
    """A group of one process. `MultiProcessGroup` is a member of a larger one."""

    rank = 0
    """Index of this process, counted from 0."""
    world_size = 1
    """Number of processes."""
    local_world_size = 1
    """Number of processes on this machine."""
    is_sharded = False
    """Whether each process holds only a shard of every parameter."""

    @property
    def is_main(self) -> bool:
        """Whether this is the process that decides and writes."""
        return self.rank == 0

    @property
    def shard(self) -> ProcessShard:
        """The part of each global batch that this process reads."""
        return ProcessShard(self.rank, self.world_size)

    def run_on_main(self, function: Callable[[], T]) -> T:
        """Call a function in the main process and return its result in every process.

        Raises:
            Exception: In the main process what `function` raises; in the others an `InputError`.
        """
        return function()

    def send_command(self, command: str) -> None:
        """Send a command to the other processes; only the main process may call this."""
        assert command in COMMANDS

    def receive_command(self) -> str:
        """Wait for the next command of the main process."""
        raise AssertionError("a single process receives no commands")

    def all_reduce(self, values: Tensor) -> Tensor:
        """Return the sum over all processes."""
        return values

    def broadcast(self, tensors: Mapping[str, Tensor] | None) -> Mapping[str, Tensor]:
        """Return the main process's tensors in every process; the others pass None."""
        assert tensors is not None
        return tensors

    def all_gather(self, rows: Tensor) -> Tensor:
        """Return the rows of all processes, in the order of their ranks."""
        return rows

    def wrap_model(self, loss: nn.Module, model: RWKV7, hardware: HardwareConfig) -> nn.Module:
        """Return a module to call instead of `loss`, whose gradients are means over all processes.

        Args:
            loss: Contains the model; its `forward` returns the loss.
            model: Its parameters may be sharded in place.
            hardware: Sets precision and sharding.
        """
        del model, hardware
        return loss

    def no_sync(self, wrapped: nn.Module, *, is_last: bool) -> AbstractContextManager[None]:
        """Context for one of several accumulated batches: only the last one syncs gradients."""
        del wrapped, is_last
        return nullcontext()

    def seed_step(self, seed: int, step: int) -> None:
        """Seed the random numbers of a step where each process draws its own."""

    def full_tensor(self, tensor: Tensor) -> Tensor:
        """Return the whole of a tensor that may be sharded (collective)."""
        return tensor

    def shard_like(self, tensor: Tensor, parameter: Tensor) -> Tensor:
        """Return this process's shard of a full tensor that belongs to a parameter."""
        del parameter
        return tensor

    def close(self) -> None:
        """Leave the process group (collective: every rank must call it)."""


@cache
def single_process() -> ProcessGroup:
    """Return the group of this process alone."""
    return ProcessGroup()


def is_lost(error: BaseException) -> bool:
    """Return whether an error means that another process of the group has ended."""
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in text for words in _LOST_MESSAGES)
