"""How fast tokens are read one by one, with CUDA graphs and without."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from rwkv_music.evaluation.gpu.timing import REPEATS, Deadline, Stopwatch, summary
from rwkv_music.model import RWKV7, Decoder

BATCH_SIZES = (1, 16)
_STEPS = 16
"""In each timed run."""


def decoding_rows(
    model: RWKV7, *, batch_sizes: Sequence[int] = BATCH_SIZES, repeats: int = REPEATS,
    deadline: Deadline | None = None,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """A row for each batch size and way to step; and how far their logits lie apart."""
    device = model.emb.weight.device
    watch = Stopwatch(device)
    decoders = {"graphs": Decoder(model), "no graphs": Decoder(model)}
    decoders["no graphs"]._graphs = None  # noqa: SLF001 - what graphs bring is the question
    for batch_size in batch_sizes:
        ids = torch.arange(batch_size) % model.config.vocab_size
        logits = {
            name: each.step(ids, each.new_state(batch_size)) for name, each in decoders.items()
        }
        apart = float((logits["graphs"] - logits["no graphs"]).abs().max())

        def steps_of(decoder: Decoder, ids: torch.Tensor = ids) -> None:
            state = decoder.new_state(len(ids))
            for _ in range(_STEPS):
                decoder.step(ids, state)

        works = {name: lambda each=each: steps_of(each) for name, each in decoders.items()}
        for name, seconds in watch.in_turns(works, repeats=repeats, deadline=deadline).items():
            figures = summary(seconds)
            yield {
                "way": name, "batch_size": batch_size, "parameters": count_parameters(model),
                **figures,
                "tokens_per_second": round(
                    1000 * _STEPS * batch_size / float(figures["milliseconds"])
                ),
                "largest_difference": float(f"{apart:.3g}"),
            }  # fmt: skip


def count_parameters(model: RWKV7) -> int:
    """Numbers that are trained."""
    return sum(each.numel() for each in model.parameters())
