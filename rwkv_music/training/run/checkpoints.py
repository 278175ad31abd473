"""Checkpoints of a run: two files a step, written so that a crash never leaves half of one.

    step-000150.training.safetensors  what else is needed to resume: optimizer, random numbers
    step-000150.safetensors           the model, as `load_model` reads it
    last.safetensors                  the newest model
    best.safetensors                  the model with the lowest held-out loss

Each file is written beside its place, flushed to the disk and renamed. The training file comes
first: a step is complete once its model exists. `last` and `best` are hard links (or copies, where
the file system has no hard links).
"""

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from rwkv_music.atomic import final_name
from rwkv_music.errors import CheckpointError
from rwkv_music.model import RWKV7, MusicModel, load_checkpoint, save_checkpoint
from rwkv_music.model.safetensors_files import read_safetensors, write_safetensors
from rwkv_music.model.tensor_files import checkpoint_writer
from rwkv_music.old_names import CHECKPOINT_FACTS, EARLY_STOPPING, renamed
from rwkv_music.training.monitoring.overfitting import EarlyStopping

_STEP_FILE = re.compile(r"step-(\d+)(\.training)?\.safetensors")


@dataclass(frozen=True)
class RunProgress:
    """How far a run is: the plain values that are saved with a checkpoint."""

    step: int
    loader_position: dict[str, Any]
    """`position()` of the loader."""
    early_stopping: EarlyStopping
    evaluation_is_due: bool
    """Whether the run was stopped before an evaluation that was due."""
    elapsed_seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return the values as they are written."""
        return {
            "stream": self.loader_position,
            "early_stopping": self.early_stopping.to_dict(),
            "evaluation_is_due": self.evaluation_is_due,
            "elapsed_seconds": self.elapsed_seconds,
        }

    @classmethod
    def from_dict(cls, step: int, values: Mapping[str, Any]) -> "RunProgress":
        """Return the progress from what `to_dict` or an earlier version wrote.

        Raises:
            KeyError, TypeError, ValueError: If a value is missing or wrong.
        """
        values = renamed(values, CHECKPOINT_FACTS)
        best = renamed(values["early_stopping"], EARLY_STOPPING)
        return cls(
            step=step,
            loader_position=dict(values["stream"]),
            early_stopping=EarlyStopping(
                loss=float(best["loss"]),
                step=int(best["step"]),
                evaluations_since_best=int(best["evaluations_since_best"]),
            ),
            evaluation_is_due=bool(values["evaluation_is_due"]),
            elapsed_seconds=float(values["elapsed_seconds"]),
        )


class SavedState(NamedTuple):
    """A checkpoint that was read."""

    model: RWKV7
    tensors: dict[str, Tensor]
    """Optimizer, random numbers and carried state."""
    progress: RunProgress


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints in one folder."""

    folder: Path
    """Made when the first checkpoint is written."""
    keep: int = 2
    """Number of newest checkpoints to keep."""

    def path(self, name: str) -> Path:
        """Return the path of the model "best" or "last"."""
        return self.folder / f"{name}.safetensors"

    def model_path(self, step: int) -> Path:
        """Return the path of a step's model."""
        return self.folder / f"step-{step:06d}.safetensors"

    def training_path(self, step: int) -> Path:
        """Return the path of a step's training file."""
        return self.folder / f"step-{step:06d}.training.safetensors"

    def steps(self) -> list[int]:
        """Return the steps that have a complete checkpoint, ascending."""
        return [
            step
            for step in sorted({step for step, _ in self._step_files()})
            if self.model_path(step).exists() and self.training_path(step).exists()
        ]

    def models(self) -> list[str]:
        """Return the names of the models, whether a run can resume from them or not."""
        paths = {self.model_path(step) for step, _ in self._step_files()}
        paths |= {self.path(name) for name in ("best", "last")}
        return sorted(path.name for path in paths if path.exists())

    def newest_in_words(self) -> str:
        """Return what there is to resume from, as the end of a sentence."""
        steps = self.steps()
        if not steps:
            return "no checkpoint had been written"
        return f"the last checkpoint, {self.model_path(steps[-1])}, is kept: resume from it"

    def save(self, model: MusicModel, tensors: Mapping[str, Tensor], progress: RunProgress) -> None:
        """Write a step's checkpoint, link it as the last one, and remove the oldest.

        Args:
            model: With tokenizer settings and metadata.
            tensors: The other tensors needed to resume.
            progress: The values needed to resume.

        Raises:
            CheckpointError: If the files cannot be written; older checkpoints stay as they are.
        """
        header = {"step": str(progress.step), "facts": json.dumps(progress.to_dict())}
        write_safetensors(tensors, self.training_path(progress.step), header)
        save_checkpoint(model, self.model_path(progress.step))
        self.link("last", progress.step)
        for old in self.steps()[: -self.keep]:
            self._remove(old)

    def read(self, step: int, *, tokenizer_settings: Mapping[str, int]) -> SavedState:
        """Read a step's checkpoint.

        Raises:
            CheckpointError: If a file is missing or damaged.
        """
        model = load_checkpoint(self.model_path(step), tokenizer_settings=tokenizer_settings)
        header, tensors = read_safetensors(self.training_path(step))
        try:
            progress = RunProgress.from_dict(step, json.loads(header["facts"]))
        except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise CheckpointError(
                f"{self.training_path(step)} is damaged (value {error} is missing or wrong)"
            ) from error
        return SavedState(model.network, tensors, progress)

    def link(self, name: str, step: int) -> None:
        """Give a step's model another name, "last" or "best", atomically."""
        with checkpoint_writer(self.path(name)) as partial:
            try:
                os.link(self.model_path(step), partial)
            except OSError:
                shutil.copyfile(self.model_path(step), partial)

    def remove_after(self, step: int) -> None:
        """Remove every checkpoint of a later step."""
        for later, path in self._step_files():
            if later > step:
                path.unlink()

    def rename_damaged(self, step: int) -> None:
        """Rename the files of a checkpoint that cannot be read, so that no run writes over them."""
        for path in (self.model_path(step), self.training_path(step)):
            if path.exists():
                path.replace(path.with_name(f"{path.name}.damaged"))

    def remove_all(self) -> None:
        """Remove every file that a run has written here, and no others."""
        self.remove_after(-1)
        for path in (*self.folder.glob("*.safetensors"), *self.folder.glob("*.partial")):
            name = final_name(path.name)
            if name in {"best.safetensors", "last.safetensors"} or _STEP_FILE.fullmatch(name):
                path.unlink()

    def _step_files(self) -> list[tuple[int, Path]]:
        """Return the files of all steps; a user's copy with a similar name is not one of them."""
        matches = [(_STEP_FILE.fullmatch(path.name), path) for path in self.folder.glob("step-*")]
        return [(int(match[1]), path) for match, path in matches if match]

    def _remove(self, step: int) -> None:
        self.model_path(step).unlink(missing_ok=True)
        self.training_path(step).unlink(missing_ok=True)
