"""The run directory: all that a trainer says, and the few words it listens to.

    config.json      how to repeat the run: settings, sizes, tokenizer, versions, command, device,
                     kernel, corpus, baselines, and a line for each time it was started
    metrics.jsonl    one JSON object a line, appended: a line per step, a line per evaluation
    status.json      state, step, message, process; replaced as a whole
    control          words the trainer obeys: pause, resume, stop, save, sample
    checkpoints/     best and last model, and what the newest ones need to go on
    samples/         prompt-1.mid, and step-000150-1.mid with its picture: the same held-out prompts
                     completed at each evaluation
    train.log        what happened when, and what the process printed

The keys of metrics.jsonl are told in docs/training.md.
"""

import itertools
import json
import os
import platform
import shutil
import time
from pathlib import Path
from typing import Any

from rwkv_music.atomic import final_name, flush_to_disk, write_atomic
from rwkv_music.errors import InputError
from rwkv_music.training.run.checkpoints import Checkpoints
from rwkv_music.training.run.control import ControlFile
from rwkv_music.training.run.process_identity import identity, is_alive

SCHEMA = 2
FINAL_STATES = frozenset({"finished", "stopped", "failed"})
_WRITTEN = (
    "config.json", "metrics.jsonl", "control", "checkpoints", "samples", "train.log", "tensorboard",
)  # fmt: skip


