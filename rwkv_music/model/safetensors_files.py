"""Safetensors files with a checksum: written atomically, checked before anything uses them."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from rwkv_music.errors import CheckpointError
from rwkv_music.model.tensor_files import checkpoint_writer, require_model_file

_CHECKSUM = "sha256"
"""Header entry with the checksum of all tensors and all other entries."""
_WITH_CHECKSUM = "checksum"
"""Header entry that says that there is a checksum; a file that lost one of both is damaged."""


def write_safetensors(tensors: Mapping[str, Tensor], path: Path, header: Mapping[str, str]) -> None:
    """Write tensors and a header of strings, with a checksum over both.

    Args:
        tensors: On any device.
        path: The file; an existing one is replaced when the new one is complete.
        header: Stored in the file's metadata.

    Raises:
        CheckpointError: If the file cannot be written.
    """
    stored = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    header = {**header, _WITH_CHECKSUM: _CHECKSUM}
    header[_CHECKSUM] = checksum(stored, header)
    with checkpoint_writer(path) as partial:
        save_file(stored, partial, metadata=header)


def read_safetensors_header(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return the header and the tensors of a file without their content, on the device "meta".

    A file of any size is examined at once. Its checksum is not checked.

    Raises:
        CheckpointError: If the file is missing, of another format or incomplete.
    """
    require_model_file(path)
    with _open_safetensors(path) as stored:
        header = dict(stored.metadata() or {})
        slices = {name: stored.get_slice(name) for name in stored.keys()}  # noqa: SIM118
        shapes = {name: stored.get_shape() for name, stored in slices.items()}
    return header, {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def read_safetensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return the header and the tensors of a file.

    Files without a checksum, as earlier versions wrote them, are accepted. The tensors are copies:
    the file can be replaced while they are in use.

    Raises:
        CheckpointError: If the file is missing, of another format, incomplete or damaged.
    """
    require_model_file(path)
    with _open_safetensors(path) as stored:
        header = dict(stored.metadata() or {})
        tensors = {name: stored.get_tensor(name).clone() for name in stored.keys()}  # noqa: SIM118
    has_checksum = _WITH_CHECKSUM in header or _CHECKSUM in header
    if has_checksum and header.get(_CHECKSUM) != checksum(tensors, header):
        raise CheckpointError(
            f"{path} is damaged (its checksum differs): copy it again, or use an older checkpoint"
        )
    return header, tensors


@contextmanager
def _open_safetensors(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as stored:
            yield stored
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} is not a complete safetensors file ({error}): copy it again"
        ) from error


def checksum(tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> str:
    """Return the SHA-256 of tensors and header entries, in the order of their names."""
    digest = hashlib.sha256()
    for name, text in sorted(header.items()):
        if name != _CHECKSUM:
            digest.update(f"{name}={text}\n".encode())
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
        digest.update(value.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
