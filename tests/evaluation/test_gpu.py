"""What `benchmark gpu` measures, on a CPU that plays the GPU: right figures, wrong speeds."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from rwkv_music.cli import benchmark_command, main
from rwkv_music.evaluation.gpu import gate, official_type, sweep
from rwkv_music.evaluation.gpu.inputs import draw, wide
from rwkv_music.evaluation.gpu.timing import Deadline, Stopwatch, summary
from rwkv_music.ops import backends
from rwkv_music.training import step_benchmark
from tests.ops.cuda_played import PlayedGpu, play, why_not_played

CPU = torch.device("cpu")


def played(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the CPU play a GPU for our kernel and for the official type."""
    if why_not_played():
        pytest.skip(f"the CUDA sources cannot be played: {why_not_played()}")
    play(monkeypatch, 2)
    monkeypatch.setattr(official_type, "gpu_of", lambda index: PlayedGpu())


def test_a_right_backend_passes_the_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "LENGTHS", (1, 17))
    rows = list(gate.gate("chunked", CPU, heads=(1, 3)))
    assert len(rows) == (2 + 4 + 1) * 2 * 2
    assert all(row["passes"] for row in rows), [row for row in rows if not row["passes"]]
    assert max(row["error"] for row in rows if row["dtype"] == "float32") < 1e-5


def test_an_error_in_the_last_head_alone_fails_the_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    right = gate.wkv7

    def wrong(*tensors: Tensor, backend: str, **options: object) -> tuple[Tensor, Tensor]:
        y, state = right(*tensors, backend=backend, **options)
        if backend == "chunked":
            y = torch.cat([y[:, :, :-1], 1.001 * y[:, :, -1:]], dim=2)
        return y, state

    monkeypatch.setattr(gate, "wkv7", wrong)
    head = draw(1, 9, 1)
    errors = gate.errors_of(head, "chunked", torch.float32, CPU, 3)
    assert errors["y"] == pytest.approx(1e-3, rel=1e-2)
    assert errors["final state"] < 1e-6


def test_a_nan_is_an_infinite_error() -> None:
    assert gate.relative_error(torch.tensor([1.0, float("nan")]), torch.ones(2)) == float("inf")


def test_many_heads_are_copies_of_the_one_whose_truth_is_known() -> None:
    head = draw(1, 5, 1)
    spread = wide(head, 2, 3, CPU)
    assert [list(each.shape) for each in spread[::6]] == [[2, 5, 3, 64], [2, 3, 64, 64]]
    for one, many in zip(head, spread, strict=True):
        assert torch.equal(many[1, ..., -1, :, :] if many is spread[6] else many[1, :, -1],
                           (one[0, 0] if many is spread[6] else one[0, :, 0]).float())  # fmt: skip


def test_the_official_type_computes_the_recurrence(monkeypatch: pytest.MonkeyPatch) -> None:
    played(monkeypatch)
    contestants = {"cuda": sweep.ours("cuda"), "official-type": sweep.OFFICIAL_TYPE}
    rows = list(sweep.sweep(contestants, CPU, heads=(2,), lengths=(48,), repeats=3))
    assert [row["contestant"] for row in rows] == ["cuda", "official-type"]
    for row in rows:
        assert row["error"] < 2.5e-3, row  # of rounding results to bfloat16
        assert row["runs"] == 3
        assert row["milliseconds"] > 0
    (speedup,) = sweep.speedups(rows)
    assert (speedup["over"], speedup["heads"], speedup["steps"]) == ("official-type", 2, 48)


def test_a_wrong_contestant_shows_its_error_beside_its_time() -> None:
    wrong = sweep.Contestant(lambda r, *others: sweep.ours("chunked").run(-r, *others))
    (row,) = sweep.sweep({"wrong": wrong}, CPU, heads=(1,), lengths=(16,), repeats=1)
    assert row["error"] > 1


def test_speedups_by_hand() -> None:
    rows = [
        {"steps": 512, "heads": 8, "contestant": "cuda", "milliseconds": 2.0},
        {"steps": 512, "heads": 8, "contestant": "triton", "milliseconds": 5.0},
        {"steps": 512, "heads": 16, "contestant": "triton", "milliseconds": 5.0},
        {"steps": 512, "heads": 16, "contestant": "cuda", "skipped": "out of memory"},
    ]
    assert sweep.speedups(rows) == [{"steps": 512, "heads": 8, "over": "triton", "times": 2.5}]


def test_what_is_out_of_memory_or_time_is_named() -> None:
    def too_large(*sequences: Tensor) -> Tensor:
        raise torch.OutOfMemoryError

    contestants = {"large": sweep.Contestant(too_large), "chunked": sweep.ours("chunked")}
    rows = list(sweep.sweep(contestants, CPU, heads=(1,), lengths=(8,), repeats=1))
    assert rows[0] == {"contestant": "large", "steps": 8, "heads": 1, "skipped": "out of memory"}
    assert rows[1]["contestant"] == "chunked"
    late = list(sweep.sweep(contestants, CPU, heads=(1, 2), lengths=(8,), deadline=Deadline(0)))
    assert [row["skipped"] for row in late] == ["no time was left"] * 2


