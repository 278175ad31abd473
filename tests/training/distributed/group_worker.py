"""What one of several processes does in the tests of training together.

python -m tests.training.distributed.group_worker steps FOLDER
python -m tests.training.distributed.group_worker runs FOLDER CORPUS
python -m tests.training.distributed.group_worker fall FOLDER CORPUS
"""

import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from rwkv_music.data import Batch, Example, pack
from rwkv_music.data.loading.collate import nothing
from rwkv_music.data.loading.long_context_loader import LongStream
from rwkv_music.data.loading.process_shard import Share
from rwkv_music.errors import InputError
from rwkv_music.model import RWKV7, ModelConfig, initialize
from rwkv_music.tokenizer import Tokenizer
from rwkv_music.training import Listeners, StepReport, Trainer, TrainingConfig, train
from rwkv_music.training.distributed.process_group import Cluster, join_cluster
from rwkv_music.training.run.directory import RunDirectory
from tests.music import piece

TOKENIZER = Tokenizer()
PIECES = [piece(bars, seed=bars) for bars in (2, 3, 4, 6, 7)]
STEPS = 3
# Of the joint batches of a step. One process of two has next to nothing to score in the first, and
# nothing at all in the last.
SCORED = ((100, 2, 2, 2), (3, 40, 1, 60), (30,))


def joint_batches() -> list[list[Example]]:
    """Examples of a step's batches, each with so many scored tokens."""
    return [
        [
            Example(ids=PIECES[4 - place].ids, completion_start=len(PIECES[4 - place].ids) - scored)
            for place, scored in enumerate(batch)
        ]
        for batch in SCORED
    ]


def batches_of(share: Share) -> list[Batch]:
    """One process's part of them."""
    parts = [
        [joint[place] for place in share.of([len(each.ids) for each in joint])]
        for joint in joint_batches()
    ]
    return [pack(part) if part else nothing() for part in parts]


def new_trainer(cluster: Cluster, stream: Iterator[Batch], **settings: Any) -> Trainer:
    """In float64, away from the first weights, where most gradients are zero."""
    model = RWKV7(ModelConfig(vocab_size=TOKENIZER.vocab_size, num_layers=2, dim=64))
    initialize(model, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    config = TrainingConfig.preset(
        "tiny", corpus="", out="", steps=STEPS, warmup_steps=0, logit_penalty=1e-4, **settings
    )
    return Trainer(model.double(), stream, config, vocabulary=TOKENIZER.vocabulary, cluster=cluster)


def result(trainer: Trainer, reports: list[StepReport]) -> dict[str, Any]:
    """What processes together and one alone must agree in."""
    cluster, model = trainer.cluster, trainer.model
    gradients = {
        name: cluster.whole(value.grad).clone()
        for name, value in model.named_parameters()
        if value.grad is not None
    }
    told = [asdict(report) for report in reports]
    for each in told:
        del each["tokens_per_second"], each["processes"], each["padding_share"]
        del each["scored_share"]
    found: dict[str, Any] = {"reports": told, "gradients": gradients}
    if not cluster.is_leader:
        trainer.obey(cluster.hear())
    else:
        snapshot = trainer.snapshot()
        found["weights"] = dict(snapshot.model.state_dict())
        found["state"] = {
            name: value for name, value in snapshot.tensors.items() if "random/" not in name
        }
    return found


def steps_of(cluster: Cluster, **settings: Any) -> dict[str, Any]:
    """Steps on the same batches; gradients are those of the last one."""
    trainer = new_trainer(cluster, iter(()), **settings)
    parts = batches_of(cluster.share)
    reports = [trainer.step(step, parts) for step in range(1, STEPS + 1)]
    return result(trainer, reports)


def stretches_of(cluster: Cluster) -> dict[str, Any]:
    """Steps on stretches of long pieces, the state handed on."""
    stream = LongStream(PIECES, batch_size=4, context_length=16, seed=0, share=cluster.share)
    trainer = new_trainer(cluster, stream)
    if cluster.is_leader:
        reports = list(trainer)
    else:
        for _ in range(STEPS):
            trainer.obey(cluster.hear())
        reports = []
    return result(trainer, reports)


def measured(cluster: Cluster) -> dict[str, dict[str, Any]]:
    """All of the above."""
    found = {"whole": steps_of(cluster), "stretches": stretches_of(cluster)}
    if cluster.number > 1:
        found["sharded"] = steps_of(cluster, sharding="fsdp")
        found["sharded, recomputed"] = steps_of(
            cluster, sharding="fsdp", activation_checkpointing=True
        )
    return found


def run_config(corpus: str, out: Path, **settings: Any) -> TrainingConfig:
    """A short run with looks and checkpoints."""
    given = {
        "corpus": corpus, "out": str(out), "device": "cpu", "seed": 1, "steps": 8,
        "evaluate_every": 4, "sample_prompts": 0, "logger": "none", **settings,
    }  # fmt: skip
    return TrainingConfig.preset("tiny", **given)


def stopping_at(step: int, run: Path) -> Listeners:
    """Ask for a stop behind a step."""

    def on_step(report: StepReport) -> None:
        if report.step == step:
            RunDirectory(run).control.ask("stop")

    return Listeners(on_step=on_step)


def runs(cluster: Cluster, folder: Path, corpus: str) -> None:
    """Whole runs with dropout, one of them interrupted; without it, one sharded, one in part."""
    dropping = {"dropout": 0.2, "gradient_accumulation_steps": 2}
    whole = run_config(corpus, folder / "whole", logger="tensorboard", **dropping)
    train(whole, cluster=cluster)
    parted = run_config(corpus, folder / "parted", **dropping)
    train(parted, cluster=cluster, listeners=stopping_at(3, folder / "parted"))
    train(parted, cluster=cluster, resume=True)
    begun = run_config(corpus, folder / "begun")
    train(begun, cluster=cluster, listeners=stopping_at(5, folder / "begun"))
    sharded = run_config(corpus, folder / "sharded", sharding="fsdp")
    train(sharded, cluster=cluster, listeners=stopping_at(5, folder / "sharded"))
    train(sharded, cluster=cluster, resume=True)


def fall(cluster: Cluster, folder: Path, corpus: str) -> None:
    """Process 1 is killed when it is about to take its third step."""
    real = Trainer.obey
    heard = [0]

    def obey(trainer: Trainer, word: str) -> None:
        heard[0] += 1
        if heard[0] == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        real(trainer, word)

    Trainer.obey = obey
    train(run_config(corpus, folder / "run", save_every=1), cluster=cluster)


def main(job: str, folder: Path, *corpus: str) -> int:
    """Join the other processes and do the job."""
    cluster = join_cluster("cpu")
    try:
        if job == "steps":
            torch.save(measured(cluster), folder / f"{cluster.rank}.pt")
        else:
            {"runs": runs, "fall": fall}[job](cluster, folder, *corpus)
    except InputError as error:
        print(error)
        return 2
    cluster.leave()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:]))
