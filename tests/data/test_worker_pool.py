"""Workers may crash, hang and vanish without affecting the results of others."""

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from rwkv_music.data.file_reading import seconds_for
from rwkv_music.data.worker_pool import TaskResult, map_in_workers
from rwkv_music.errors import InputError
from rwkv_music.worker_process import Failure, describe_exit
from tests.failing_tasks import exit_once, process_id, run_task, write_pid_and_sleep

HARMLESS = [f"file {index}" for index in range(40)]
CHILD = """
import sys
from rwkv_music.data.worker_pool import map_in_workers
from tests.failing_tasks import write_pid_and_sleep
print(list(map_in_workers(write_pid_and_sleep, [sys.argv[1]] * 2, workers=2, seconds=600)))
"""


def run(kinds: list[str], **settings: object) -> dict[str, TaskResult[str, object]]:
    settings = {"workers": 2, "seconds": 5.0, **settings}
    return {outcome.item: outcome for outcome in map_in_workers(run_task, kinds, **settings)}


def processes_in(folder: Path) -> list[psutil.Process]:
    """The living processes that left their number in a folder."""
    actual = []
    for path in folder.iterdir():
        try:
            process = psutil.Process(int(path.name))
        except psutil.NoSuchProcess:
            continue
        if process.status() != psutil.STATUS_ZOMBIE:
            actual.append(process)
    return actual


def wait_for(what: object, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("kind", "failure"),
    [
        ("segfault", Failure("crashed", "ends its process (SIGSEGV)")),
        ("leave", Failure("crashed", "ends its process (exit code 3)")),
        ("exit", Failure("failed", "SystemExit: 4")),
        ("raise", Failure("failed", "ValueError: not so")),
        ("refuse", Failure("refused", "byte 7: is empty")),
        ("refuse plainly", Failure("refused", "too many parts")),
        ("hunger", Failure("failed", "needs more than the 4 GiB it may take")),
    ],
)
def test_a_lost_worker_affects_one_item_and_names_it(kind: str, failure: Failure) -> None:
    outcomes = run([*HARMLESS[:20], kind, *HARMLESS[20:]])
    actual = outcomes.pop(kind).failure
    assert actual is not None
    assert actual[:2] == failure[:2]
    assert bool(actual.detail) == (kind in {"exit", "raise"})
    assert {item: outcome.result for item, outcome in outcomes.items()} == {
        item: item.upper() for item in HARMLESS
    }


def test_an_item_that_hangs_is_stopped_at_its_time_limit() -> None:
    outcomes = run([*HARMLESS, "hang", "print"], seconds=1.0)
    assert outcomes["hang"].failure == Failure("late", "takes more than 1 s")
    assert [outcomes[item].result for item in (*HARMLESS, "print")] == [
        *(item.upper() for item in HARMLESS), "PRINT",
    ]  # fmt: skip


def test_limits_count_processor_time_and_bound_waiting() -> None:
    """A file that rests on a busy machine is not slow, but one that never comes is given up."""
    outcomes = run(["a", "rest", "wait", "b"], seconds=0.3)
    assert outcomes["rest"].result == "RESTED"
    assert outcomes["wait"].failure == Failure("late", "has not answered for 3 s")
    assert [outcomes[item].result for item in ("a", "b")] == ["A", "B"]


def test_successive_failures_are_told_apart() -> None:
    kinds = list(itertools.chain(*zip(HARMLESS, ["segfault", "leave"] * 20, strict=True)))
    kinds = [f"{kind}" for kind in kinds[:12]]
    failures = [
        (outcome.item, outcome.failure and outcome.failure.kind)
        for outcome in map_in_workers(run_task, kinds, workers=2, seconds=5, in_order=True)
    ]
    assert failures == [
        (kind, "crashed" if kind in {"segfault", "leave"} else None) for kind in kinds
    ]


def test_a_worker_killed_from_outside_loses_no_item(tmp_path: Path) -> None:
    flags = [str(tmp_path / str(index)) for index in range(3)]
    (tmp_path / "0").touch()
    (tmp_path / "2").touch()
    # Batches grow: the second holds two items, and the worker ends under the first of them.
    outcomes = map_in_workers(exit_once, flags, workers=1, seconds=5, in_order=True)
    assert [outcome.result for outcome in outcomes] == [1, 1, 1]


def test_a_result_that_cannot_be_pickled_is_a_failure() -> None:
    failure = run(["unsendable", "a"])["unsendable"].failure
    assert failure is not None
    assert failure.kind == "failed"
    assert "pickle" in failure.reason