def test_turns_end_early_when_the_time_is_over() -> None:
    taken = Stopwatch(CPU).in_turns({"a": lambda: None}, repeats=20, deadline=Deadline(0))
    assert len(taken["a"]) == 3


def test_a_summary_by_hand() -> None:
    found = summary([0.004, 0.002, 0.003])
    assert found == {"milliseconds": 3.0, "spread": 0.667, "runs": 3}


def test_the_backends_are_as_before_after_the_official_type() -> None:
    from rwkv_music.ops import wkv7

    before = dict(wkv7._BACKENDS)
    with step_benchmark.recurrence_of("official-type"):
        assert wkv7._BACKENDS["cuda"] is step_benchmark.official_type
    assert before == wkv7._BACKENDS


def test_the_official_type_takes_sequences_of_any_length(monkeypatch: pytest.MonkeyPatch) -> None:
    played(monkeypatch)
    *sequences, _ = (each.float() for each in draw(1, 19, 2))
    state = torch.zeros(1, 2, 64, 64)
    y, _ = step_benchmark.official_type(*sequences, state, None)
    expected, _ = gate.wkv7(*sequences, state, backend="reference")
    assert gate.relative_error(y, expected) < 5e-3


def test_without_a_gpu_one_sentence_says_what_is_needed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["benchmark", "gpu"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        "rwkv-music: benchmark gpu needs an NVIDIA GPU and a CUDA build of torch"
    )


def test_a_place_that_cannot_be_written_is_refused_before_anything_is_measured(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark_command, "measure", lambda _device: pytest.fail("it measures"))
    assert main(["benchmark", "gpu", "--on-cpu", "--json", str(tmp_path)]) == 2
    assert f"{tmp_path} is a folder: give --json a file" in capsys.readouterr().err
    (tmp_path / "taken").touch()
    path = tmp_path / "taken" / "gpu.json"
    assert main(["benchmark", "gpu", "--on-cpu", "--json", str(path)]) == 2
    assert "cannot be written (" in capsys.readouterr().err


def test_a_gate_that_fails_gives_an_exit_code_and_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"backend": "cuda", "tensor": "y", "passes": False}
    report = {
        "machine": {"device": "a GPU", "kernels": "cuda"}, "gate": [row], "gate_passes": False,
        "speedups": [], "training": [], "decoding": [], "seconds": 1.0,
    }  # fmt: skip
    monkeypatch.setattr(benchmark_command, "measure", lambda _device: report)
    path = tmp_path / "gpu.json"
    assert main(["benchmark", "gpu", "--on-cpu", "--json", str(path)]) == 1
    assert json.loads(path.read_text(encoding="utf-8")) == report


@pytest.mark.filterwarnings("ignore:.*deprecated.*")
def test_the_whole_command_runs_and_writes_every_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    played(monkeypatch)
    monkeypatch.setattr(gate, "LENGTHS", (1, 17))
    real = backends.available_backends
    monkeypatch.setattr(
        backends, "available_backends", lambda device=None: ["cuda", *real("cpu")[:1]]
    )
    monkeypatch.setattr(step_benchmark, "StepSizes", _tiny)
    path = tmp_path / "gpu.json"
    assert main(["benchmark", "gpu", "--on-cpu", "--json", str(path)]) == 0
    report = json.loads(path.read_text(encoding="utf-8"))
    assert report["gate_passes"]
    assert {row["backend"] for row in report["gate"]} >= {"cuda"}
    assert {row["contestant"] for row in report["sweep"]} >= {"cuda", "chunked", "official-type"}
    assert {row["kernel"] for row in report["training"]} >= {"cuda", "chunked", "official-type"}
    assert {row["way"] for row in report["decoding"]} == {"graphs", "no graphs"}
    assert all(row["largest_difference"] < 1e-5 for row in report["decoding"])
    assert {"device", "kernels", "system", "versions", "seed", "date"} <= report["machine"].keys()
    shown = capsys.readouterr().out
    assert "checks pass" in shown
    assert "training, official-type:" in shown


def _tiny(*_sizes: int, repeats: int = 1) -> step_benchmark.StepSizes:
    return StepSizes(1, 64, 16, 1, 17, repeats=1)


StepSizes = step_benchmark.StepSizes


def test_the_summary_names_what_fails() -> None:
    report = {
        "machine": {"device": "Test GPU", "kernels": "cuda on the GPU"},
        "gate": [{"passes": True}, {"passes": False, "backend": "cuda", "error": 0.5}],
        "speedups": [], "decoding": [], "seconds": 1.0,
        "training": [{"kernel": "triton", "skipped": "out of memory"}],
    }  # fmt: skip
    lines = list(benchmark_command.summary_lines(report))
    assert lines[1] == "gate: 1 of 2 checks pass"
    assert lines[2].startswith("  FAILS {'passes': False, 'backend': 'cuda'")
    assert lines[3] == "training, triton: out of memory"
