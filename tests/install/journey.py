"""What somebody who has just installed the package does: the programs, one after the other."""

import json
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path

from tests.cli.test_lab_command import free_port
from tests.install.environments import program, users_variables

SECONDS = 300
"""Time limit of a step on a busy machine; no step depends on its speed."""


class Journey:
    """Runs the programs of an environment in a folder of its own.

    Attributes:
        folder: The current directory, which starts with copies of the installed examples.
        times: Seconds that each step took, by its name.
    """

    def __init__(self, environment: Path, folder: Path) -> None:
        self.environment = environment
        self.folder = folder
        self.times: dict[str, float] = {}
        folder.mkdir()
        shared = environment / "share" / "rwkv-music"
        shutil.copytree(shared / "examples", folder / "examples")
        self.variables = users_variables(environment, folder / "home")

    def run(self, step: str, *arguments: str, name: str = "rwkv-music") -> str:
        """Run a program to its end; return what it printed, output and messages."""
        start = time.monotonic()
        done = subprocess.run(
            [program(self.environment, name), *arguments],
            cwd=self.folder,
            env=self.variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        self.times[step] = time.monotonic() - start
        assert done.returncode == 0, f"{step}: {done.stdout}"
        return done.stdout

    def hear(self) -> None:
        """Ask which kernels run, examine a folder, continue and play."""
        version = self.run("version", "--version", "--verbose")
        assert "WKV kernel: native on the CPU" in version
        assert "tokenizer loops: native" in version
        assert "barn dance.mid" in self.run("doctor", "doctor", "examples/music")
        arguments = ["--bars", "1", "--candidates", "1", "-o", "out"]
        self.run("continue", "continue", "examples/prompt.mid", *arguments)
        assert (self.folder / "out" / "prompt-1.mid").stat().st_size > 0
        # It lasts one second.
        self.run("play", "play", "examples/music/bell.mid")

    def fill(self) -> None:
        """Write one bar of a piece anew."""
        arguments = ["--bars", "2-2", "--candidates", "1", "-o", "filled"]
        self.run("fill", "fill", "examples/prompt.mid", *arguments)
        assert (self.folder / "filled" / "prompt-1.mid").stat().st_size > 0

    def train(self) -> None:
        """Start a run, stop it, and resume it to its end."""
        self.run("train", "-c", _TRAIN, name="python")
        before = self.steps()
        assert 0 < before[-1] < _STEPS
        self.run("resume", "train", "--out", "runs/mine", "--resume")
        after = self.steps()
        assert after[: len(before)] == before
        assert after == list(range(1, _STEPS + 1))
        status = json.loads((self.folder / "runs/mine/status.json").read_text(encoding="utf-8"))
        assert status["state"] == "finished"

    def steps(self) -> list[int]:
        """Return the numbers of the steps that the run has recorded."""
        lines = (self.folder / "runs/mine/metrics.jsonl").read_text(encoding="utf-8").splitlines()
        records = [json.loads(line) for line in lines]
        return [record["step"] for record in records if "loss_train" in record]

    def evaluate(self) -> None:
        """Compare the new model with a shipped one on a few windows."""
        arguments = ["--model", "runs/mine", "--windows", "1", "--continuations", "1"]
        self.run("evaluate", "evaluate", "examples/music", *arguments, "-o", "evaluation")
        assert list((self.folder / "evaluation").glob("*.html"))

    def notebook(self) -> None:
        """Start `rwkv-music lab` in an empty folder, and run the first notebook it copied."""
        start = time.monotonic()
        self.start_lab()
        self.times["lab"] = time.monotonic() - start
        notebook = "rwkv-music/notebooks/00_start_here.ipynb"
        arguments = ["nbconvert", "--execute", "--to", "notebook", "--inplace", notebook]
        self.run("notebook", *arguments, name="jupyter")
        content = json.loads((self.folder / notebook).read_text(encoding="utf-8"))
        code = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
        assert all(cell["execution_count"] for cell in code)

    def start_lab(self) -> None:
        """Start JupyterLab on the guided notebooks, wait until it answers, and end it."""
        port = free_port()
        flags = ["--no-browser", f"--port={port}", "--IdentityProvider.token=secret"]
        with subprocess.Popen(
            [program(self.environment, "rwkv-music"), "lab", *flags],
            cwd=self.folder,
            env=self.variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as server:
            names = self.names_in_lab(port, server)
            if names:
                # Data makes it a POST request.
                urllib.request.urlopen(
                    f"http://127.0.0.1:{port}/api/shutdown?token=secret", data=b"", timeout=30
                ).close()
            else:
                server.kill()
        assert "00_start_here.ipynb" in names

    def names_in_lab(self, port: int, server: "subprocess.Popen[bytes]") -> set[str]:
        """Return the files that JupyterLab shows once it answers; none if it ends before."""
        deadline = time.monotonic() + SECONDS
        while server.poll() is None and time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(
                    f"http://127.0.0.1:{port}/api/contents?token=secret", timeout=5
                ) as answer:
                    return {entry["name"] for entry in json.load(answer)["content"]}
            except OSError:
                time.sleep(0.2)
        return set()


_STEPS = 60
_TRAIN = f"""
import time
from rwkv_music import TrainingConfig, start_training
if __name__ == "__main__":
    config = TrainingConfig.preset(
        "tiny", corpus="examples/music", out="runs/mine", steps={_STEPS}, device="cpu"
    )
    run = start_training(config)
    while run.is_running and not run.metrics():
        time.sleep(0.05)
    run.stop()
    run.wait({SECONDS})
"""
