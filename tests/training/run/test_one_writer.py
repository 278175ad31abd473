"""One process at a time creates and trains a run, whatever the clock says."""

import multiprocessing
import os
import subprocess
import sys
from multiprocessing.synchronize import Barrier as BarrierType
from pathlib import Path
from typing import Any
from unittest import mock

import psutil
import pytest

from rwkv_music.errors import InputError
from rwkv_music.file_lock import FileLock, LockHeldError, LocksUnsupportedError
from rwkv_music.training import TrainingConfig, train
from rwkv_music.training.callbacks import Callbacks
from rwkv_music.training.run.control import STOP
from rwkv_music.training.run.directory import RunDirectory
from rwkv_music.training.run.process_identity import identity, is_alive
from rwkv_music.training.run.resume import settings_of
from rwkv_music.training.trainer import StepMetrics
from tests.training.conftest import NewConfig

NUM_DIRECTORIES = 20


def create_all(folder: str, barrier: BarrierType, results: Any) -> None:
    """Try to create the same directories as the other process, at the same moments."""
    for index in range(NUM_DIRECTORIES):
        barrier.wait(60)
        try:
            RunDirectory(Path(folder) / str(index)).create()
            results.put(index)
        except InputError:
            results.put(None)


def resume(path: str, barrier: BarrierType, results: Any) -> None:
    """Try to resume the same run as the other process."""
    barrier.wait(60)
    try:
        train(settings_of(path), resume=True)
        results.put("trained")
    except InputError as error:
        results.put(str(error))


def in_two_processes(function: Any, path: Path, num_results: int) -> list[Any]:
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(2), context.Queue()
    processes = [
        context.Process(target=function, args=(str(path), barrier, results)) for _ in range(2)
    ]
    for process in processes:
        process.start()
    actual = [results.get(timeout=200) for _ in range(num_results)]
    for process in processes:
        process.join(60)
    return actual


def test_a_directory_is_created_by_one_of_two_processes(tmp_path: Path) -> None:
    actual = in_two_processes(create_all, tmp_path, 2 * NUM_DIRECTORIES)
    created = [index for index in actual if index is not None]
    assert sorted(created) == list(range(NUM_DIRECTORIES))


def test_a_run_is_resumed_by_one_of_two_processes(new_config: NewConfig) -> None:
    config = new_config(steps=60, evaluate_every=60)
    control = RunDirectory(config.out_path).control

    def on_step(metrics: StepMetrics) -> None:
        if metrics.step == 3:
            control.ask(STOP)

    run = train(config, callbacks=Callbacks(on_step=on_step))
    actual = in_two_processes(resume, run.path, 2)
    refused = [text for text in actual if text != "trained"]
    assert len(refused) == 1
    assert "is being trained by" in refused[0]
    steps = [line["step"] for line in run.metrics() if "loss_train" in line]
    assert steps == list(range(1, 61))


def test_a_lock_ends_with_its_process_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    code = (
        "import sys; from pathlib import Path; from rwkv_music.file_lock import FileLock\n"
        f"lock = FileLock(Path({str(path)!r})); print('held', flush=True); sys.stdin.read()\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdout.readline().strip() == b"held"
    with pytest.raises(LockHeldError):
        FileLock(path)
    holder.kill()
    holder.communicate()
    lock = FileLock(path)
    with pytest.raises(LockHeldError):
        FileLock(path)
    lock.release()
    FileLock(path).release()


def test_a_file_system_without_locks_does_not_prevent_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_path: Path) -> FileLock:
        raise LocksUnsupportedError

    monkeypatch.setattr("rwkv_music.training.run.directory.FileLock", refuse)
    assert RunDirectory(tmp_path / "run").create().exists()


@pytest.mark.skipif(sys.platform != "linux", reason="psutil derives the start on Linux alone")
@pytest.mark.parametrize("seconds", [-3600, -60, 60, 3600])
def test_setting_the_clock_makes_no_living_process_dead(seconds: int) -> None:
    status = identity(os.getppid())
    real = psutil._pslinux.boot_time()
    with mock.patch.object(psutil._pslinux, "boot_time", return_value=real + seconds):
        moved = identity(os.getppid())["process_started"]
        assert abs(moved - status["process_started"]) > 30  # the clock is really another one
        assert is_alive(status)


@pytest.mark.skipif(sys.platform != "linux", reason="the start is known in ticks on Linux alone")
def test_another_process_with_the_same_number_is_not_taken_for_the_trainer() -> None:
    status = identity()
    boot, _, ticks = status["process_start_id"].partition("/")
    assert is_alive(status)
    assert not is_alive({**status, "process_start_id": f"{boot}/{int(ticks) - 1}"})
    assert not is_alive({**status, "process_start_id": f"another-boot/{ticks}"})


def test_a_trainer_locks_its_run_and_unlocks_it_at_the_end(new_config: NewConfig) -> None:
    config: TrainingConfig = new_config(steps=5)
    held: list[bool] = []

    def on_step(_metrics: StepMetrics) -> None:
        try:
            FileLock(config.out_path / "run.lock").release()
            held.append(False)
        except LockHeldError:
            held.append(True)

    train(config, callbacks=Callbacks(on_step=on_step))
    assert held == [True] * 5
    FileLock(config.out_path / "run.lock").release()
