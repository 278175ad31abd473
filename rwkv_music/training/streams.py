"""The stream of batches a run trains on, made ahead of time."""

from collections.abc import Sequence

from rwkv_music.data import Piece, Windows
from rwkv_music.data.augmentation import RandomAugmentation
from rwkv_music.data.long_stream import LongStream
from rwkv_music.data.prefetch import Prefetched, Stream
from rwkv_music.data.sampler import BatchStream
from rwkv_music.model import ModelConfig
from rwkv_music.ops.backends import available_backends
from rwkv_music.tokenizer import Vocabulary
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
) -> Prefetched:
    """Batches without end: windows, packed, or whole pieces where the state is carried.

    Args:
        pieces: For training.
        windows: Cut from them.
        config: Which of the two, and how large.
        vocabulary: To transpose and the like.
        device: Where batches are wanted.
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
        )
    else:
        stream = BatchStream(
            windows, batch_size=config.batch_size, seed=config.seed, augment=augment
        )
    return Prefetched(stream, device=device)


def require_room(
    model: ModelConfig, config: TrainingConfig, windows: Windows, *, device: str
) -> None:
    """Refuse a run whose largest batch will not fit into the memory that is free.

    Raises:
        InputError: As `require_memory`.
    """
    if config.carry_state:
        positions = scored = config.batch_size * config.context_length
        rows = config.batch_size
    else:
        stream = BatchStream(windows, batch_size=config.batch_size, seed=config.seed)
        batches = [next(stream) for _ in range(_BATCHES_LOOKED_AT)]
        positions = max(batch.tokens.numel() for batch in batches)
        scored = max(batch.num_scored for batch in batches)
        rows = max(len(batch.tokens) for batch in batches)
    require_memory(
        model,
        config,
        free=free_memory(device),
        positions=positions,
        scored=scored,
        rows=rows,
        backend=available_backends()[0] if device == "cpu" else "",
        device=device,
    )
