"""The GPU benchmark, run on an emulated GPU: correct figures, meaningless times."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from rwkv_music.cli import main
from rwkv_music.gpu_benchmark import (
    accuracy,
    official_algorithm,
    recurrence_speed,
    report,
    training_speed,
)
from rwkv_music.gpu_benchmark.recurrence_inputs import expand_heads, random_inputs
from rwkv_music.gpu_benchmark.stopwatch import Deadline, Stopwatch, summary
from rwkv_music.ops import available_backends, registered_backends
from tests.ops.emulated_gpu import EmulatedGpu, emulate_gpu, why_not_emulated

CPU = torch.device("cpu")


def emulate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Emulate a GPU for the CUDA kernel and for the official algorithm."""
    if why_not_emulated():
        pytest.skip(f"the CUDA sources cannot be emulated: {why_not_emulated()}")
    emulate_gpu(monkeypatch, 2)
    monkeypatch.setattr(official_algorithm, "gpu_of", lambda index: EmulatedGpu())


def test_a_correct_backend_passes_the_accuracy_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accuracy, "LENGTHS", (1, 17))
    rows = list(accuracy.check_accuracy("chunked", CPU, heads=(1, 3)))
    assert len(rows) == (2 + 4 + 1) * 2 * 2
    assert all(row["passes"] for row in rows), [row for row in rows if not row["passes"]]
    assert max(row["error"] for row in rows if row["dtype"] == "float32") < 1e-5


def test_an_error_in_the_last_head_alone_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = accuracy.wkv7

    def wrong(*tensors: Tensor, backend: str, **options: object) -> tuple[Tensor, Tensor]:
        y, state = right(*tensors, backend=backend, **options)
        if backend == "chunked":
            y = torch.cat([y[:, :, :-1], 1.001 * y[:, :, -1:]], dim=2)
        return y, state

    monkeypatch.setattr(accuracy, "wkv7", wrong)
    head = random_inputs(1, 9, 1)
    errors = accuracy.relative_errors(head, "chunked", torch.float32, CPU, 3)
    assert errors["y"] == pytest.approx(1e-3, rel=1e-2)
    assert errors["final state"] < 1e-6


def test_a_nan_is_an_infinite_error() -> None:
    assert accuracy.relative_error(torch.tensor([1.0, float("nan")]), torch.ones(2)) == float("inf")


def test_expanded_heads_are_copies_of_one_head() -> None:
    head = random_inputs(1, 5, 1)
    spread = expand_heads(head, 2, 3, CPU)
    assert [list(tensor.shape) for tensor in spread[::6]] == [[2, 5, 3, 64], [2, 3, 64, 64]]
    for one, many in zip(head, spread, strict=True):
        assert torch.equal(many[1, ..., -1, :, :] if many is spread[6] else many[1, :, -1],
                           (one[0, 0] if many is spread[6] else one[0, :, 0]).float())  # fmt: skip


def test_the_official_algorithm_computes_the_recurrence(monkeypatch: pytest.MonkeyPatch) -> None:
    emulate(monkeypatch)
    implementations = {
        "cuda": recurrence_speed.backend_implementation("cuda"),
        "official-algorithm": recurrence_speed.OFFICIAL_ALGORITHM,
    }
    rows = list(
        recurrence_speed.measure_recurrence(
            implementations, CPU, heads=(2,), lengths=(48,), repeats=3
        )
    )
    assert [row["implementation"] for row in rows] == ["cuda", "official-algorithm"]
    for row in rows:
        assert row["error"] < 2.5e-3, row  # of rounding results to bfloat16
        assert row["runs"] == 3
        assert row["milliseconds"] > 0
    (speedup,) = recurrence_speed.speedups(rows)
    assert (speedup["baseline"], speedup["heads"], speedup["steps"]) == (
        "official-algorithm",
        2,
        48,
    )


def test_a_wrong_implementation_shows_its_error_beside_its_time() -> None:
    wrong = recurrence_speed.Implementation(
        lambda r, *others: recurrence_speed.backend_implementation("chunked").run(-r, *others)
    )
    (row,) = recurrence_speed.measure_recurrence(
        {"wrong": wrong}, CPU, heads=(1,), lengths=(16,), repeats=1
    )
    assert row["error"] > 1


def test_speedups_by_hand() -> None:
    rows = [
        {"steps": 512, "heads": 8, "implementation": "cuda", "milliseconds": 2.0},
        {"steps": 512, "heads": 8, "implementation": "triton", "milliseconds": 5.0},
        {"steps": 512, "heads": 16, "implementation": "triton", "milliseconds": 5.0},
        {"steps": 512, "heads": 16, "implementation": "cuda", "skipped": "out of memory"},
    ]
    assert recurrence_speed.speedups(rows) == [
        {"steps": 512, "heads": 8, "baseline": "triton", "speedup": 2.5}
    ]


