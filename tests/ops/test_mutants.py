"""Errors planted in each backward must be noticed: a gate that lets one through is no gate."""

import importlib.util
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

import rwkv_music
from rwkv_music.native.build import (
    exported_functions,
    find_compiler,
    host_target,
    sources_hash,
)
from rwkv_music.ops.wkv7 import cuda
from tests.ops.emulated_gpu import emulate_gpu, why_not_emulated
from tests.ops.mutants import CUDA, IN_PYTHON, NATIVE, ON_GPU, SAMPLE, Mutant
from tests.ops.recurrence import inputs, relative_error, results_and_gradients

REPOSITORY = Path(__file__).parents[2]
PACKAGE = Path(str(rwkv_music.__file__)).parent
FLAGS = ("-O0", "-std=c++17", "-w", "-shared", "-fPIC", "-fno-math-errno", "-pthread")
LIMIT = 1e-9


def planted(mutant: Mutant) -> str:
    """The mutated file's text."""
    name, text, replacement = mutant
    source = cuda.source_text() if name == CUDA else (PACKAGE / name).read_text(encoding="utf-8")
    assert source.count(text) == 1, (
        f"{name} has {text!r} {source.count(text)} times: renew the list"
    )
    return source.replace(text, replacement)


def worst_error(folder: Path, mutant: Mutant | None) -> float:
    """What the gate finds in a library with the mutant, or in the sources as they are."""
    compiler = find_compiler(host_target())
    if compiler is None:
        pytest.skip("faults are planted in C++ sources, and no compiler is installed: install g++")
    sources = folder / "source"
    shutil.copytree(PACKAGE / "native/source", sources)
    if mutant is not None:
        (sources / Path(mutant[0]).name).write_text(planted(mutant), encoding="utf-8")
    suffix = Path(host_target().names[0]).suffix
    library = folder / f"rwkv_music-baseline{suffix}"
    definition = (
        f"-DRWKV_MUSIC_SOURCES={sources_hash()}"  # of the sources as they are, to be called
    )
    command = [*compiler, *FLAGS, definition, str(sources / "library.cpp"), "-o", str(library)]
    subprocess.run(command, check=True)
    done = subprocess.run(
        [sys.executable, "-m", "tests.ops.native_check", str(folder)],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
        env={**os.environ, "RWKV_MUSIC_NATIVE": "baseline"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


def check_reference(folder: Path, mutant: Mutant | None) -> bool:
    """Whether the reference's gradient passes the check against finite differences."""
    text = (
        planted(mutant)
        if mutant
        else (PACKAGE / "ops/wkv7/reference.py").read_text(encoding="utf-8")
    )
    path = folder / "reference.py"
    path.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(f"reference_{folder.name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    resets = torch.tensor([[False, False, True]])
    leaves = [tensor.requires_grad_() for tensor in inputs(3, B=1, H=1, N=3)]

    def run(*tensors: Tensor) -> tuple[Tensor, Tensor]:
        actual: tuple[Tensor, Tensor] = module.wkv7_reference(*tensors, resets)
        return actual

    return torch.autograd.gradcheck(run, leaves, raise_exception=False)


def worst_error_on_an_emulated_gpu(folder: Path, mutant: Mutant | None) -> float:
    """What the gate finds in the CUDA source with the mutant, or as it is; split or not.

    An emulation that stops, as a GPU would hang, counts as infinite.
    """
    if why_not_emulated():
        pytest.skip(f"the CUDA source cannot be emulated: {why_not_emulated()}")
    text = planted(mutant) if mutant else cuda.source_text()
    path = folder / "cuda_kernel.cu"
    path.write_text(text, encoding="utf-8")
    resets = torch.zeros(1, 35, dtype=torch.bool)
    resets[0, [7, 32]] = True
    given = inputs(35, B=1, H=1)
    truth = results_and_gradients(given, "reference", resets)
    errors = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cuda, "SOURCES", (path,))
        for splits, falling in ((1, False), (1, True), (4, False)):
            emulate_gpu(patch, splits, falling=falling)
            try:
                actual = results_and_gradients(given, "cuda", resets)
            except AssertionError:
                return math.inf
            errors += [relative_error(actual[name], value) for name, value in truth.items()]
    return max(math.inf if math.isnan(error) else error for error in errors)


def check(folder: Path, mutant: Mutant) -> None:
    if mutant in IN_PYTHON:
        assert not check_reference(folder, mutant)
    elif mutant in ON_GPU:
        assert worst_error_on_an_emulated_gpu(folder, mutant) > LIMIT
    else:
        assert worst_error(folder, mutant) > LIMIT


def test_the_sources_as_they_are_pass_the_gate(tmp_path: Path) -> None:
    assert worst_error(tmp_path, None) < LIMIT
    assert check_reference(tmp_path, None)
    assert worst_error_on_an_emulated_gpu(tmp_path, None) < LIMIT
    assert "rwkv_music_wkv7_backward" in exported_functions()


@pytest.mark.parametrize("mutant", SAMPLE, ids=lambda case: case[1])
def test_some_errors_are_noticed_in_every_build(mutant: Mutant, tmp_path: Path) -> None:
    check(tmp_path, mutant)


@pytest.mark.parametrize(
    "mutant", [*NATIVE, *IN_PYTHON, *ON_GPU], ids=lambda case: f"{case[1]} {case[2]}"
)
def test_every_planted_text_still_stands_in_the_sources(mutant: Mutant) -> None:
    assert planted(mutant)


@pytest.mark.long
@pytest.mark.parametrize(
    "mutant", [*NATIVE, *IN_PYTHON, *ON_GPU], ids=lambda case: f"{case[1]} {case[2]}"
)
def test_every_error_is_noticed(mutant: Mutant, tmp_path: Path) -> None:
    check(tmp_path, mutant)
