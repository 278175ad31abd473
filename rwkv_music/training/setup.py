"""What each process of a run trains with: music, its share of the batches, and a trainer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from rwkv_music.data.corpora.load import load_corpus
from rwkv_music.data.loading.prefetch_loader import Prefetched
from rwkv_music.data.pieces import Corpus
from rwkv_music.data.store.store_info import is_store
from rwkv_music.data.worker_pool import Progress
from rwkv_music.devices import choose_device
from rwkv_music.model import RWKV7, ModelConfig, initialize
from rwkv_music.training.config import TrainingConfig
from rwkv_music.training.data_module import Material, material_of
from rwkv_music.training.distributed.process_group import Cluster
from rwkv_music.training.initial_weights import load_initial
from rwkv_music.training.loaders import open_stream, require_room
from rwkv_music.training.run.checkpoints import Stored
from rwkv_music.training.trainer import Trainer


@dataclass(frozen=True)
class Equipment:
    """All that steps are taken with."""

    material: Material
    stream: Prefetched
    trainer: Trainer
    facts: dict[str, Any] | None
    """What a checkpoint says, when the run goes on from one."""


def equip(
    config: TrainingConfig,
    cluster: Cluster,
    *,
    progress: Progress | None = None,
    newest: Callable[[Material], Stored | None] = lambda _: None,
) -> Equipment:
    """Prepare one process of a run; all of them do it together.

    Args:
        config: The settings.
        cluster: The processes.
        progress: Told of each piece, where this process reads them.
        newest: The checkpoint to go on from, or None to begin; the leader alone is asked.

    Raises:
        InputError: If the corpus cannot be used, or there is too little memory.
    """
    cluster.require_fit(config)
    device = choose_device(config.hardware.device)
    material = material_of(_load(config, cluster, progress), config)
    torch.manual_seed(config.run.seed)
    model = _new_model(config, material, device, cluster)
    stream = open_stream(
        material.train_pieces,
        material.train,
        config,
        material.tokenizer.vocabulary,
        device=device,
        share=cluster.share,
    )
    stored: Stored | None = None

    def read() -> tuple[int, dict[str, Any]] | None:
        nonlocal stored
        stored = newest(material)
        if stored is not None:
            model.load_state_dict(stored.snapshot.model.state_dict())
            return stored.step, stored.facts
        if config.model.init:
            begun = load_initial(config.model.init, model.config, material.tokenizer.settings)
            model.load_state_dict(begun.state_dict())
        return None

    place = cluster.first(read)
    if cluster.number > 1:
        weights = cluster.spread(model.state_dict() if cluster.is_leader else None)
        model.load_state_dict(weights)
    trainer = Trainer(
        model, stream, config, vocabulary=material.tokenizer.vocabulary, cluster=cluster
    )
    if place is None:
        return Equipment(material, stream, trainer, None)
    step, facts = place
    stream.seek(facts["stream"])
    trainer.restore(cluster.spread(None if stored is None else stored.snapshot.tensors), step=step)
    return Equipment(material, stream, trainer, facts)


def _load(config: TrainingConfig, cluster: Cluster, progress: Progress | None) -> Corpus:
    """A store is opened by each process; other music is read once and handed to the others."""
    if cluster.first(lambda: config.data.corpus != "bach" and is_store(config.data.corpus)):
        return load_corpus(config.data.corpus)
    return cluster.first(lambda: load_corpus(config.data.corpus, progress=progress))


def _new_model(config: TrainingConfig, material: Material, device: str, cluster: Cluster) -> RWKV7:
    tokenizer = material.tokenizer
    sizes = ModelConfig(
        vocab_size=tokenizer.vocab_size,
        num_layers=config.model.num_layers,
        dim=config.model.dim,
        dropout=config.model.dropout,
    )
    require_room(sizes, config, material.train, device=device, cluster=cluster)
    model = RWKV7(sizes)
    initialize(model, seed=config.run.seed)
    return model.to(device)
