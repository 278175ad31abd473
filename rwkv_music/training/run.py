"""The run directory: all that a trainer says, and the one word it listens to.

    config.json      how to repeat the run: settings, sizes, tokenizer, versions, command, device,
                     kernel, corpus
    metrics.jsonl    one JSON object a line, appended: a line per step, a line per evaluation
    status.json      state, step, message; replaced as a whole
    control          "stop" asks the trainer to finish its step and save
    checkpoints/     best.safetensors (lowest validation loss) and last.safetensors
    samples/         prompt.mid, and step-000150.mid: the same prompt completed at each evaluation
    train.log        what the process printed, when it runs in the background

Keys of metrics.jsonl: `step`, `loss_train`, `loss_valid` (nats per completion token),
`nats_per_note_valid`, `learning_rate`, `grad_norm`, `tokens_per_second`, `scored_share`,
`padding_share`, `device_busy_percent`, `memory_gib`, `elapsed_seconds`, `sample`.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from rwkv_music.errors import InputError

SCHEMA = 1
FINAL_STATES = frozenset({"finished", "stopped", "failed"})


class RunDirectory:
    """Reads and writes one run directory.

    Args:
        path: The directory; `create` makes a new one.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @classmethod
    def create(cls, path: str | Path) -> "RunDirectory":
        """Make an empty run directory.

        Raises:
            InputError: If a run is there already, or the place cannot be written to.
        """
        run = cls(path)
        if run.status_path.exists():
            raise InputError(
                f"{path} holds a run already: choose another --out, or delete that folder"
            )
        try:
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
    def control_path(self) -> Path:
        """The word the trainer listens to."""
        return self.path / "control"

    @property
    def log_path(self) -> Path:
        """What a background process printed."""
        return self.path / "train.log"

    def checkpoint_path(self, which: str) -> Path:
        """The checkpoint called "best" or "last"."""
        return self.path / "checkpoints" / f"{which}.safetensors"

    def sample_path(self, step: int) -> Path:
        """The held-out prompt completed by the model of this step."""
        return self.path / "samples" / f"step-{step:06d}.mid"

    def write_config(self, values: dict[str, Any]) -> None:
        """Replace config.json."""
        _replace_json(self.config_path, {"schema": SCHEMA, **values})

    def config(self) -> dict[str, Any]:
        """Read config.json.

        Raises:
            InputError: If there is none, or it was written by a newer version.
        """
        if not self.config_path.exists():
            raise InputError(f"{self.path} holds no run (no config.json): check the path")
        values: dict[str, Any] = json.loads(self.config_path.read_text(encoding="utf-8"))
        if values.get("schema") != SCHEMA:
            raise InputError(
                f"{self.path} was written in schema {values.get('schema')}, this version reads "
                f"{SCHEMA}: use the version of rwkv-music that made it"
            )
        return values

    def append_metrics(self, values: dict[str, Any]) -> None:
        """Add one line to metrics.jsonl."""
        with self.metrics_path.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(values) + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """All whole lines of metrics.jsonl; one that is being written just now is left out."""
        if not self.metrics_path.exists():
            return []
        whole = self.metrics_path.read_text(encoding="utf-8").split("\n")[:-1]
        return [json.loads(line) for line in whole]

    def write_status(
        self,
        state: str,
        *,
        step: int = 0,
        steps: int = 0,
        message: str = "",
        device: str = "",
        process_id: int | None = None,
    ) -> None:
        """Replace status.json; the process that trains is this one unless another is named."""
        _replace_json(
            self.status_path,
            {
                "state": state,
                "step": step,
                "steps": steps,
                "message": message,
                "pid": os.getpid() if process_id is None else process_id,
                "device": device,
            },
        )

    def status(self) -> dict[str, Any]:
        """Read status.json.

        Raises:
            InputError: If the directory holds no run.
        """
        if not self.status_path.exists():
            raise InputError(f"{self.path} holds no run (no status.json): check the path")
        values: dict[str, Any] = json.loads(self.status_path.read_text(encoding="utf-8"))
        return values

    def ask_to_stop(self) -> None:
        """Ask the trainer to finish its step, save and end."""
        self.control_path.write_text("stop\n", encoding="utf-8")

    def stop_was_asked(self) -> bool:
        """Whether somebody asked the trainer to stop."""
        return (
            self.control_path.exists()
            and self.control_path.read_text(encoding="utf-8").strip() == "stop"
        )

    def discard(self) -> None:
        """Delete the directory and all in it."""
        shutil.rmtree(self.path)


def _replace_json(path: Path, values: dict[str, Any]) -> None:
    """Write aside, then rename: a reader sees the old file or the new one, never half of one."""
    partial = path.with_name(path.name + f".{os.getpid()}.partial")
    partial.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)
