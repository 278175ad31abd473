"""Speed of token-by-token decoding, with and without CUDA graphs."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from rwkv_music.gpu_benchmark.stopwatch import REPEATS, Deadline, Stopwatch, summary
from rwkv_music.model import RWKV7, Decoder

BATCH_SIZES = (1, 16)
_STEPS = 16
"""Tokens per sequence in each timed run."""


def measure_decoding(
    model: RWKV7, *, batch_sizes: Sequence[int] = BATCH_SIZES, repeats: int = REPEATS,
    deadline: Deadline | None = None,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """Yield one row for each batch size and mode, with the largest difference of their logits."""
    device = model.emb.weight.device
    stopwatch = Stopwatch(device)
    decoders = {"graphs": Decoder(model), "no graphs": Decoder(model)}
    decoders["no graphs"]._graphs = None  # noqa: SLF001 - compares decoding without graphs
    for batch_size in batch_sizes:
        ids = torch.arange(batch_size) % model.config.vocab_size
        logits = {
            mode: decoder.step(ids, decoder.new_state(batch_size))
            for mode, decoder in decoders.items()
        }
        difference = float((logits["graphs"] - logits["no graphs"]).abs().max())

        def decode(decoder: Decoder, ids: torch.Tensor = ids) -> None:
            state = decoder.new_state(len(ids))
            for _ in range(_STEPS):
                decoder.step(ids, state)

        functions = {
            mode: lambda decoder=decoder: decode(decoder) for mode, decoder in decoders.items()
        }
        timings = stopwatch.time_in_turns(functions, repeats=repeats, deadline=deadline)
        for mode, seconds in timings.items():
            figures = summary(seconds)
            yield {
                "mode": mode, "batch_size": batch_size, "parameters": count_parameters(model),
                **figures,
                "tokens_per_second": round(
                    1000 * _STEPS * batch_size / float(figures["milliseconds"])
                ),
                "largest_difference": float(f"{difference:.3g}"),
            }  # fmt: skip


def count_parameters(model: RWKV7) -> int:
    """Return the number of trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters())