def test_large_results_arrive_complete() -> None:
    outcomes = run(["big 40", "big 3", "a", "big 0"])
    assert [len(outcomes[kind].result) >> 20 for kind in ("big 40", "big 3", "big 0")] == [40, 3, 0]


def test_results_are_in_order_on_request() -> None:
    kinds = [*HARMLESS, "hang", *(item + "b" for item in HARMLESS)]
    outcomes = map_in_workers(run_task, kinds, workers=2, seconds=1.0, in_order=True)
    assert [outcome.item for outcome in outcomes] == kinds


@pytest.mark.parametrize("in_order", [False, True])
def test_items_are_taken_only_as_fast_as_results_are_used(*, in_order: bool) -> None:
    taken = 0

    def endless() -> Iterator[str]:
        nonlocal taken
        while True:
            taken += 1
            yield "big 1"

    outcomes = map_in_workers(run_task, endless(), workers=1, in_order=in_order)
    assert next(outcomes).failure is None
    time.sleep(0.5)
    # A pipe, a queue of two chunks, and a batch in each direction.
    assert taken < 200
    outcomes.close()


def test_items_are_processed_in_several_other_processes() -> None:
    pids = {
        outcome.result for outcome in map_in_workers(process_id, range(400), workers=2, seconds=5)
    }
    assert len(pids) == 2
    assert os.getpid() not in pids
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_closing_early_ends_the_workers_at_once(tmp_path: Path) -> None:
    outcomes = map_in_workers(
        write_pid_and_sleep, [str(tmp_path)] * 3, workers=2, seconds=lambda _: 0.1
    )
    assert next(outcomes).failure == Failure("late", "has not answered for 1 s")
    outcomes.close()
    assert not processes_in(tmp_path)


def test_an_error_in_the_items_reaches_the_caller() -> None:
    def items() -> Iterator[str]:
        yield from HARMLESS
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        list(map_in_workers(run_task, items(), workers=2))


def test_without_items_no_worker_starts() -> None:
    assert list(map_in_workers(run_task, [], workers=2)) == []


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(InputError, match="workers must be at least 1, got 0"):
        map_in_workers(run_task, [], workers=0)
    with pytest.raises(RuntimeError, match="cannot import its function: ModuleNotFoundError"):
        list(map_in_workers(_Unknown(), ["a"], workers=1))


class _Unknown:
    """Pickles as something of a module that is nowhere."""

    def __call__(self, item: str) -> str:
        return item

    def __reduce__(self) -> str | tuple[object, ...]:
        return __import__, ("no_such_module_anywhere",)


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot end a process by these signals")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_workers_end_with_the_program(name: str, tmp_path: Path) -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        cwd=Path(__file__).parents[2],
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    wait_for(lambda: len(list(tmp_path.iterdir())) == 2)
    workers = processes_in(tmp_path)
    assert len(workers) == 2
    # As a terminal does it: Ctrl-C is heard by the whole group, the workers too.
    if name == "SIGINT":
        os.killpg(program.pid, signal.SIGINT)
    else:
        program.send_signal(signal.Signals[name])
    _, stderr = program.communicate(timeout=60)
    if name == "SIGINT":
        assert stderr.decode().rstrip().endswith("KeyboardInterrupt")
        assert not processes_in(tmp_path)
    wait_for(lambda: not processes_in(tmp_path))


@pytest.mark.long
@pytest.mark.skipif(os.name == "nt", reason="Windows cannot end a process by this signal")
def test_a_worker_without_its_parent_ends(tmp_path: Path) -> None:
    text = CHILD.replace("write_pid_and_sleep", "write_pid_and_block").replace("600", "1.0")
    program = subprocess.Popen(
        [sys.executable, "-c", text, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    wait_for(lambda: len(list(tmp_path.iterdir())) == 2)
    program.kill()
    program.wait()
    assert processes_in(tmp_path)
    wait_for(lambda: not processes_in(tmp_path), seconds=30)


def test_time_limits_are_a_minute_for_text_and_a_second_for_midi() -> None:
    assert [seconds_for(name) for name in ("a.mid", "a.KAR", "b/c.mxl", "d.XML")] == [1, 1, 60, 60]
    assert [seconds_for("a.mid", size) for size in (1000, 1 << 18, 1 << 20, 8 << 20)] == [
        1,
        1,
        6,
        41,
    ]
    assert seconds_for("a.abc", 8 << 20) == 60


def test_exit_codes_are_described_by_the_names_of_signals() -> None:
    assert describe_exit(-int(signal.SIGTERM)) == "SIGTERM"
    assert describe_exit(-250) == "signal 250"
