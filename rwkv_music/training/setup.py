"""What each process of a run trains with: data, its shard of the batches, and a trainer."""

import math
from collections.abc import Callable

import numpy as np
import torch

from rwkv_music.data.corpora.load import CorpusSource
from rwkv_music.data.loading.prefetch_loader import PrefetchLoader
from rwkv_music.data.loading.process_shard import ProcessShard
from rwkv_music.data.pieces import Corpus
from rwkv_music.data.worker_pool import Progress
from rwkv_music.devices import choose_device
from rwkv_music.errors import CheckpointError
from rwkv_music.model import RWKV7, ModelConfig, initialize
from rwkv_music.ops.backends import available_backends, has_amx
from rwkv_music.training.config import TrainingConfig
from rwkv_music.training.data_module import DataModule
from rwkv_music.training.distributed.process_group import ProcessGroup, single_process
from rwkv_music.training.distributed.state_checks import StateLayout
from rwkv_music.training.initial_weights import load_initial
from rwkv_music.training.memory import StepWorkload, free_memory, require_memory
from rwkv_music.training.run.checkpoints import RunProgress, SavedState
from rwkv_music.training.trainer import Trainer

LoadCheckpoint = Callable[[DataModule, Callable[[SavedState], None]], SavedState | None]

_SAMPLED_BATCHES = 64


class TrainingSetup:
    """Data, loader and trainer of one process of a run; made by all processes together.

    Args:
        config: The settings.
        group: The processes that train.
        progress: Called for each piece, in the process that reads them.
        load_checkpoint: Called in the main process with the data and a function that checks a
            checkpoint; returns the one to resume from, or None.

    Raises:
        InputError: If the corpus cannot be used, or there is too little memory.
    """

    def __init__(
        self,
        config: TrainingConfig,
        group: ProcessGroup,
        *,
        progress: Progress | None = None,
        load_checkpoint: LoadCheckpoint = lambda _data, _check: None,
    ) -> None:
        device = choose_device(config.hardware.device)
        source = CorpusSource(config.data.corpus, config.data.unfold_repeats)
        corpus = _load_corpus(source, group, progress)
        data = DataModule(corpus, config)
        torch.manual_seed(config.run.seed)
        sizes = ModelConfig(
            vocab_size=data.tokenizer.vocab_size,
            num_layers=config.model.num_layers,
            dim=config.model.dim,
            dropout=config.model.dropout,
        )
        check_memory(sizes, config, data, device=device, group=group)
        model = RWKV7(sizes)
        initialize(model, seed=config.run.seed)
        model.to(device)
        loader = data.open_loader(model.emb.weight.device, shard=group.shard)
        layout = StateLayout(
            optimizer=config.optimizer.optimizer,
            carried_rows=config.data.batch_size if config.data.carry_state else None,
        )
        saved: SavedState | None = None

        def load_weights() -> RunProgress | None:
            nonlocal saved
            saved = load_checkpoint(data, lambda state: _require_fit(state, layout, model, loader))
            if saved is not None:
                model.load_state_dict(saved.model.state_dict())
                return saved.progress
            if config.model.init:
                initial = load_initial(config.model.init, sizes, data.tokenizer.settings)
                model.load_state_dict(initial.state_dict())
            return None

        resumed = group.run_on_main(load_weights)
        if group.world_size > 1:
            model.load_state_dict(group.broadcast(model.state_dict() if group.is_main else None))
        trainer = Trainer(model, loader, config, vocabulary=data.tokenizer.vocabulary, group=group)
        if resumed is not None:
            loader.seek(resumed.loader_position)
            tensors = group.broadcast(None if saved is None else saved.tensors)
            trainer.state.load_state_dict(tensors, step=resumed.step)
        self.data = data
        self.loader = loader
        self.trainer = trainer
        self.resumed = resumed
        """Progress at the checkpoint that the run resumes from; None for a new run."""


def _require_fit(
    saved: SavedState, layout: StateLayout, model: RWKV7, loader: PrefetchLoader
) -> None:
    """Check that a checkpoint belongs to this model, optimizer and loader.

    Raises:
        CheckpointError: Names the first difference.
    """
    sizes = {name: parameter.shape for name, parameter in model.named_parameters()}
    stored = {name: parameter.shape for name, parameter in saved.model.named_parameters()}
    if sizes != stored:
        raise CheckpointError("its model has other sizes than the run's")
    layout.require(saved.tensors, model)
    start = loader.position()
    try:
        loader.seek(saved.progress.loader_position)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        loader.seek(start)
        raise CheckpointError(f"its position in the data is damaged ({error!r})") from error


def _load_corpus(source: CorpusSource, group: ProcessGroup, progress: Progress | None) -> Corpus:
    """Open stores in each process; read other corpora once and send them to the others."""

    def corpus_unless_stores() -> Corpus | None:
        # The main process comes first: what it finds out about a mixture is cached.
        corpus = source.load(progress=progress)
        return None if group.world_size > 1 and source.is_made_of_stores() else corpus

    return group.run_on_main(corpus_unless_stores) or source.load()


def check_memory(
    model: ModelConfig,
    config: TrainingConfig,
    data: DataModule,
    *,
    device: str,
    group: ProcessGroup | None = None,
) -> None:
    """Refuse a run whose largest batch, or this process's shard of it, does not fit into memory.

    Raises:
        InputError: As `require_memory`.
    """
    group = group or single_process()
    if config.data.carry_state:
        rows = config.data.batch_size // group.world_size
        positions = scored = rows * config.data.context_length
    else:
        positions, scored, rows = _largest_batch(data, config, group.shard)
    workload = StepWorkload(
        positions, scored, rows,
        backend=available_backends(device)[0],
        has_amx=has_amx(),
        device=device,
        num_shards=group.world_size if config.hardware.sharding == "fsdp" else 1,
    )  # fmt: skip
    free = free_memory(device) // (group.local_world_size if device == "cpu" else 1)
    require_memory(model, config, workload, free=free)


def _largest_batch(
    data: DataModule, config: TrainingConfig, shard: ProcessShard
) -> tuple[int, int, int]:
    """Estimate positions, scored positions and rows of the largest batch of a run.

    A batch is a sum over windows drawn at random, so its size is nearly normal, and the largest of
    n lies about sqrt(2 ln n) standard deviations above the mean.
    """
    loader = data.window_loader(shard)
    batches = [next(loader) for _ in range(_SAMPLED_BATCHES)]
    sizes = np.array(
        [[batch.tokens.numel(), batch.num_scored, len(batch.tokens)] for batch in batches]
    )
    num_batches = config.run.steps * config.optimizer.gradient_accumulation_steps
    deviations = math.sqrt(2 * math.log(num_batches))
    likely = np.ceil(sizes.mean(axis=0) + deviations * sizes.std(axis=0))
    positions, scored, rows = np.maximum(likely, sizes.max(axis=0)).astype(int).tolist()
    return positions, scored, rows