def test_skipped_measurements_are_listed_with_the_reason() -> None:
    def too_large(*sequences: Tensor) -> Tensor:
        raise torch.OutOfMemoryError

    implementations = {
        "large": recurrence_speed.Implementation(too_large),
        "chunked": recurrence_speed.backend_implementation("chunked"),
    }
    rows = list(
        recurrence_speed.measure_recurrence(
            implementations, CPU, heads=(1,), lengths=(8,), repeats=1
        )
    )
    assert rows[0] == {
        "implementation": "large",
        "steps": 8,
        "heads": 1,
        "skipped": "out of memory",
    }
    assert rows[1]["implementation"] == "chunked"
    late = list(
        recurrence_speed.measure_recurrence(
            implementations, CPU, heads=(1, 2), lengths=(8,), deadline=Deadline(0)
        )
    )
    assert [row["skipped"] for row in late] == ["no time was left"] * 2


def test_rounds_stop_after_the_deadline() -> None:
    taken = Stopwatch(CPU).time_in_turns({"a": lambda: None}, repeats=20, deadline=Deadline(0))
    assert len(taken["a"]) == 3


def test_a_summary_by_hand() -> None:
    actual = summary([0.004, 0.002, 0.003])
    assert actual == {"milliseconds": 3.0, "spread": 0.667, "runs": 3}


def test_the_official_backend_is_registered_only_inside_the_block() -> None:
    before = registered_backends()
    with training_speed.official_backend_registered():
        assert registered_backends() == [*before, "official-algorithm"]
    assert registered_backends() == before


def test_the_official_backend_takes_sequences_of_any_length(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    emulate(monkeypatch)
    *sequences, _ = (tensor.float() for tensor in random_inputs(1, 19, 2))
    state = torch.zeros(1, 2, 64, 64)
    y, _ = training_speed.official_backend(*sequences, state, None)
    expected, _ = accuracy.wkv7(*sequences, state, backend="reference")
    assert accuracy.relative_error(y, expected) < 5e-3


def test_without_a_gpu_the_error_says_what_is_needed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["benchmark", "gpu"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        "rwkv-music: benchmark gpu needs an NVIDIA GPU and a CUDA build of torch"
    )


def test_an_unwritable_file_is_refused_before_measuring(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "run_benchmark", lambda *_, **__: pytest.fail("it measures"))
    assert main(["benchmark", "gpu", "--on-cpu", "--json", str(tmp_path)]) == 2
    assert f"{tmp_path} is a folder: give --json a file" in capsys.readouterr().err
    (tmp_path / "taken").touch()
    path = tmp_path / "taken" / "gpu.json"
    assert main(["benchmark", "gpu", "--on-cpu", "--json", str(path)]) == 2
    assert "cannot be written (" in capsys.readouterr().err


def test_an_inaccurate_kernel_gives_exit_code_1_and_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"backend": "cuda", "tensor": "y", "passes": False}
    figures = {
        "machine": {"device": "a GPU", "kernels": "cuda"},
        "accuracy": [row], "accuracy_passes": False, "speedups": [],
        "training": [], "decoding": [], "seconds": 1.0,
    }  # fmt: skip
    monkeypatch.setattr(report, "run_benchmark", lambda *_, **__: figures)
    path = tmp_path / "gpu.json"
    assert main(["benchmark", "gpu", "--on-cpu", "--json", str(path)]) == 1
    assert json.loads(path.read_text(encoding="utf-8")) == figures


@pytest.mark.filterwarnings("ignore:.*deprecated.*")
def test_the_whole_command_runs_and_writes_every_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    emulate(monkeypatch)
    monkeypatch.setattr(accuracy, "LENGTHS", (1, 17))
    monkeypatch.setattr(
        report, "available_backends", lambda device=None: ["cuda", *available_backends("cpu")[:1]]
    )
    tiny = training_speed.StepSizes(1, 64, 16, 1, 17, repeats=1)
    monkeypatch.setattr(report, "_SMALL_STEP", tiny)
    path = tmp_path / "gpu.json"
    assert main(["benchmark", "gpu", "--on-cpu", "--json", str(path)]) == 0
    figures = json.loads(path.read_text(encoding="utf-8"))
    assert figures["accuracy_passes"]
    assert {row["backend"] for row in figures["accuracy"]} >= {"cuda"}
    assert {row["implementation"] for row in figures["recurrence"]} >= {
        "cuda",
        "chunked",
        "official-algorithm",
    }
    assert {row["kernel"] for row in figures["training"]} >= {
        "cuda",
        "chunked",
        "official-algorithm",
    }
    assert {row["mode"] for row in figures["decoding"]} == {"graphs", "no graphs"}
    assert all(row["largest_difference"] < 1e-5 for row in figures["decoding"])
    assert {"device", "kernels", "system", "versions", "seed", "date"} <= figures["machine"].keys()
    shown = capsys.readouterr().out
    assert "checks pass" in shown
    assert "training, official-algorithm:" in shown


def test_the_summary_lists_failures() -> None:
    figures = {
        "machine": {"device": "Test GPU", "kernels": "cuda on the GPU"},
        "accuracy": [{"passes": True}, {"passes": False, "backend": "cuda", "error": 0.5}],
        "speedups": [], "decoding": [], "seconds": 1.0,
        "training": [{"kernel": "triton", "skipped": "out of memory"}],
    }  # fmt: skip
    lines = list(report.summary_lines(figures))
    assert lines[1] == "accuracy: 1 of 2 checks pass"
    assert lines[2].startswith("  FAILED {'passes': False, 'backend': 'cuda'")
    assert lines[3] == "training, triton: out of memory"
