"""The stream of batches a run trains on, made ahead of time."""

from collections.abc import Sequence

from rwkv_music.data import Piece, Windows
from rwkv_music.data.augmentation import RandomAugmentation
from rwkv_music.data.long_stream import LongStream
from rwkv_music.data.prefetch import Prefetched, Stream
from rwkv_music.data.sampler import BatchStream
from rwkv_music.data.shares import WHOLE, Share
from rwkv_music.model import ModelConfig
from rwkv_music.ops.backends import available_backends
from rwkv_music.tokenizer import Vocabulary
from rwkv_music.training.cluster import ALONE, Cluster
from rwkv_music.training.config import TrainingConfig
from rwkv_music.training.memory import free_memory, require_memory

_BATCHES_LOOKED_AT = 8


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
    if config.augmentation:
        augment = RandomAugmentation(vocabulary=vocabulary, drop_share=config.drop_parts)
    stream: Stream
    if config.carry_state:
        stream = LongStream(
            pieces,
            batch_size=config.batch_size,
            context_length=config.context_length,
            seed=config.seed,
            augment=augment,
            share=share,
        )
    else:
        stream = BatchStream(
            windows,
            batch_size=config.batch_size,
            seed=config.seed,
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
    if config.carry_state:
        rows = config.batch_size // cluster.number
        positions = scored = rows * config.context_length
    else:
        stream = BatchStream(
            windows, batch_size=config.batch_size, seed=config.seed, share=cluster.share
        )
        batches = [next(stream) for _ in range(_BATCHES_LOOKED_AT)]
        positions = max(batch.tokens.numel() for batch in batches)
        scored = max(batch.num_scored for batch in batches)
        rows = max(len(batch.tokens) for batch in batches)
    require_memory(
        model,
        config,
        free=free_memory(device) // (cluster.neighbours if device == "cpu" else 1),
        positions=positions,
        scored=scored,
        rows=rows,
        backend=available_backends()[0] if device == "cpu" else "",
        device=device,
        parts=cluster.number if config.sharding == "fsdp" else 1,
    )
