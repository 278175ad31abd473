"""Checkpoints of a run: two files a step, written so that a crash at any moment leaves whole ones.

    step-000150.training.safetensors  what is needed to go on: optimizer, random numbers, places
    step-000150.safetensors           the model, as `load_model` reads it
    last.safetensors                  the newest model, under a name that stays
    best.safetensors                  the model with the lowest held-out loss

Each is written aside, forced to the disk and renamed. The training file comes first: where there is
a step's model, the step is whole. `last` and `best` are further names of the same files (or copies,
where the file system knows no hard links).
"""

import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from rwkv_music.errors import CheckpointError
from rwkv_music.model import MusicModel, load_checkpoint, save_checkpoint
from rwkv_music.model.tensor_files import checkpoint_aside
from rwkv_music.training.distributed.train_state import Snapshot

_OF_A_STEP = re.compile(r"step-(\d+)(\.training)?\.safetensors")


class Stored(NamedTuple):
    """A step's checkpoint, read."""

    step: int
    snapshot: Snapshot
    facts: dict[str, Any]
    """What was saved with it."""


class Checkpoints:
    """The checkpoints in one folder.

    Args:
        folder: Made when the first one is written.
        keep: Newest ones to keep.
    """

    def __init__(self, folder: Path, *, keep: int = 2) -> None:
        self.folder = folder
        self._keep = keep

    def path(self, which: str) -> Path:
        """The model called "best" or "last"."""
        return self.folder / f"{which}.safetensors"

    def model_path(self, step: int) -> Path:
        """The model of a step."""
        return self.folder / f"step-{step:06d}.safetensors"

    def training_path(self, step: int) -> Path:
        """What else is needed to go on from a step."""
        return self.folder / f"step-{step:06d}.training.safetensors"

    def steps(self) -> list[int]:
        """Steps one can go on from, ascending."""
        steps = sorted({step for step, _ in self._of_steps()})
        return [
            step
            for step in steps
            if self.model_path(step).exists() and self.training_path(step).exists()
        ]

    def models(self) -> list[str]:
        """Names of the files that `load_model` reads, whether one can go on from them or not."""
        found = {self.model_path(step) for step, _ in self._of_steps()}
        found |= {self.path(which) for which in ("best", "last")}
        return sorted(path.name for path in found if path.exists())

    def save(
        self,
        step: int,
        snapshot: Snapshot,
        *,
        tokenizer_settings: Mapping[str, int],
        facts: Mapping[str, Any],
        metadata: Mapping[str, Any],
    ) -> None:
        """Write a step's checkpoint, call it the last one, and drop what is too old.

        Args:
            step: The step after which it is taken.
            snapshot: The model, and the tensors needed to resume.
            tokenizer_settings: Of the tokenizer whose ids the model reads.
            facts: Anything JSON can hold that is needed to go on.
            metadata: What the model file itself should tell.

        Raises:
            CheckpointError: If there is no room; older checkpoints stay as they are.
        """
        header = {"step": str(step), "facts": json.dumps(dict(facts))}
        with checkpoint_aside(self.training_path(step)) as partial:
            save_file(snapshot.tensors, partial, metadata=header)
        model = MusicModel(snapshot.model, tokenizer_settings, {"step": step, **metadata})
        save_checkpoint(model, self.model_path(step))
        self.name("last", step)
        for old in self.steps()[: -self._keep]:
            self._remove(old)

    def read(self, step: int, *, tokenizer_settings: Mapping[str, int]) -> Stored:
        """What is kept of a step.

        Raises:
            CheckpointError: If a file is missing or damaged.
        """
        model = load_checkpoint(self.model_path(step), tokenizer_settings=tokenizer_settings)
        path = self.training_path(step)
        try:
            with safe_open(path, framework="pt") as stored:
                facts = json.loads((stored.metadata() or {})["facts"])
                tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, KeyError, json.JSONDecodeError) as error:
            raise CheckpointError(
                f"{path} is not a whole file ({error}): delete this step's files to go on from the "
                "one before"
            ) from error
        return Stored(step, Snapshot(model.network, tensors), facts)

    def name(self, which: str, step: int) -> None:
        """Give a step's model another name, at once and for good: "last" or "best"."""
        with checkpoint_aside(self.path(which)) as partial:
            try:
                os.link(self.model_path(step), partial)
            except OSError:
                shutil.copyfile(self.model_path(step), partial)

    def tidy(self, *, after: int) -> None:
        """Remove every step later than the one a run goes on from."""
        for step, path in self._of_steps():
            if step > after:
                path.unlink()

    def _of_steps(self) -> list[tuple[int, Path]]:
        """The files written here for a step; a copy that somebody has named alike is none."""
        found = [(_OF_A_STEP.fullmatch(path.name), path) for path in self.folder.glob("step-*")]
        return [(int(match[1]), path) for match, path in found if match]

    def _remove(self, step: int) -> None:
        self.model_path(step).unlink(missing_ok=True)
        self.training_path(step).unlink(missing_ok=True)
