"""Stores prepared by the tasks of a scheduler equal those of one process, byte for byte."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rwkv_music.data import prepare_store
from rwkv_music.score import save_score
from tests.music import tune

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
NUM_FILES = 9


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tunes."""
    place = tmp_path_factory.mktemp("scaling") / "midi"
    for seed in range(NUM_FILES):
        save_score(tune(bars=4, seed=seed), place / f"{seed}.mid")
    return place


@pytest.fixture(scope="module")
def expected(folder: Path) -> dict[str, bytes]:
    """What one process makes of them."""
    store = folder.parent / "expected"
    prepare_store(folder, store, workers=1)
    return contents(store)


def contents(store: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(store.iterdir()) if path.is_file()}


@pytest.mark.long
def test_two_workers_of_dask_make_the_same_store(
    folder: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    pytest.importorskip("distributed", reason="Dask's scheduler is not installed")
    command = [sys.executable, str(EXAMPLES / "prepare_with_dask.py"), str(folder)]
    arguments = [str(tmp_path / "store"), "--shards", "3", "--workers", "2"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "store") == expected


@pytest.mark.skipif(os.name == "nt", reason="the script of the job is for bash")
def test_the_tasks_of_a_slurm_array_make_the_same_store(
    folder: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    program = tmp_path / "bin" / "rwkv-music"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m rwkv_music "$@"\n')
    program.chmod(0o755)
    job = ["bash", str(EXAMPLES / "prepare_array.sbatch"), str(folder), str(tmp_path / "store")]
    variables = {**os.environ, "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"}
    for task in range(2):
        slurm = {"SLURM_ARRAY_TASK_ID": str(task), "SLURM_ARRAY_TASK_COUNT": "2"}
        subprocess.run(job, env={**variables, **slurm}, check=True, capture_output=True)
    subprocess.run([*job, "merge"], env=variables, check=True, capture_output=True)
    assert contents(tmp_path / "store") == expected