class RunDirectory:
    """Reads and writes one run directory.

    Args:
        path: The directory; `create` makes a new one.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.control = ControlFile(self.path / "control")
        self._found: frozenset[str] | None = None

    @classmethod
    def create(cls, path: str | Path) -> "RunDirectory":
        """Make an empty run directory.

        A folder that is there already may hold other things; they stay as they are.

        Raises:
            InputError: If a run is there already, or something that a run would overwrite, or the
                place cannot be written to.
        """
        run = cls(path)
        if run.exists():
            raise InputError(
                f"{path} holds a run already: go on with it (--resume), choose another --out, or "
                "delete that folder"
            )
        for name in _WRITTEN:
            if _is_something(run.path / name):
                raise InputError(
                    f"{path} holds {name}, which belongs to no run and would be overwritten: "
                    "choose another --out"
                )
        try:
            if run.path.is_dir():
                run._found = frozenset(each.name for each in run.path.iterdir())
            for folder in (run.path, run.path / "checkpoints", run.path / "samples"):
                folder.mkdir(parents=True, exist_ok=True)
            run.write_status("preparing", message="getting ready")
        except OSError as error:
            raise InputError(
                f"cannot write the run to {path} ({error.strerror}): choose another --out"
            ) from error
        return run

    @property
    def config_path(self) -> Path:
        """How to repeat the run."""
        return self.path / "config.json"

    @property
    def metrics_path(self) -> Path:
        """A line per step and per evaluation."""
        return self.path / "metrics.jsonl"

    @property
    def status_path(self) -> Path:
        """State, step and message."""
        return self.path / "status.json"

    @property
    def log_path(self) -> Path:
        """What happened when, and what the process printed."""
        return self.path / "train.log"

    def checkpoints(self, *, keep: int = 2) -> Checkpoints:
        """The folder of checkpoints; `keep` of the newest stay when another is written."""
        return Checkpoints(self.path / "checkpoints", keep=keep)

    def checkpoint_path(self, which: str) -> Path:
        """The model called "best" or "last"."""
        return self.checkpoints().path(which)

    def sample_paths(self, step: int, number: int) -> list[Path]:
        """Where the completions of so many held-out prompts by the model of a step stand."""
        folder = self.path / "samples"
        return [folder / f"step-{step:06d}-{place}.mid" for place in range(1, number + 1)]

    def exists(self) -> bool:
        """Whether there is a run."""
        return self.status_path.exists()

    def write_config(self, values: dict[str, Any]) -> None:
        """Replace config.json."""
        _replace_json(self.config_path, {**values, "schema": SCHEMA})

    def config(self) -> dict[str, Any]:
        """Read config.json; what an older version wrote is brought into today's form.

        Raises:
            InputError: If there is none, or it was written by a newer version.
        """
        if not self.config_path.exists():
            raise InputError(f"{self.path} holds no run (no config.json): check the path")
        values: dict[str, Any] = json.loads(self.config_path.read_text(encoding="utf-8"))
        schema = values.get("schema")
        if schema == 1:
            return _from_schema_1(values)
        if schema != SCHEMA:
            raise InputError(
                f"{self.path} was written in schema {schema}, this version reads up to "
                f"{SCHEMA}: use the version of rwkv-music that made it"
            )
        return values

    def sweep(self) -> None:
        """Remove what a trainer that was killed had half written, and nothing of anybody else's."""
        for folder in (self.path, self.path / "checkpoints", self.path / "samples"):
            for path in folder.glob("*.partial"):
                if path.name != final_name(path.name):
                    path.unlink()

    def append_metrics(self, values: dict[str, Any]) -> None:
        """Add one line to metrics.jsonl."""
        with self.metrics_path.open("a", encoding="utf-8", newline="\n") as lines:
            lines.write(json.dumps(values) + "\n")

    def sync_metrics(self) -> None:
        """Wait until the lines so far are on the disk."""
        if self.metrics_path.exists():
            flush_to_disk(self.metrics_path)

    def metrics(self) -> list[dict[str, Any]]:
        """All whole lines of metrics.jsonl; one that is being written just now is left out."""
        if not self.metrics_path.exists():
            return []
        whole = self.metrics_path.read_text(encoding="utf-8").split("\n")[:-1]
        return [json.loads(line) for line in whole]

    def truncate_metrics(self, *, after: int) -> int:
        """Drop every line of a step later than this one, half a line at the end, and its samples.

        Returns:
            The number of whole lines dropped.
        """
        if not self.metrics_path.exists():
            return 0
        with self.metrics_path.open("rb+") as lines:
            texts = lines.readlines()
            parsed = [_parsed(text) for text in texts]
            kept = list(
                itertools.takewhile(lambda line: line is not None and line["step"] <= after, parsed)
            )
            lines.truncate(sum(len(text) for text in texts[: len(kept)]))
        dropped = [line for line in parsed[len(kept) :] if line is not None]
        for sample in itertools.chain.from_iterable(line.get("samples", ()) for line in dropped):
            for path in (self.path / sample, (self.path / sample).with_suffix(".png")):
                path.unlink(missing_ok=True)
        return len(dropped)

    def write_status(
        self,
        state: str,
        *,
        step: int = 0,
        steps: int = 0,
        message: str = "",
        device: str = "",
        session: int = 1,
        process_id: int | None = None,
    ) -> None:
        """Replace status.json; the process that trains is this one unless another is named."""
        values = {"state": state, "step": step, "steps": steps, "message": message}
        more = {"device": device, "session": session, **identity(process_id)}
        _replace_json(self.status_path, {**values, **more})

    def status(self) -> dict[str, Any]:
        """Read status.json.

        Raises:
            InputError: If the directory holds no run.
        """
        if not self.status_path.exists():
            raise InputError(f"{self.path} holds no run (no status.json): check the path")
        values: dict[str, Any] = json.loads(self.status_path.read_text(encoding="utf-8"))
        return values

    def require_idle(self) -> None:
        """Refuse a run that another process is training.

        Raises:
            InputError: Names the process.
        """
        status = self.status()
        here = (os.getpid(), platform.node())
        is_other = (status["pid"], status.get("host", here[1])) != here
        if status["state"] not in FINAL_STATES and is_other and is_alive(status):
            raise InputError(
                f"{self.path} is being trained by process {status['pid']}: stop that one first, or "
                "watch it with attach"
            )

    def log(self, text: str) -> None:
        """Add a line with the time of day to train.log."""
        moment = time.strftime("%Y-%m-%d %H:%M:%S")
        with self.log_path.open("a", encoding="utf-8", newline="\n") as lines:
            lines.write(f"{moment} {text}\n")

    def discard(self) -> None:
        """Delete the directory that `create` made; in one that was there, what came since."""
        if self._found is None:
            shutil.rmtree(self.path)
            return
        for each in self.path.iterdir():
            if each.name in self._found:
                continue
            if each.is_dir() and not each.is_symlink():
                shutil.rmtree(each)
            else:
                each.unlink()


def _is_something(path: Path) -> bool:
    """Whether there is a file, or a folder that is not empty."""
    return any(path.iterdir()) if path.is_dir() else path.exists()


def _parsed(text: bytes) -> dict[str, Any] | None:
    """A line of metrics.jsonl; None for half of one."""
    try:
        line: dict[str, Any] = json.loads(text)
    except ValueError:
        return None
    return line if text.endswith(b"\n") else None


def _from_schema_1(values: dict[str, Any]) -> dict[str, Any]:
    """The first form had one baseline, one sample and no account of its starts."""
    floor = values.pop("floor", None)
    sample = values.pop("sample", None)
    order = None if floor is None else floor.pop("order", 5)
    return {
        **values,
        "baselines": {} if floor is None else {f"{order}-gram": floor},
        "samples": [] if sample is None else [sample],
        "sessions": [],
    }


def _replace_json(path: Path, values: dict[str, Any]) -> None:
    write_atomic(path, (json.dumps(values, indent=1) + "\n").encode())
