"""A run over a mixture: its record of the sets, and exact resume."""

from pathlib import Path

from rwkv_music.cli import main
from rwkv_music.data.corpora.about import CorpusAbout, write_about
from rwkv_music.score import save_score
from rwkv_music.training import Callbacks, TrainingConfig, train
from rwkv_music.training.run.control import STOP
from rwkv_music.training.run.directory import RunDirectory
from rwkv_music.training.trainer import StepMetrics
from tests.music import tune

ARGUMENTS = ["--preset", "tiny", "--steps", "6", "--evaluate-every", "3", "--sample-prompts", "0"]


def write_sets(folder: Path) -> list[str]:
    for seed in range(6):
        save_score(tune(bars=6, seed=seed), folder / "large set" / f"{seed}.mid")
    for seed in range(20, 22):
        save_score(tune(bars=6, seed=seed), folder / "small" / f"{seed}.mid")
    write_about(CorpusAbout(licence="CC0 1.0"), folder / "small")
    return [str(folder / "large set"), f"{folder / 'small'}=3"]


def test_a_run_over_a_mixture_records_its_sets_and_resumes_exactly(tmp_path: Path) -> None:
    sets = write_sets(tmp_path)
    out = tmp_path / "run"
    assert main(["train", "--corpus", *sets, "--out", str(out), *ARGUMENTS]) == 0
    whole = RunDirectory(out)
    corpus = whole.config()["corpus"]
    assert [(row["name"], row["weight"]) for row in corpus["sets"]] == [
        ("large set", 1),
        ("small", 3),
    ]
    assert corpus["sets"][1]["licence"] == "CC0 1.0"
    assert corpus["pieces_valid"] == sum(row["pieces_valid"] for row in corpus["sets"])
    assert all(row["pieces_valid"] for row in corpus["sets"])

    config = TrainingConfig.from_dict(whole.config()["config"]).replace(out=str(tmp_path / "two"))
    assert config.data.corpus == f'"{sets[0]}" {sets[1]}'
    stopped = RunDirectory(config.out_path)

    def stop_after_four(step: StepMetrics) -> None:
        if step.step == 4:
            stopped.control.ask(STOP)

    train(config, callbacks=Callbacks(on_step=stop_after_four))
    assert stopped.status()["state"] == "stopped"
    train(config, resume=True)
    assert stopped.status()["step"] == 6
    assert losses(stopped) == losses(whole)


def losses(run: RunDirectory) -> list[float]:
    """The training loss of each step."""
    return [line["loss_train"] for line in run.metrics() if "loss_train" in line]
