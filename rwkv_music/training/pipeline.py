"""One whole run, from the corpus to the last checkpoint, written into a run directory.

The command line, a background process and a test all call `train`; there is no second way.
"""

import platform
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

import torch

from rwkv_music.data import Corpus, Windows, load_corpus, split_corpus
from rwkv_music.data.augmentation import RandomAugmentation
from rwkv_music.data.corpora import Progress
from rwkv_music.data.dataset import Piece
from rwkv_music.data.sampler import BatchStream
from rwkv_music.devices import DeviceMonitor, DeviceSampler, choose_device
from rwkv_music.evaluation import (
    CompletionLikelihood,
    NGramModel,
    completion_likelihood,
    ngram_likelihood,
)
from rwkv_music.model import RWKV7, ModelConfig, initialize, save_checkpoint
from rwkv_music.ops.backends import choose_backend
from rwkv_music.tokenizer import Tokenizer
from rwkv_music.training.config import TrainingConfig
from rwkv_music.training.run import RunDirectory
from rwkv_music.training.samples import HeldOutSample
from rwkv_music.training.trainer import StepReport, Trainer

NGRAM_ORDER = 5
_VERSIONS_OF = ("rwkv-music", "torch", "numpy", "symusic", "music21")
_STATUS_SECONDS = 0.2


@dataclass(frozen=True)
class Material:
    """What a run trains on and is measured on."""

    tokenizer: Tokenizer
    corpus: Corpus
    train_pieces: list[Piece]
    valid_pieces: list[Piece]
    train: Windows
    valid: Windows

    def summary(self) -> dict[str, Any]:
        """What config.json says of the data."""
        return {
            "name": self.corpus.name,
            "content_sha256": self.corpus.content_hash,
            "pieces_train": len(self.train.pieces),
            "pieces_valid": len(self.valid.pieces),
            "tokens_train": sum(len(piece.ids) for piece in self.train.pieces),
            "tokens_valid": sum(len(piece.ids) for piece in self.valid.pieces),
            "windows_valid": len(self.valid),
            "valid_pieces": [piece.name for piece in self.valid.pieces],
            "too_short": self.train.too_short + self.valid.too_short,
            "set_aside": dict(self.corpus.set_aside),
        }


def prepare_material(
    config: TrainingConfig, tokenizer: Tokenizer, progress: Progress | None = None
) -> Material:
    """Load the corpus, split it by piece, and cut its windows."""
    corpus = load_corpus(config.corpus, tokenizer, progress=progress)
    train, valid = split_corpus(corpus, valid_share=config.valid_share)
    bars = {"prompt_bars": config.prompt_bars, "completion_bars": config.completion_bars}
    return Material(
        tokenizer=tokenizer,
        corpus=corpus,
        train_pieces=train,
        valid_pieces=valid,
        train=Windows(train, tokenizer, **bars),
        valid=Windows(valid, tokenizer, **bars),
    )


def ngram_floor(material: Material) -> CompletionLikelihood:
    """What an n-gram model of the training pieces gives the validation completions."""
    model = NGramModel(
        [piece.ids for piece in material.train_pieces],
        vocab_size=material.tokenizer.vocab_size,
        order=NGRAM_ORDER,
    )
    return ngram_likelihood(model, material.valid, material.tokenizer.vocabulary)


def train(
    config: TrainingConfig,
    *,
    run: RunDirectory | None = None,
    progress: Progress | None = None,
    on_step: Callable[[StepReport], None] | None = None,
    on_evaluation: Callable[[dict[str, Any]], None] | None = None,
) -> RunDirectory:
    """Train a model as the config says and leave everything in its run directory.

    Args:
        config: The settings.
        run: The directory, when the caller has made it already; it then keeps the news of a
            failed preparation. Otherwise it is made, and taken away if preparation fails.
        progress: Told of each piece while the corpus is built.
        on_step: Told of each optimizer step.
        on_evaluation: Given each evaluation line of metrics.jsonl.

    Returns:
        The run directory; its state is "finished", or "stopped" when somebody asked for that.

    Raises:
        InputError: If the settings, the corpus or the place cannot be used.
    """
    made_here = run is None
    if run is None:
        run = RunDirectory.create(config.out_path)
    try:
        session = _Session(config, run, progress)
    except BaseException as error:
        if made_here:
            run.discard()
        else:
            run.write_status("failed", message=str(error) or type(error).__name__)
        raise
    try:
        session.run_to_end(on_step, on_evaluation)
    except BaseException as error:
        session.say("failed", str(error) or type(error).__name__)
        raise
    return run


