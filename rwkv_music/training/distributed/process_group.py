"""The processes that train one model together, seen from one of them.

Process 0 leads: it alone reads the control file, measures, samples, and writes the run directory.
Before anything in which all take part it says a word (`STEP`, `GATHER`, ...), on which the others
wait. A process that trains by itself is a cluster of one, to which none of this happens: nothing of
`accelerate` or `torch.distributed` is loaded.
"""

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

from torch import Tensor, nn

from rwkv_music.data.loading.process_shard import Share
from rwkv_music.errors import InputError, MissingExtraError
from rwkv_music.model import RWKV7
from rwkv_music.settings import settings_text
from rwkv_music.training.config import TrainingConfig

STEP, GATHER, GATHER_MODEL, WAIT, END = WORDS = ("step", "gather", "gather model", "wait", "end")
"""What a leader says: take a step, collect a checkpoint or a model, be patient, it is over."""

T = TypeVar("T")


class Cluster:
    """One process by itself. `Together` is one of several."""

    rank = 0
    """Which process this is, counted from 0."""
    number = 1
    """Processes in all."""
    neighbours = 1
    """Processes on this machine."""
    is_sharded = False
    """Whether each process holds a part of every parameter only."""

    @property
    def is_leader(self) -> bool:
        """Whether this is the process that decides and writes."""
        return self.rank == 0

    @property
    def share(self) -> Share:
        """Which part of each joint batch this process reads."""
        return Share(self.rank, self.number)

    def require_fit(self, config: TrainingConfig) -> None:
        """Refuse settings with which so many processes cannot train.

        Raises:
            InputError: If the batch cannot be divided, or sharding is asked for and impossible.
        """
        if config.data.batch_size % self.number:
            fitting = max(1, config.data.batch_size // self.number) * self.number
            raise InputError(
                f"`batch_size={config.data.batch_size}` cannot be divided among {self.number} "
                f"processes: try `batch_size={fitting}`, or another number of processes"
            )
        if config.hardware.sharding == "none":
            return
        if self.number == 1:
            raise InputError(
                f"{settings_text(sharding=config.hardware.sharding)} shards a model over several "
                "processes, and there is one: start several "
                "(torchrun --nproc-per-node N -m rwkv_music train ...), or leave it out"
            )
        if config.optimizer.optimizer != "adamw":
            raise InputError(
                f"{settings_text(sharding=config.hardware.sharding)} needs "
                f"{settings_text(optimizer='adamw')}: {config.optimizer.optimizer} needs whole "
                "rows and columns"
            )

    def first(self, act: Callable[[], T]) -> T:
        """What the leader's `act` returns, in every process; no other process calls it.

        Raises:
            Exception: In the leader what `act` raises; in the others an `InputError`.
        """
        return act()

    def say(self, word: str) -> None:
        """Tell the others what comes next; only the leader speaks."""
        assert word in WORDS

    def hear(self) -> str:
        """What comes next, for a process that does not lead."""
        raise AssertionError("a process by itself leads")

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes."""
        return values

    def spread(self, tensors: Mapping[str, Tensor] | None) -> Mapping[str, Tensor]:
        """The leader's tensors, in every process; the others hand in None."""
        assert tensors is not None
        return tensors

    def joined(self, rows: Tensor) -> Tensor:
        """The rows of all processes, those of the first process first."""
        return rows

    def wrap(self, objective: nn.Module, model: RWKV7, config: TrainingConfig) -> nn.Module:
        """The module to call instead, whose gradients are the mean over all processes.

        Args:
            objective: Holds the model; its `forward` returns what goes backward.
            model: May have parts of its parameters instead of all afterwards.
            config: Precision and sharding.
        """
        del model, config
        return objective

    def adding_up(self, wrapped: nn.Module, *, is_last: bool) -> AbstractContextManager[None]:
        """Around forward and backward of one of several batches whose gradients are added up."""
        del wrapped, is_last
        return nullcontext()

    def begin_step(self, seed: int, step: int) -> None:
        """Set the random numbers of a step, where each process draws its own."""

    def whole(self, tensor: Tensor) -> Tensor:
        """All of a tensor of which each process may hold a part; every process takes part."""
        return tensor

    def part_like(self, tensor: Tensor, parameter: Tensor) -> Tensor:
        """What this process holds of a whole tensor that belongs to a parameter."""
        del parameter
        return tensor

    def leave(self) -> None:
        """Part from the others in peace, when all of them do."""


ALONE = Cluster()


def join_cluster(device: str = "auto") -> Cluster:
    """The processes that torchrun, accelerate launch or the like have started with this one.

    Args:
        device: "auto", "cpu" or "cuda"; each process on a machine gets a GPU of its own.

    Raises:
        InputError: If there are several processes and accelerate is not installed.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or "RANK" not in os.environ:
        return ALONE
    try:
        from rwkv_music.training.distributed.multi_process import Together
    except ModuleNotFoundError as error:
        if error.name != "accelerate":
            raise
        raise MissingExtraError("training in several processes", "accelerate", "cluster") from error
    return Together(device)
