"""Time the trainer on real music beside the bare step on the same batches, made beforehand.

    python -m benchmarks.trainer_overhead --json benchmarks/results/trainer_overhead.json

The bare step is forward, loss, backward, clipping and AdamW, and nothing else. The trainer also
cuts windows, augments, packs and tells losses by kind of token. Padding is told of the stream as it
is, and of one row for each window, with windows of similar length together.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.measuring import REPEATS, alternate, machine, rounded, time_ratio, write_report
from rwkv_music.data import Batch, Windows, load_corpus, split_corpus
from rwkv_music.data.augmentation import RandomAugmentation
from rwkv_music.data.loading.prefetch_loader import PrefetchLoader
from rwkv_music.data.loading.window_loader import WindowLoader
from rwkv_music.model import RWKV7, ModelConfig, initialize
from rwkv_music.ops.cross_entropy import completion_loss
from rwkv_music.tokenizer import Tokenizer
from rwkv_music.training.config import TrainingConfig
from rwkv_music.training.optimizer import make_optimizer
from rwkv_music.training.trainer import Trainer


def main() -> None:
    """Measure every corpus."""
    given = arguments()
    torch.set_num_threads(given.threads or torch.get_num_threads())
    report = {
        "machine": machine("rwkv-music"),
        "settings": {
            name: getattr(given, name) for name in ("preset", "steps", "repeats", "seed", "quick")
        },
        "rows": [measure(corpus, given) for corpus in given.corpora],
    }
    write_report(report, given.json)


def arguments() -> argparse.Namespace:
    """What was asked for on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpora", nargs="+", default=["bach"], help="bach, or folders of music")
    parser.add_argument("--preset", default="small")
    parser.add_argument("--steps", type=int, default=4, help="in one turn")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0, help="torch's own choice when 0")
    parser.add_argument("--quick", action="store_true", help="tiny, to see that it works")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if given.quick:
        given.preset, given.steps, given.repeats = "tiny", 2, 2
    return given


def measure(corpus: str, given: argparse.Namespace) -> dict[str, Any]:
    """Times in turns, and the padding of both kinds of batches."""
    tokenizer = Tokenizer()
    config = TrainingConfig.preset(given.preset, corpus=corpus, out="", steps=10**9)
    pieces, _ = split_corpus(load_corpus(corpus, tokenizer))
    windows = Windows(
        pieces,
        tokenizer,
        prompt_bars=config.data.prompt_bars,
        completion_bars=config.data.completion_bars,
    )

    def stream(*, packing: bool = True) -> WindowLoader:
        return WindowLoader(
            windows, batch_size=config.data.batch_size, seed=given.seed, packing=packing,
            augment=RandomAugmentation(vocabulary=tokenizer.vocabulary),
        )  # fmt: skip

    source = stream()
    batches = [next(source) for _ in range(given.steps)]
    unpacked = stream(packing=False)
    similar = [next(unpacked) for _ in range(given.steps)]
    with PrefetchLoader(stream()) as ahead:
        timings = alternate(
            {
                "trainer": trainer_steps(config, tokenizer, ahead, given.steps),
                "bare": bare_steps(config, tokenizer, batches),
                "bare, a row for each window": bare_steps(config, tokenizer, similar),
            },
            repeats=given.repeats,
        )
    tokens, tokens_unpacked = real_tokens(batches), real_tokens(similar)
    return {
        "corpus": Path(corpus).name,
        "tokens": tokens,
        "tokens_per_second": round(tokens / timings["trainer"].median),
        "trainer_over_bare": time_ratio(timings["trainer"], timings["bare"]),
        "packed_over_unpacked_per_token": {
            name: rounded(value * tokens_unpacked / tokens)
            for name, value in time_ratio(
                timings["bare"], timings["bare, a row for each window"]
            ).items()
        },
        "padding_packed": padding_share(stream()),
        "padding_unpacked": padding_share(stream(packing=False)),
        **{name: timing.to_dict() for name, timing in timings.items()},
    }


def new_model(config: TrainingConfig, tokenizer: Tokenizer) -> RWKV7:
    """With its usual initial weights."""
    sizes = ModelConfig(
        vocab_size=tokenizer.vocab_size, num_layers=config.model.num_layers, dim=config.model.dim
    )
    model = RWKV7(sizes)
    initialize(model, seed=config.run.seed)
    return model.train()


def trainer_steps(
    config: TrainingConfig, tokenizer: Tokenizer, batches: PrefetchLoader, steps: int
) -> Callable[[], None]:
    """The trainer over the first batches of a stream, made while it computes."""
    start = batches.position()
    model = new_model(config, tokenizer)
    trainer = Trainer(model, batches, config, vocabulary=tokenizer.vocabulary)

    def work() -> None:
        batches.seek(start)
        for _, _ in zip(range(steps), trainer, strict=False):
            pass

    return work


def bare_steps(
    config: TrainingConfig, tokenizer: Tokenizer, batches: list[Batch]
) -> Callable[[], None]:
    """The model's steps over batches that lie ready."""
    model = new_model(config, tokenizer)
    optimizer = make_optimizer(
        model,
        learning_rate=config.optimizer.learning_rate,
        weight_decay=config.optimizer.weight_decay,
    )

    def work() -> None:
        for batch in batches:
            hidden, _ = model.hidden(batch.tokens, resets=batch.resets)
            loss = completion_loss(hidden, model.head.weight, batch.targets, batch.completion_mask)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.optimizer.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    return work


def real_tokens(batches: list[Batch]) -> int:
    """Positions that are not padding."""
    return sum(int((batch.tokens != 0).sum()) for batch in batches)


def padding_share(stream: WindowLoader, *, batches: int = 100) -> float:
    """Of the stream's first batches."""
    made = [next(stream) for _ in range(batches)]
    return rounded(1 - real_tokens(made) / sum(batch.tokens.numel() for batch in made))


if __name__ == "__main__":
    main()
