"""What each process of a run trains with: music, its share of the batches, and a trainer."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from rwkv_music.data import Windows
from rwkv_music.data.corpora.load import load_corpus
from rwkv_music.data.loading.prefetch_loader import PrefetchLoader
from rwkv_music.data.loading.process_shard import ProcessShard
from rwkv_music.data.loading.window_loader import WindowLoader
from rwkv_music.data.pieces import Corpus
from rwkv_music.data.store.store_info import is_store
from rwkv_music.data.worker_pool import Progress
from rwkv_music.devices import choose_device
from rwkv_music.model import RWKV7, ModelConfig, initialize
from rwkv_music.ops.backends import available_backends, has_amx
from rwkv_music.training.config import TrainingConfig
from rwkv_music.training.data_module import DataModule, open_loader
from rwkv_music.training.distributed.process_group import ProcessGroup, single_process
from rwkv_music.training.initial_weights import load_initial
from rwkv_music.training.memory import StepWorkload, free_memory, require_memory
from rwkv_music.training.run.checkpoints import Stored
from rwkv_music.training.trainer import Trainer

_SAMPLED_BATCHES = 64


@dataclass(frozen=True)
class TrainingSetup:
    """All that steps are taken with."""

    data: DataModule
    stream: PrefetchLoader
    trainer: Trainer
    facts: dict[str, Any] | None
    """What a checkpoint says, when the run goes on from one."""


def set_up(
    config: TrainingConfig,
    group: ProcessGroup,
    *,
    progress: Progress | None = None,
    newest: Callable[[DataModule], Stored | None] = lambda _: None,
) -> TrainingSetup:
    """Prepare one process of a run; all of them do it together.

    Args:
        config: The settings.
        group: The processes.
        progress: Told of each piece, where this process reads them.
        newest: The checkpoint to go on from, or None to begin; the leader alone is asked.

    Raises:
        InputError: If the corpus cannot be used, or there is too little memory.
    """
    group.validate(config)
    device = choose_device(config.hardware.device)
    data = DataModule.from_corpus(_load(config, group, progress), config)
    torch.manual_seed(config.run.seed)
    model = _new_model(config, data, device, group)
    stream = open_loader(
        data.train_pieces,
        data.train,
        config,
        data.tokenizer.vocabulary,
        device=device,
        shard=group.shard,
    )
    stored: Stored | None = None

    def read() -> tuple[int, dict[str, Any]] | None:
        nonlocal stored
        stored = newest(data)
        if stored is not None:
            model.load_state_dict(stored.snapshot.model.state_dict())
            return stored.step, stored.facts
        if config.model.init:
            begun = load_initial(config.model.init, model.config, data.tokenizer.settings)
            model.load_state_dict(begun.state_dict())
        return None

    place = group.run_on_main(read)
    if group.world_size > 1:
        weights = group.broadcast(model.state_dict() if group.is_main else None)
        model.load_state_dict(weights)
    trainer = Trainer(model, stream, config, vocabulary=data.tokenizer.vocabulary, group=group)
    if place is None:
        return TrainingSetup(data, stream, trainer, None)
    step, facts = place
    stream.seek(facts["stream"])
    trainer.restore(group.broadcast(None if stored is None else stored.snapshot.tensors), step=step)
    return TrainingSetup(data, stream, trainer, facts)


def _load(config: TrainingConfig, group: ProcessGroup, progress: Progress | None) -> Corpus:
    """A store is opened by each process; other music is read once and handed to the others."""
    if group.run_on_main(lambda: config.data.corpus != "bach" and is_store(config.data.corpus)):
        return load_corpus(config.data.corpus)
    return group.run_on_main(lambda: load_corpus(config.data.corpus, progress=progress))


def _new_model(config: TrainingConfig, data: DataModule, device: str, group: ProcessGroup) -> RWKV7:
    tokenizer = data.tokenizer
    sizes = ModelConfig(
        vocab_size=tokenizer.vocab_size,
        num_layers=config.model.num_layers,
        dim=config.model.dim,
        dropout=config.model.dropout,
    )
    check_memory(sizes, config, data.train, device=device, group=group)
    model = RWKV7(sizes)
    initialize(model, seed=config.run.seed)
    return model.to(device)


def check_memory(
    model: ModelConfig,
    config: TrainingConfig,
    windows: Windows,
    *,
    device: str,
    group: ProcessGroup | None = None,
) -> None:
    """Refuse a run whose largest batch, or this process's share of it, will not fit into memory.

    Raises:
        InputError: As `require_memory`.
    """
    group = group or single_process()
    if config.data.carry_state:
        rows = config.data.batch_size // group.world_size
        positions = scored = rows * config.data.context_length
    else:
        positions, scored, rows = _largest(windows, config, group.shard)
    load = StepWorkload(
        positions, scored, rows,
        backend=available_backends(device)[0],
        has_amx=has_amx(),
        device=device,
        num_shards=group.world_size if config.hardware.sharding == "fsdp" else 1,
    )  # fmt: skip
    free = free_memory(device) // (group.local_world_size if device == "cpu" else 1)
    require_memory(model, config, load, free=free)


def _largest(windows: Windows, config: TrainingConfig, share: ProcessShard) -> tuple[int, int, int]:
    """Positions, scored ones and rows of the largest batch that a run is likely to meet.

    A batch is a sum over windows drawn at random, so that its size is nearly normal, and the
    largest of n lies about sqrt(2 ln n) deviations above the mean.
    """
    stream = WindowLoader(
        windows, batch_size=config.data.batch_size, seed=config.run.seed, shard=share
    )
    batches = [next(stream) for _ in range(_SAMPLED_BATCHES)]
    sizes = np.array([[each.tokens.numel(), each.num_scored, len(each.tokens)] for each in batches])
    far = math.sqrt(2 * math.log(config.run.steps * config.optimizer.gradient_accumulation_steps))
    likely = np.ceil(sizes.mean(axis=0) + far * sizes.std(axis=0))
    positions, scored, rows = np.maximum(likely, sizes.max(axis=0)).astype(int).tolist()
    return positions, scored, rows
