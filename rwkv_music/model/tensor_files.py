"""Files of tensors: written aside and then renamed, read without running anything in them."""

import pickle
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor

from rwkv_music.atomic import atomic_writer
from rwkv_music.errors import CheckpointError

_ZIP = b"PK\x03\x04"
_BEFORE_ZIP = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"
"""How a file of torch.save begins: today's form, and the one before torch 1.6."""

_PREFIXES = ("_forward_module.", "module.")
"""What trainers that wrap a model put before each name."""

_DAMAGED = (RuntimeError, OSError, EOFError, LookupError, ValueError)
"""What torch.load raises at half a file, depending on where it ends."""


@contextmanager
def checkpoint_aside(path: Path) -> Iterator[Path]:
    """A place beside `path` to write a checkpoint to: see `atomic_writer`.

    Raises:
        CheckpointError: If the place cannot be written to; a file that was there stays as it was.
    """
    try:
        with atomic_writer(path) as partial:
            yield partial
    except (OSError, SafetensorError, RuntimeError) as error:  # torch.save says RuntimeError
        raise CheckpointError(
            f"cannot write the checkpoint {path} ({error}): free some space or choose another place"
        ) from error


def write_tensors(tensors: Mapping[str, Tensor], path: Path) -> Path:
    """Write tensors by name in the form of torch.save.

    Args:
        tensors: On any device; each is stored alone, whatever larger one it is a part of.
        path: Where to.

    Raises:
        CheckpointError: If the place cannot be written to.
    """
    alone = {name: value.detach().cpu().clone() for name, value in tensors.items()}
    with checkpoint_aside(path) as partial:
        torch.save(alone, partial)
    return path


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read what torch.save wrote, as long as it is tensors by name and nothing else.

    Args:
        path: A .pth file. Code in it is refused, not run.

    Returns:
        The tensors, on the CPU, under names without the prefixes that trainers add.

    Raises:
        CheckpointError: If the file is missing, no torch file, damaged, or holds anything else.
    """
    if not path.exists():
        raise CheckpointError(f"there is no checkpoint {path}: check the path")
    if not path.is_file():
        raise CheckpointError(f"{path} is no file: give the .pth file inside it")
    with path.open("rb") as stored:
        beginning = stored.read(len(_BEFORE_ZIP))
    if not beginning.startswith(_ZIP) and beginning != _BEFORE_ZIP:
        raise CheckpointError(
            f"{path} is not a torch file, it begins with {beginning[:8]!r}: give a .pth that "
            "torch.save wrote (a .safetensors of rwkv-music keeps its ending)"
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(_refusal(path, str(error))) from error
    except _DAMAGED as error:
        raise CheckpointError(
            f"{path} is not a whole torch file ({_first_line(error)}): copy it again"
        ) from error
    if not isinstance(content, dict) or not content:
        raise CheckpointError(
            f"{path} holds {_described(content)}, expected tensors by name: save "
            "model.state_dict() where it was made"
        )
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise CheckpointError(
                f"{path}: its entry {name!r} is {_described(value)}, expected a tensor: it is a "
                "trainer's own checkpoint; save model.state_dict() where it was made"
            )
    return {_bare_name(name): value for name, value in content.items()}


def _bare_name(name: str) -> str:
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _refusal(path: Path, reason: str) -> str:
    code = re.search(r"GLOBAL (\S+)", reason)
    if code is None:
        return f"{path} is not a whole torch file (its index is damaged): copy it again"
    return (
        f"{path} holds code ({code[1]}), which is refused since it could do anything: save "
        "model.state_dict() alone where it was made"
    )


def _described(value: object) -> str:
    """'a dict', 'an int'; empty collections say so."""
    kind = type(value).__name__
    empty = isinstance(value, dict | list | tuple) and not value
    return f"an empty {kind}" if empty else f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0] or type(error).__name__
