"""Start a job of `tests.training.distributed.group_worker` in several processes."""

import os
import socket
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
SECONDS_AT_MOST = 600


def free_port() -> int:
    """A port of this machine that nobody uses just now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def start_together(*arguments: str, number: int = 2) -> list["subprocess.Popen[str]"]:
    """The processes, each with the environment that torchrun would give it."""
    port = str(free_port())
    common = {"WORLD_SIZE": str(number), "LOCAL_WORLD_SIZE": str(number), "MASTER_PORT": port}
    return [
        subprocess.Popen(
            [sys.executable, "-m", "tests.training.distributed.group_worker", *arguments],
            env={
                **os.environ, **common,
                "MASTER_ADDR": "127.0.0.1", "RANK": str(rank), "LOCAL_RANK": str(rank),
            },
            cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for rank in range(number)
    ]  # fmt: skip


def ends_of(processes: list["subprocess.Popen[str]"]) -> list[tuple[int, str]]:
    """Exit code and output of each."""
    try:
        outputs = [process.communicate(timeout=SECONDS_AT_MOST)[0] for process in processes]
    finally:
        for running in processes:
            running.kill()
    return [
        (process.returncode, output) for process, output in zip(processes, outputs, strict=True)
    ]


def run_together(*arguments: str, number: int = 2) -> None:
    """Run a job to its end; all processes must end well."""
    for code, output in ends_of(start_together(*arguments, number=number)):
        assert code == 0, output