class _Session:
    """The state of one run while it goes on."""

    def __init__(
        self, config: TrainingConfig, run: RunDirectory, progress: Progress | None
    ) -> None:
        self.config = config
        self.directory = run
        self.device = choose_device(config.device)
        self.step = 0
        self.best = float("inf")
        self.say("preparing", f"reading the corpus {config.corpus}")
        self.tokenizer = Tokenizer()
        self.material = prepare_material(config, self.tokenizer, progress)
        torch.manual_seed(config.seed)
        self.model = self._new_model()
        self.sample = HeldOutSample.of(self.material.valid, seed=config.seed)
        self.sample.write_prompt(run.path / "samples" / "prompt.mid")
        self.floor = ngram_floor(self.material)
        run.write_config(self._description())

    def _new_model(self) -> RWKV7:
        model = RWKV7(
            ModelConfig(
                vocab_size=self.tokenizer.vocab_size,
                num_layers=self.config.num_layers,
                width=self.config.width,
                dropout=self.config.dropout,
            )
        )
        model.tokenizer_settings = self.tokenizer.settings
        initialize(model, seed=self.config.seed)
        return model.to(self.device)

    def _description(self) -> dict[str, Any]:
        return {
            "config": self.config.to_dict(),
            "model": self.model.config.to_dict(),
            "parameters": sum(each.numel() for each in self.model.parameters()),
            "tokenizer": self.tokenizer.settings,
            "versions": {
                "python": platform.python_version(),
                **{name: metadata.version(name) for name in _VERSIONS_OF},
            },
            "command": " ".join(["rwkv-music", *sys.argv[1:]]),
            "device": str(self.device),
            "kernel": choose_backend(self.model.emb.weight, self.model.config.head_size),
            "corpus": self.material.summary(),
            "floor": {
                "order": NGRAM_ORDER,
                "nats_per_token": self.floor.nats_per_token,
                "nats_per_note": self.floor.nats_per_note,
            },
            "sample": self.sample.description(),
        }

    def say(self, state: str, message: str = "") -> None:
        """Replace the status."""
        self.directory.write_status(
            state,
            step=self.step,
            steps=self.config.steps,
            message=message,
            device=str(self.device),
        )

    def run_to_end(
        self,
        on_step: Callable[[StepReport], None] | None,
        on_evaluation: Callable[[dict[str, Any]], None] | None,
    ) -> None:
        """Take steps until the last one, or until somebody asks to stop."""
        batches = BatchStream(
            self.material.train,
            batch_size=self.config.batch_size,
            seed=self.config.seed,
            augment=RandomAugmentation(vocabulary=self.tokenizer.vocabulary),
        )
        trainer = Trainer(self.model, batches, self.config, vocabulary=self.tokenizer.vocabulary)
        began = time.perf_counter()
        said = 0.0
        self.say("running")
        with DeviceSampler(DeviceMonitor(self.device)) as sampler:
            for report in trainer:
                self.step = report.step
                elapsed = time.perf_counter() - began
                self._log(report, sampler, elapsed)
                if on_step is not None:
                    on_step(report)
                if self.directory.stop_was_asked():
                    self._save_and_stop()
                    break
                if self._is_time_to_evaluate():
                    self.say("running", "measuring the held-out pieces")
                    line = self._evaluate(elapsed)
                    if on_evaluation is not None:
                        on_evaluation(line)
                if elapsed - said > _STATUS_SECONDS:
                    self.say("running")
                    said = elapsed
        self.say("finished" if self.step == self.config.steps else "stopped")

    def _is_time_to_evaluate(self) -> bool:
        return self.step % self.config.evaluate_every == 0 or self.step == self.config.steps

    def _log(self, report: StepReport, sampler: DeviceSampler, elapsed: float) -> None:
        reading = sampler.latest()
        self.directory.append_metrics(
            {
                **asdict(report),
                "device_busy_percent": sampler.mean_busy_percent(),
                "memory_gib": None if reading is None else _gib(reading.memory_used),
                "elapsed_seconds": round(elapsed, 3),
            }
        )

    def _evaluate(self, elapsed: float) -> dict[str, Any]:
        """Measure, save, and complete the held-out prompt."""
        likelihood = completion_likelihood(
            self.model, self.material.valid, self.tokenizer.vocabulary
        )
        line = {
            "step": self.step,
            "loss_valid": likelihood.nats_per_token,
            "nats_per_note_valid": likelihood.nats_per_note,
            "sample": f"samples/step-{self.step:06d}.mid",
            "elapsed_seconds": round(elapsed, 3),
        }
        self._save("last", line)
        if likelihood.nats_per_token < self.best:
            self.best = likelihood.nats_per_token
            self._save("best", line)
        self.sample.complete(self.model, self.directory.sample_path(self.step))
        self.directory.append_metrics(line)
        return line

    def _save_and_stop(self) -> None:
        """Keep what was learnt, without the time it takes to measure it."""
        self.say("stopping", "saving")
        facts = {"step": self.step}
        self._save("last", facts)
        if not self.directory.checkpoint_path("best").exists():
            self._save("best", facts)

    def _save(self, which: str, facts: dict[str, Any]) -> None:
        save_checkpoint(
            self.model,
            self.directory.checkpoint_path(which),
            tokenizer_settings=self.tokenizer.settings,
            metadata={"run": self.config.to_dict(), **facts},
        )


def _gib(num_bytes: int | None) -> float | None:
    return None if num_bytes is None else round(num_bytes / 2**30, 3)
