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
from rwkv_music.data.loading.collate import empty_batch
from rwkv_music.data.loading.long_context_loader import LongContextLoader
from rwkv_music.data.loading.process_shard import ProcessShard
from rwkv_music.errors import InputError
from rwkv_music.model import RWKV7, ModelConfig, initialize
from rwkv_music.tokenizer import Tokenizer
from rwkv_music.training import Callbacks, StepMetrics, Trainer, TrainingConfig, train
from rwkv_music.training.distributed import init_process_group
from rwkv_music.training.distributed.process_group import ProcessGroup
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
            Example(ids=PIECES[4 - index].ids, completion_start=len(PIECES[4 - index].ids) - scored)
            for index, scored in enumerate(batch)
        ]
        for batch in SCORED
    ]


def batches_of(share: ProcessShard) -> list[Batch]:
    """One process's part of them."""
    parts = [
        [joint[position] for position in share.select([len(example.ids) for example in joint])]
        for joint in joint_batches()
    ]
    return [pack(part) if part else empty_batch() for part in parts]


def new_trainer(group: ProcessGroup, stream: Iterator[Batch], **settings: Any) -> Trainer:
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
    return Trainer(model.double(), stream, config, vocabulary=TOKENIZER.vocabulary, group=group)


def result(trainer: Trainer, reports: list[StepMetrics]) -> dict[str, Any]:
    """What processes together and one alone must agree in."""
    group, model = trainer.group, trainer.model
    gradients = {
        name: group.full_tensor(value.grad).clone()
        for name, value in model.named_parameters()
        if value.grad is not None
    }
    told = [asdict(report) for report in reports]
    for values in told:
        del values["tokens_per_second"], values["processes"], values["padding_fraction"]
        del values["scored_fraction"]
    actual: dict[str, Any] = {"reports": told, "gradients": gradients}
    if not group.is_main:
        trainer.run_command(group.receive_command())
    else:
        model, tensors = trainer.state_dict()
        actual["weights"] = dict(model.state_dict())
        actual["state"] = {name: value for name, value in tensors.items() if "random/" not in name}
    return actual


def steps_of(group: ProcessGroup, **settings: Any) -> dict[str, Any]:
    """Steps on the same batches; gradients are those of the last one."""
    trainer = new_trainer(group, iter(()), **settings)
    parts = batches_of(group.shard)
    reports = [trainer.step(step, parts) for step in range(1, STEPS + 1)]
    return result(trainer, reports)


def spans_of(group: ProcessGroup) -> dict[str, Any]:
    """Steps on spans of long pieces; the state is carried."""
    stream = LongContextLoader(PIECES, batch_size=4, context_length=16, seed=0, shard=group.shard)
    trainer = new_trainer(group, stream)
    if group.is_main:
        reports = list(trainer)
    else:
        for _ in range(STEPS):
            trainer.run_command(group.receive_command())
        reports = []
    return result(trainer, reports)


def measured(group: ProcessGroup) -> dict[str, dict[str, Any]]:
    """All of the above."""
    actual = {"whole": steps_of(group), "spans": spans_of(group)}
    if group.world_size > 1:
        actual["sharded"] = steps_of(group, sharding="fsdp")
        actual["sharded, recomputed"] = steps_of(
            group, sharding="fsdp", activation_checkpointing=True
        )
    return actual


def run_config(corpus: str, out: Path, **settings: Any) -> TrainingConfig:
    """A short run with looks and checkpoints."""
    given = {
        "corpus": corpus, "out": str(out), "device": "cpu", "seed": 1, "steps": 8,
        "evaluate_every": 4, "sample_prompts": 0, "logger": "none", **settings,
    }  # fmt: skip
    return TrainingConfig.preset("tiny", **given)


def stopping_at(step: int, run: Path) -> Callbacks:
    """Ask for a stop behind a step."""

    def on_step(report: StepMetrics) -> None:
        if report.step == step:
            RunDirectory(run).control.ask("stop")

    return Callbacks(on_step=on_step)


def runs(group: ProcessGroup, folder: Path, corpus: str) -> None:
    """Whole runs with dropout, one of them interrupted; without it, one sharded, one in part."""
    dropping = {"dropout": 0.2, "gradient_accumulation_steps": 2}
    whole = run_config(corpus, folder / "whole", logger="tensorboard", **dropping)
    train(whole, group=group)
    parted = run_config(corpus, folder / "parted", **dropping)
    train(parted, group=group, callbacks=stopping_at(3, folder / "parted"))
    train(parted, group=group, resume=True)
    begun = run_config(corpus, folder / "begun")
    train(begun, group=group, callbacks=stopping_at(5, folder / "begun"))
    sharded = run_config(corpus, folder / "sharded", sharding="fsdp")
    train(sharded, group=group, callbacks=stopping_at(5, folder / "sharded"))
    train(sharded, group=group, resume=True)


def fall(group: ProcessGroup, folder: Path, corpus: str) -> None:
    """Process 1 is killed when it is about to take its third step."""
    real = Trainer.run_command
    heard = [0]

    def run_command(trainer: Trainer, command: str) -> None:
        heard[0] += 1
        if heard[0] == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        real(trainer, command)

    Trainer.run_command = run_command
    train(run_config(corpus, folder / "run", save_every=1), group=group)


def main(job: str, folder: Path, *corpus: str) -> int:
    """Join the other processes and do the job."""
    group = init_process_group("cpu")
    try:
        if job == "steps":
            torch.save(measured(group), folder / f"{group.rank}.pt")
        else:
            {"runs": runs, "fall": fall}[job](group, folder, *corpus)
    except InputError as error:
        print(error)
        return 2
    group.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:]))
