"""A run that is killed and resumed gives the numbers of an uninterrupted one, bit for bit."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rwkv_music.errors import InputError
from rwkv_music.model import load_model
from rwkv_music.training import Callbacks, TrainingConfig, TrainingRun, start_training, train
from rwkv_music.training.run.control import PAUSE, RESUME, SAMPLE, SAVE, STOP
from rwkv_music.training.run.directory import RunDirectory
from tests.training.conftest import NewConfig
from tests.training.curves import curve

REPOSITORY = Path(__file__).resolve().parents[3]
SECONDS_AT_MOST = 240
OF_SAMPLES = ("samples", "longest_copied_run")
# Everything that could come back differently: dropout, added-up batches, label smoothing, a look
# that is not at a checkpoint, and a few epochs of the twelve tunes.
SETTINGS = {
    "steps": 24, "evaluate_every": 8, "save_every": 3, "dropout": 0.2,
    "gradient_accumulation_steps": 2, "label_smoothing": 0.05, "logit_penalty": 1e-4,
    "schedule": "wsd",
}  # fmt: skip


@pytest.fixture(scope="module")
def expected(tunes: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """The same run, never interrupted."""
    out = str(tmp_path_factory.mktemp("whole") / "run")
    given = {"seed": 1, "device": "cpu", "sample_prompts": 0, **SETTINGS}
    return train(TrainingConfig.preset("tiny", corpus=str(tunes), out=out, **given))


def num_lines(run: RunDirectory) -> int:
    return run.metrics_path.read_bytes().count(b"\n") if run.metrics_path.exists() else 0


def kill_after(run: TrainingRun, lines: int, delay: float) -> None:
    """SIGKILL, some time after the log has grown by some lines; a run that is over is left."""
    num_expected = num_lines(run.directory) + lines
    deadline = time.monotonic() + SECONDS_AT_MOST
    while num_lines(run.directory) < num_expected and run.is_running:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    time.sleep(delay)
    if run.is_running:
        os.kill(run.status()["pid"], signal.SIGKILL)


def killed_again_and_again(config: TrainingConfig, *, times: int, seed: int) -> RunDirectory:
    """Start, kill at random points, go on each time, and let it finish."""
    draw = random.Random(seed)
    run = start_training(config)
    for _ in range(times):
        kill_after(run, draw.randint(1, 9), draw.uniform(0, 0.1))
        while run.is_running:
            time.sleep(0.01)
        if run.status()["state"] == "finished":
            break
        assert "was killed" in run.status()["message"]
        run.resume()
    assert run.wait(SECONDS_AT_MOST)["state"] == "finished"
    assert not list(run.path.rglob("*.partial"))
    return run.directory


def test_three_kills_at_random_points_change_no_number(
    new_config: NewConfig, expected: RunDirectory
) -> None:
    run = killed_again_and_again(new_config(**SETTINGS), times=3, seed=0)
    assert curve(run) == curve(expected)
    assert run.status()["session"] == len(run.config()["sessions"])


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1, 8))
def test_many_kills_at_random_points_change_no_number(
    seed: int, new_config: NewConfig, expected: RunDirectory
) -> None:
    run = killed_again_and_again(new_config(**SETTINGS), times=3, seed=seed)
    assert curve(run) == curve(expected)


def start_dying(kind: str, number: int, config: TrainingConfig) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable, "-m", "tests.training.run.dying_worker", kind, str(number),
            json.dumps(config.to_dict()),
        ],
        capture_output=True, text=True, check=False, timeout=SECONDS_AT_MOST, cwd=REPOSITORY,
    )  # fmt: skip


def killed_while_saving(
    number: int, config: TrainingConfig, expected: RunDirectory
) -> RunDirectory:
    """Die while saving, go on, and compare; whatever is on the disk must be whole models."""
    assert start_dying("killed", number, config).returncode == -signal.SIGKILL
    run = RunDirectory(config.out_path)
    for path in (run.path / "checkpoints").glob("*.safetensors"):
        if ".training" not in path.name:
            assert load_model(path).metadata["step"] > 0
    train(config, resume=True)
    assert curve(run) == curve(expected)
    assert not list(run.path.rglob("*.partial"))
    return run


# Each checkpoint forces to the disk: training file, folder, model, folder, and the name "last" with
# its folder.
@pytest.mark.parametrize("number", [6 + 3])
def test_a_kill_while_a_checkpoint_is_written_changes_no_number(
    number: int, new_config: NewConfig, expected: RunDirectory
) -> None:
    killed_while_saving(number, new_config(**SETTINGS), expected)


@pytest.mark.long
@pytest.mark.parametrize("number", range(1, 26))
def test_a_kill_at_any_flush_of_a_checkpoint_changes_no_number(
    number: int, new_config: NewConfig, expected: RunDirectory
) -> None:
    killed_while_saving(number, new_config(**SETTINGS), expected)


# Status twice, settings, and then the status again and again: each forces a file and its folder to
# the disk.
@pytest.mark.parametrize("number", [5, 9])
def test_a_kill_while_settings_or_status_are_written_changes_no_number(
    number: int, new_config: NewConfig, expected: RunDirectory
) -> None:
    config = new_config(**SETTINGS)
    assert start_dying("untold", number, config).returncode == -signal.SIGKILL
    run = RunDirectory(config.out_path)
    assert list(run.path.rglob("*.partial"))
    train(config, resume=True)
    assert curve(run) == curve(expected)
    assert not list(run.path.rglob("*.partial"))


def refused_for_want_of_room(
    finished: subprocess.CompletedProcess[str], config: TrainingConfig, expected: RunDirectory
) -> None:
    """The message names the checkpoint that is kept; with free space the run resumes from it."""
    run = RunDirectory(config.out_path)
    assert finished.returncode == 2, finished.stderr
    assert "cannot write the checkpoint" in finished.stdout
    assert "free some disk space" in finished.stdout
    assert "the last checkpoint" in finished.stdout
    assert "step-000008.safetensors, is kept: resume from it" in finished.stdout
    assert run.status()["state"] == "failed"
    message, last_step = finished.stdout.splitlines()
    assert (run.status()["message"], last_step) == (message, "8")
    assert load_model(run.checkpoint_path("last")).metadata["step"] == 8
    assert not list(run.path.rglob("*.partial"))
    train(config, resume=True)
    assert curve(run) == curve(expected)


@pytest.mark.skipif(os.name == "nt", reason="Windows knows no limit for the size of a file")
def test_a_full_disk_is_reported_and_the_last_checkpoint_stays_complete(
    new_config: NewConfig, expected: RunDirectory
) -> None:
    config = new_config(**SETTINGS)
    refused_for_want_of_room(start_dying("full", 200_000, config), config, expected)


def own_small_disk(folder: Path, megabytes: int) -> list[str]:
    """How to run a command with a small disk mounted at a folder; skips where one cannot."""
    for flags in ("-m", "-Urm"):
        mount = f'mount -t tmpfs -o size={megabytes}m none "{folder}" && exec "$@"'
        command = ["unshare", flags, "sh", "-c", mount, "sh"]
        if (
            shutil.which("unshare")
            and not subprocess.run([*command, "true"], capture_output=True, check=False).returncode
        ):
            return command
    pytest.skip("a small disk cannot be mounted here: run as root on Linux")


def test_a_mounted_full_disk_keeps_the_checkpoint_before(new_config: NewConfig) -> None:
    # A checkpoint of this model takes 4.7 megabytes; the second one finds no room.
    config = new_config(**SETTINGS)
    config.out_path.mkdir()
    worker = [sys.executable, "-m", "tests.training.run.dying_worker", "mounted", "0"]
    actual = subprocess.run(
        [*own_small_disk(config.out_path, 8), *worker, json.dumps(config.to_dict())],
        capture_output=True, text=True, check=False, timeout=SECONDS_AT_MOST, cwd=REPOSITORY,
    )  # fmt: skip
    assert actual.returncode == 2, actual.stderr
    message, last_step = actual.stdout.splitlines()
    assert "cannot write the checkpoint" in message
    assert "No space left" in message
    assert "step-000003.safetensors, is kept: resume from it" in message
    assert last_step == "3"


def asking(config: TrainingConfig, words: dict[int, tuple[str, ...]]) -> Callbacks:
    """Callbacks that put words into the control file after some steps."""
    control = RunDirectory(config.out_path).control

    def on_step(report: object) -> None:
        for word in words.get(report.step, ()):  # type: ignore[attr-defined]
            control.ask(word)

    return Callbacks(on_step=on_step)


def test_stop_save_sample_and_resume_change_no_number(
    new_config: NewConfig, expected: RunDirectory
) -> None:
    # Step 8 is due for a look: a stop there leaves it to the next session.
    config = new_config(**{**SETTINGS, "sample_prompts": 1})
    words = {2: (SAVE,), 4: (SAMPLE,), 8: (STOP,)}
    run = train(config, callbacks=asking(config, words))
    assert (run.status()["state"], run.status()["step"]) == ("stopped", 8)
    assert run.checkpoints().steps() == [6, 8]
    train(config, resume=True, callbacks=asking(config, {11: (PAUSE, RESUME), 13: (SAMPLE, STOP)}))
    train(config, resume=True)
    lines = curve(run)
    taken = [line["step"] for line in lines if "samples" in line]
    assert taken == [4, 8, 13, 16, 24]
    measured = [line for line in lines if "loss_train" in line or "loss_valid" in line]
    for line, other in zip(measured, curve(expected), strict=True):
        assert {key: line[key] for key in other if key not in OF_SAMPLES} == {
            key: other[key] for key in other if key not in OF_SAMPLES
        }


def test_adafactor_and_bfloat16_resume_exactly(new_config: NewConfig) -> None:
    settings = {
        "steps": 8, "evaluate_every": 4, "optimizer": "adafactor", "precision": "bfloat16",
        "activation_checkpointing": True, "dropout": 0.1,
    }  # fmt: skip
    whole = train(new_config("whole", **settings))
    config = new_config("parts", **settings)
    run = train(config, callbacks=asking(config, {3: (STOP,)}))
    train(config, resume=True)
    assert curve(run) == curve(whole)


def test_a_damaged_newest_checkpoint_is_passed_over(
    new_config: NewConfig, expected: RunDirectory
) -> None:
    config = new_config(**SETTINGS)
    run = train(config, callbacks=asking(config, {10: (STOP,)}))
    damaged = run.checkpoints().training_path(10)
    damaged.write_bytes(damaged.read_bytes()[:1000])
    notes: list[str] = []
    train(config, resume=True, callbacks=Callbacks(on_note=notes.append))
    assert "the checkpoint of step 10 is passed over" in notes[0]
    assert "resumes from step 9" in notes[1]
    assert "1 lines of metrics.jsonl after that step are dropped" in notes[2]
    assert curve(run) == curve(expected)


def test_resuming_without_a_checkpoint_starts_over_with_a_note(
    new_config: NewConfig, expected: RunDirectory
) -> None:
    config = new_config(**SETTINGS)
    notes: list[str] = []
    run = train(config, callbacks=asking(config, {2: (STOP,)}))
    shutil.rmtree(run.path / "checkpoints")
    train(config, resume=True, callbacks=Callbacks(on_note=notes.append))
    assert "has no checkpoint yet: starting over from step 0" in notes[0]
    assert curve(run) == curve(expected)


@pytest.mark.parametrize("lost", ["step-000003.training.safetensors", "../config.json"])
def test_models_without_their_training_files_are_never_overwritten(
    lost: str, new_config: NewConfig
) -> None:
    config = new_config()
    run = train(config, callbacks=asking(config, {3: (STOP,)}))
    (run.path / "checkpoints" / lost).unlink()
    before = contents(run.path)
    with pytest.raises(InputError, match=r"holds models \(best\.safetensors, .* but not "):
        train(config, resume=True)
    assert contents(run.path) == before


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_other_files_in_the_directory_stay(new_config: NewConfig) -> None:
    config = new_config()
    run = train(config, callbacks=asking(config, {3: (STOP,)}))
    mine = [
        run.path / "checkpoints" / "step-000003-of-monday-4.safetensors",
        run.path / "download.mid.partial",
        run.path / "another-run" / "status.json.123-4.partial",
    ]
    half = run.path / "checkpoints" / "last.safetensors.123-4.partial"
    for path in (*mine, half):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"mine")
    train(config, resume=True)
    assert [path.read_bytes() for path in mine] == [b"mine"] * 3
    assert not half.exists()


def test_changes_since_the_run_started_are_reported(
    new_config: NewConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = new_config(steps=6)
    run = train(config, callbacks=asking(config, {3: (STOP,)}))
    told = run.config()
    run.write_config({**told, "threads": 999, "versions": {**told["versions"], "torch": "1.0"}})
    monkeypatch.setenv("RWKV_MUSIC_WKV", "chunked")
    notes: list[str] = []
    train(config, resume=True, callbacks=Callbacks(on_note=notes.append))
    told_of = [note.rpartition(": ")[2] for note in notes if "the last digits may differ" in note]
    assert "threads 1 (was 999)" in told_of
    assert any(line.startswith("torch 2") and line.endswith("(was 1.0)") for line in told_of)
    if told["kernel"] != "chunked":
        assert f"kernel chunked (was {told['kernel']})" in told_of


def test_resuming_without_a_run_starts_one_with_a_note(new_config: NewConfig) -> None:
    notes: list[str] = []
    run = train(new_config(steps=6), resume=True, callbacks=Callbacks(on_note=notes.append))
    assert "there is no run in" in notes[0]
    assert run.status()["state"] == "finished"
    before = run.metrics_path.read_bytes()
    train(new_config(steps=6), resume=True, callbacks=Callbacks(on_note=notes.append))
    assert "is finished already" in notes[-1]
    assert run.metrics_path.read_bytes() == before


def test_other_settings_or_another_corpus_are_refused(
    new_config: NewConfig, tmp_path: Path
) -> None:
    config = new_config(steps=9)
    tunes = tmp_path / "copy"
    shutil.copytree(config.data.corpus, tunes)
    config = new_config(steps=9, corpus=str(tunes))
    run = train(config, callbacks=asking(config, {3: (STOP,)}))
    before = run.metrics_path.read_bytes()
    other = config.replace(learning_rate=0.5)
    with pytest.raises(InputError, match=r"`learning_rate=0\.003`, not `learning_rate=0\.5`"):
        train(other, resume=True)
    (tunes / "tune-3.mid").unlink()
    with pytest.raises(InputError, match=r"is not the one that .* was started with"):
        train(config, resume=True)
    assert run.metrics_path.read_bytes() == before
    assert run.checkpoints().steps() == [3]
    status = run.status()
    assert [status[name] for name in ("state", "step", "steps")] == ["failed", 3, 9]


def test_a_carried_state_is_restored(new_config: NewConfig) -> None:
    settings = {**SETTINGS, "steps": 8, "carry_state": True, "context_length": 50}
    through = train(new_config("through", **settings))
    config = new_config("stopped", **settings)
    stopped = train(config, callbacks=asking(config, {4: (STOP,)}))
    assert stopped.status()["step"] == 4
    train(config, resume=True)
    assert curve(stopped) == curve(through)
