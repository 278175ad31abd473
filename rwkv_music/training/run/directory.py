"""The run directory: all that a trainer writes, and the few commands it reads.

    config.json      how to repeat the run: settings, sizes, tokenizer, versions, command, device,
                     kernel, corpus, baselines, and an entry for each time it was started
    metrics.jsonl    one JSON object a line, appended: a line per step, a line per evaluation
    status.json      state, step, message, process; replaced as a whole
    control          commands for the trainer: pause, resume, stop, save, sample
    checkpoints/     best and last model, and what the newest ones need to resume
    samples/         prompt-1.mid, and step-000150-1.mid with its picture: the same held-out prompts
                     completed at each evaluation
    train.log        what happened when, and what the process printed
    run.lock         locked by the process that trains

docs/training.md explains the keys of metrics.jsonl.
"""

import json
import os
import platform
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rwkv_music.atomic import final_name, flush_to_disk, write_atomic
from rwkv_music.errors import InputError
from rwkv_music.file_lock import FileLock, LockHeldError, LocksUnsupportedError
from rwkv_music.old_names import STEP_METRICS, renamed, renamed_run_config
from rwkv_music.training.run.checkpoints import Checkpoints
from rwkv_music.training.run.control import ControlFile
from rwkv_music.training.run.process_identity import identity, is_alive

SCHEMA = 2
FINAL_STATES = frozenset({"finished", "stopped", "failed"})
_LOCK = "run.lock"
_FILES = ("config.json", "metrics.jsonl", "status.json", "control", "train.log")
_FOLDERS = ("checkpoints", "samples", "tensorboard")
_SAMPLE = re.compile(r"(prompt-\d+|step-(?P<step>\d{6,})-\d+)\.(mid|png)")
_STATUS_TYPES = {"state": str, "step": int, "steps": int, "message": str, "pid": int}


