"""The stream of batches a run trains on, made ahead of time."""

import math
from collections.abc import Sequence

import numpy as np

from rwkv_music.data import Piece, Windows
from rwkv_music.data.augmentation import RandomAugmentation
from rwkv_music.data.loading.long_context_loader import LongStream
from rwkv_music.data.loading.prefetch_loader import Prefetched, Stream
from rwkv_music.data.loading.process_shard import WHOLE, Share
from rwkv_music.data.loading.window_loader import BatchStream
from rwkv_music.model import ModelConfig
from rwkv_music.ops.backends import available_backends, has_tiles
from rwkv_music.tokenizer import Vocabulary
from rwkv_music.training.config import TrainingConfig
from rwkv_music.training.distributed.process_group import ALONE, Cluster
from rwkv_music.training.memory import Load, free_memory, require_memory

_BATCHES_LOOKED_AT = 64


def open_stream(
    pieces: Sequence[Piece],
    windows: Windows,
    config: TrainingConfig,
    vocabulary: Vocabulary,
    *,
    device: str,
    share: Share = WHOLE,
) -> Prefetched:
    """Batches without end: windows, packed, or whole pieces where the state is carried.

    Args:
        pieces: For training.
        windows: Cut from them.
        config: Which of the two, and how large.
        vocabulary: To transpose and the like.
        device: Where batches are wanted.
        share: Which part of each batch.
    """
    augment = None
    if config.data.augmentation:
        augment = RandomAugmentation(vocabulary=vocabulary, drop_share=config.data.drop_parts)
    stream: Stream
    if config.data.carry_state:
        stream = LongStream(
            pieces,
            batch_size=config.data.batch_size,
            context_length=config.data.context_length,
            seed=config.run.seed,
            augment=augment,
            share=share,
        )
    else:
        stream = BatchStream(
            windows,
            batch_size=config.data.batch_size,
            seed=config.run.seed,
            augment=augment,
            share=share,
        )
    return Prefetched(stream, device=device)


def require_room(
    model: ModelConfig,
    config: TrainingConfig,
    windows: Windows,
    *,
    device: str,
    cluster: Cluster = ALONE,
) -> None:
    """Refuse a run whose largest batch, or this process's share of it, will not fit into memory.

    Raises:
        InputError: As `require_memory`.
    """
    if config.data.carry_state:
        rows = config.data.batch_size // cluster.number
        positions = scored = rows * config.data.context_length
    else:
        positions, scored, rows = _largest(windows, config, cluster.share)
    load = Load(
        positions, scored, rows,
        backend=available_backends(device)[0],
        has_tiles=has_tiles(),
        device=device,
        parts=cluster.number if config.hardware.sharding == "fsdp" else 1,
    )  # fmt: skip
    free = free_memory(device) // (cluster.neighbours if device == "cpu" else 1)
    require_memory(model, config, load, free=free)


def _largest(windows: Windows, config: TrainingConfig, share: Share) -> tuple[int, int, int]:
    """Positions, scored ones and rows of the largest batch that a run is likely to meet.

    A batch is a sum over windows drawn at random, so that its size is nearly normal, and the
    largest of n lies about sqrt(2 ln n) deviations above the mean.
    """
    stream = BatchStream(
        windows, batch_size=config.data.batch_size, seed=config.run.seed, share=share
    )
    batches = [next(stream) for _ in range(_BATCHES_LOOKED_AT)]
    sizes = np.array([[each.tokens.numel(), each.num_scored, len(each.tokens)] for each in batches])
    far = math.sqrt(2 * math.log(config.run.steps * config.optimizer.gradient_accumulation_steps))
    likely = np.ceil(sizes.mean(axis=0) + far * sizes.std(axis=0))
    positions, scored, rows = np.maximum(likely, sizes.max(axis=0)).astype(int).tolist()
    return positions, scored, rows