@dataclass(eq=False)
class RunDirectory:
    """Reads and writes one run directory."""

    path: Path
    """The directory; `create` makes a new one."""
    control: ControlFile = field(init=False)
    """Commands for the trainer."""
    _kept_folders: frozenset[Path] = field(default=frozenset(), init=False, repr=False)
    """Folders that were there before `create`."""

    def __post_init__(self) -> None:
        self.control = ControlFile(self.path / "control")

    def create(self) -> "RunDirectory":
        """Create the directory, without a run; return this object.

        An existing folder may contain other things; they stay as they are. A directory whose
        trainer was killed before it wrote anything of value is used again.

        Raises:
            InputError: If the folder contains a run, or something that a run would overwrite, or
                it cannot be written to.
        """
        folders = (self.path, *(self.path / name for name in _FOLDERS))
        self._kept_folders = frozenset(folder for folder in folders if folder.is_dir())
        try:
            self._refuse_foreign_files()
            self.path.mkdir(parents=True, exist_ok=True)
            with self.locked():
                if self.exists():
                    self._require_abandoned()
                    self._delete_own_files()
                else:
                    self._refuse_foreign_files()
                for name in ("checkpoints", "samples"):
                    (self.path / name).mkdir(exist_ok=True)
                self.write_status("preparing", message="getting ready")
        except OSError as error:
            raise InputError(
                f"cannot write the run to {self.path} ({error.strerror}): choose another `out`"
            ) from error
        return self

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of the run inside a `with` block.

        On file systems without locks only the status tells whether a run is being trained.

        Raises:
            InputError: If another process trains the run, or is creating it.
        """
        try:
            lock = FileLock(self.path / _LOCK)
        except LocksUnsupportedError:
            yield
            return
        except LockHeldError as error:
            raise InputError(self._busy_text()) from error
        try:
            yield
        finally:
            lock.release()

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

    @property
    def checkpoints_path(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / "checkpoints"

    def checkpoints(self) -> Checkpoints:
        """Return the checkpoints."""
        return Checkpoints(self.checkpoints_path)

    def checkpoint_path(self, name: str) -> Path:
        """Return the path of the model "best" or "last"."""
        return self.checkpoints().path(name)

    def sample_paths(self, step: int, num_prompts: int) -> list[Path]:
        """Return the paths of a step's completions of the held-out prompts."""
        folder = self.path / "samples"
        return [folder / f"step-{step:06d}-{index}.mid" for index in range(1, num_prompts + 1)]

    def exists(self) -> bool:
        """Return whether there is a run."""
        return self.status_path.exists()

    def write_config(self, values: dict[str, Any]) -> None:
        """Replace config.json."""
        self._replace_json(self.config_path, {**values, "schema": SCHEMA})

    def config(self) -> dict[str, Any]:
        """Read config.json; what an earlier version wrote is returned in today's form.

        Raises:
            InputError: If there is none, it is damaged, or a newer version wrote it.
        """
        if not self.config_path.exists():
            raise InputError(f"{self.path} holds no run (no config.json): check the path")
        values = _read_table(self.config_path)
        if values is None:
            raise InputError(
                f"{self.config_path} is damaged: restore it, or start a new run with another `out` "
                f"(init='{self.path}' starts from the best model's weights)"
            )
        schema = values.get("schema")
        if schema == 1:
            return renamed_run_config(_from_schema_1(values))
        if schema != SCHEMA:
            raise InputError(
                f"{self.path} was written in schema {schema}, this version reads up to "
                f"{SCHEMA}: use the version of rwkv-music that made it"
            )
        return renamed_run_config(values)

    def sweep(self) -> None:
        """Remove the partly written files of a trainer that was killed, and no others."""
        for folder in (self.path, self.path / "checkpoints", self.path / "samples"):
            for path in folder.glob("*.partial"):
                if path.name != final_name(path.name):
                    path.unlink()

    def append_metrics(self, values: dict[str, Any]) -> None:
        """Append a line to metrics.jsonl."""
        with self.metrics_path.open("a", encoding="utf-8", newline="\n") as lines:
            lines.write(json.dumps(values) + "\n")

    def sync_metrics(self) -> None:
        """Wait until the lines so far are on the disk."""
        if self.metrics_path.exists():
            flush_to_disk(self.metrics_path)

    def metrics(self) -> list[dict[str, Any]]:
        """Read metrics.jsonl without damaged lines and the line that is being written."""
        if not self.metrics_path.is_file():
            return []
        with self.metrics_path.open("rb") as lines:
            parsed = [_parsed(text) for text in lines]
        return [renamed(line, STEP_METRICS) for line in parsed if line is not None]

    def truncate_metrics(self, *, after: int) -> int:
        """Remove the lines and samples of later steps, and damaged lines.

        Returns:
            The number of lines of later steps.
        """
        self._delete_samples(after=after)
        if not self.metrics_path.exists():
            return 0
        texts = self.metrics_path.read_bytes().splitlines(keepends=True)
        lines = [(text, _parsed(text)) for text in texts]
        kept = [text for text, line in lines if line is not None and line["step"] <= after]
        if len(kept) < len(texts):
            write_atomic(self.metrics_path, b"".join(kept))
        num_damaged = sum(line is None for text, line in lines if text.endswith(b"\n"))
        if num_damaged:
            self.log(f"{num_damaged} damaged lines of metrics.jsonl are dropped")
        return sum(line is not None and line["step"] > after for _, line in lines)

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
        """Replace status.json; the training process is this one unless another is named."""
        values = {"state": state, "step": step, "steps": steps, "message": message}
        more = {"device": device, "session": session, **identity(process_id)}
        self._replace_json(self.status_path, {**values, **more})

    def status(self) -> dict[str, Any]:
        """Read status.json; a damaged one is reported as a failed run.

        Raises:
            InputError: If the directory holds no run.
        """
        if not self.status_path.exists():
            raise InputError(f"{self.path} holds no run (no status.json): check the path")
        values = _read_table(self.status_path) or {}
        if all(type(values.get(name)) is value_type for name, value_type in _STATUS_TYPES.items()):
            return values
        message = f"{self.status_path} is damaged: resume the run, which writes it again"
        unknown = {"step": 0, "steps": 0, "pid": 0, "device": ""}
        return {"state": "failed", "message": message, **unknown}

    def require_idle(self) -> None:
        """Refuse a run that another process is training.

        Raises:
            InputError: Names the process.
        """
        status = self.status()
        here = (os.getpid(), platform.node())
        is_other = (status["pid"], status.get("host", here[1])) != here
        if status["state"] not in FINAL_STATES and is_other and is_alive(status):
            raise InputError(self._busy_text())

    def require_own_files(self) -> None:
        """Refuse a run with symbolic links, which would be followed when written to or deleted.

        Pipes and devices are refused as well: opening one could block forever.

        Raises:
            InputError: Names the link, pipe or device.
        """
        for name in (*_FILES, _LOCK, *_FOLDERS):
            if (self.path / name).is_symlink():
                kind = "folder" if name in _FOLDERS else "file"
                raise InputError(
                    f"{self.path / name} is a symbolic link, which no run contains: replace it by "
                    f"the {kind} it points to"
                )
            _require_no_device(self.path / name)

    def log(self, text: str) -> None:
        """Append a line with date and time to train.log."""
        moment = time.strftime("%Y-%m-%d %H:%M:%S")
        with self.log_path.open("a", encoding="utf-8", newline="\n") as lines:
            lines.write(f"{moment} {text}\n")

    def discard(self) -> None:
        """Delete what `create` and the run have written, and folders that are empty then.

        Nothing else is deleted, whoever put it into the folder and when.
        """
        self._delete_own_files()
        (self.path / _LOCK).unlink(missing_ok=True)
        for folder in (*(self.path / name for name in _FOLDERS), self.path):
            if folder not in self._kept_folders:
                with suppress(OSError):  # it contains files of others, or does not exist
                    folder.rmdir()

    def _busy_text(self) -> str:
        process = f"process {self.status()['pid']}" if self.exists() else "another process"
        return (
            f"{self.path} is being trained by {process}: stop that one first, or watch it with "
            "attach"
        )

    def _refuse_foreign_files(self) -> None:
        """Refuse files that a run would overwrite, where there is no run."""
        if self.exists():
            return
        for name in (*_FILES, *_FOLDERS):
            path = self.path / name
            if any(path.iterdir()) if path.is_dir() else path.exists():
                raise InputError(
                    f"{self.path} holds {name}, which belongs to no run and would be overwritten: "
                    "choose another `out`"
                )

    def _require_abandoned(self) -> None:
        """Refuse a run, except one that was killed before it wrote anything of value."""
        status = self.status()
        has_results = bool(self.checkpoints().models() or self.metrics())
        is_own = (status["pid"], status.get("host")) == (os.getpid(), platform.node())
        if has_results or status["state"] != "preparing" or (is_alive(status) and not is_own):
            raise InputError(
                f"{self.path} holds a run already: resume it (`resume`), choose another `out`, or "
                "delete that folder"
            )

    def _delete_own_files(self) -> None:
        """Delete the files that a run writes, by their names."""
        for name in _FILES:
            (self.path / name).unlink(missing_ok=True)
        for path in self.path.glob("*.partial"):
            if final_name(path.name) in _FILES:
                path.unlink()
        self.checkpoints().remove_all()
        self._delete_samples(after=-1, prompts=True)
        for path in (self.path / "tensorboard").rglob("*tfevents*"):
            path.unlink()
        for folder in sorted((self.path / "tensorboard").rglob("*"), reverse=True):
            with suppress(OSError):
                folder.rmdir()

    def _delete_samples(self, *, after: int, prompts: bool = False) -> None:
        for path in (self.path / "samples").glob("*"):
            match = _SAMPLE.fullmatch(final_name(path.name))
            if match is None:
                continue
            if prompts if match["step"] is None else int(match["step"]) > after:
                path.unlink()

    def _replace_json(self, path: Path, values: dict[str, Any]) -> None:
        if not self.path.is_dir():
            # Writing would make the folder again, with this file alone in it.
            raise FileNotFoundError(2, "No such file or directory", str(self.path))
        write_atomic(path, (json.dumps(values, indent=1) + "\n").encode())


def _require_no_device(path: Path) -> None:
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise InputError(f"{path} is a pipe or a device, which no run contains: delete it")


def _read_table(path: Path) -> dict[str, Any] | None:
    """Read a JSON object; None if the file holds anything else."""
    if not path.is_file():  # opening a pipe could block forever
        return None
    try:
        values = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) else None


def _parsed(text: bytes) -> dict[str, Any] | None:
    """Parse a line of metrics.jsonl; None for a damaged or half a line."""
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    is_whole = text.endswith(b"\n") and isinstance(line, dict) and type(line.get("step")) is int
    return line if is_whole else None


def _from_schema_1(values: dict[str, Any]) -> dict[str, Any]:
    """Convert the first form, which had one baseline, one sample and no sessions."""
    baseline = values.pop("floor", None)
    sample = values.pop("sample", None)
    order = None if baseline is None else baseline.pop("order", 5)
    return {
        **values,
        "baselines": {} if baseline is None else {f"{order}-gram": baseline},
        "samples": [] if sample is None else [sample],
        "sessions": [],
    }
