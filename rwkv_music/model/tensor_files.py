"""Files of torch.save: written atomically, read without running the code in them."""

import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor

from rwkv_music.atomic import atomic_writer
from rwkv_music.errors import CheckpointError
from rwkv_music.model.foreign_files import ZIP_MAGIC, describe_foreign_file, likely_cause
from rwkv_music.model.model_config import ModelConfig

_LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"
"""First bytes of files from before torch 1.6."""

_WRAPPERS = {
    "_orig_mod", "module", "_module", "_fsdp_wrapped_module", "_forward_module", "_fpw_module",
    "_checkpoint_wrapped_module",
}  # fmt: skip
"""Parts of names that torch.compile, DDP, FSDP, DeepSpeed and Lightning add anywhere."""
_PREFIXES = {"model", "base_model", "network", "net", "rwkv", "rwkv_model", "ema_model"}
"""Parts of names that a module holding the model adds in front."""
_ROOTS = ("emb", "blocks", "ln_out", "head")
"""First parts of the official names."""

_DTYPES = (torch.bfloat16, torch.float16, torch.float32, torch.float64)
_MIN_TENSORS_PER_LAYER = 20
"""A layer has about 30; with fewer, the layers of a file are not those of RWKV-7."""

_DAMAGED = (RuntimeError, OSError, EOFError, LookupError, ValueError, AssertionError, MemoryError)
"""What torch.load raises for an incomplete file, depending on where it ends."""


@contextmanager
def checkpoint_writer(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write a checkpoint to; see `atomic_writer`.

    Raises:
        CheckpointError: If the file cannot be written. An existing file stays unchanged.
    """
    try:
        with atomic_writer(path) as partial:
            yield partial
    except (OSError, SafetensorError, RuntimeError) as error:  # torch.save raises RuntimeError
        reason = getattr(error, "strerror", None) or error
        raise CheckpointError(
            f"cannot write the checkpoint {path} ({reason}): free some disk space or choose "
            "another folder"
        ) from error


def is_torch_file(path: Path) -> bool:
    """Return whether a file was written by torch.save, judged by its first bytes."""
    with path.open("rb") as stored:
        beginning = stored.read(len(_LEGACY_MAGIC))
    return beginning.startswith((ZIP_MAGIC, _LEGACY_MAGIC))


def require_model_file(path: Path) -> None:
    """Check that a path is a file that may hold a model.

    Raises:
        CheckpointError: If it does not exist, is no file, or is of another format; names that.
    """
    if not path.exists():
        raise CheckpointError(f"there is no file {path}: check the path")
    if not path.is_file():
        raise CheckpointError(f"{path} is not a file: give the .safetensors or .pth file inside it")
    try:
        format_found = describe_foreign_file(path, legacy_magic=_LEGACY_MAGIC)
    except OSError as error:
        raise CheckpointError(f"cannot read {path} ({error.strerror}): check the file") from error
    if format_found is not None:
        raise CheckpointError(f"{path} is {format_found}")


def write_tensors(tensors: Mapping[str, Tensor], path: Path) -> Path:
    """Write named tensors with torch.save.

    Args:
        tensors: On any device. Each is stored without the rest of its storage.
        path: The file to write.

    Raises:
        CheckpointError: If the file cannot be written.
    """
    copies = {name: value.detach().cpu().clone() for name, value in tensors.items()}
    with checkpoint_writer(path) as partial:
        torch.save(copies, partial)
    return path


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read named tensors that torch.save wrote.

    Args:
        path: A .pth file. Code in it is refused, not run.

    Returns:
        The tensors, on the CPU, under names without the parts that wrappers add.

    Raises:
        CheckpointError: If the file is missing, of another format, damaged, or holds anything but
            named tensors.
    """
    require_model_file(path)
    if not is_torch_file(path):
        raise CheckpointError(
            f"{path} is not a file of torch.save: give a .pth (a .safetensors of rwkv-music is "
            "loaded with load_model)"
        )
    _check_archive(path)
    try:
        with path.open("rb") as file:  # of a path, torch.load believes the ending
            content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(_refusal(path, str(error))) from error
    except _DAMAGED as error:
        raise CheckpointError(
            f"{path} is not a complete torch file ({_first_line(error)}): copy it again"
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
        _check_storage(path, name, value)
    return _unwrapped(path, content)


def _check_archive(path: Path) -> None:
    """Check sizes and checksums of a zip archive's members before torch reads them.

    torch checks neither: a small file could declare members of many gigabytes, and a changed byte
    would become another weight.
    """
    if not zipfile.is_zipfile(path):
        return  # from before torch 1.6, or incomplete: torch.load says so
    size = path.stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            declared = sum(member.file_size for member in archive.infolist())
            if declared > size:
                raise CheckpointError(
                    f"{path} declares {declared} bytes of tensors but has {size}: it is damaged or "
                    "compressed; save it with torch.save"
                )
            damaged = archive.testzip()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError) as error:
        # zipfile does not implement every compression that a damaged header may name.
        raise CheckpointError(
            f"{path} is not a complete torch file ({_first_line(error)}): copy it again"
        ) from error
    if damaged is not None:
        raise CheckpointError(
            f"{path} is damaged (the checksum of its member {damaged} differs): copy it again"
        )


def _check_storage(path: Path, name: str, value: Tensor) -> None:
    """Refuse a tensor with more numbers than its storage holds, which would be copied in full."""
    if value.layout != torch.strided or value.is_quantized:
        raise CheckpointError(
            f"{path}: {name} is sparse or quantized, expected a dense tensor: save the original"
        )
    stored = value.untyped_storage().nbytes() // value.element_size()
    if value.numel() > stored:
        raise CheckpointError(
            f"{path}: {name} is {list(value.shape)} but only {stored} numbers are stored: it is "
            "damaged, or an expanded view; save it with .contiguous()"
        )


def check_sizes(path: Path, config: ModelConfig, weights: Mapping[str, Tensor]) -> None:
    """Check layers, vocabulary and channels of a config against the tensors of its file.

    This comes before a network of these sizes is made, which could be larger than any memory.

    Raises:
        CheckpointError: Names what differs.
    """
    layers = {name.split(".")[1] for name in weights if name.startswith("blocks.")}
    if len(layers) != config.num_layers or len(weights) < _MIN_TENSORS_PER_LAYER * len(layers):
        raise CheckpointError(
            f"{path} holds {len(weights)} tensors of {len(layers)} layers, a model of "
            f"{config.num_layers} layers is expected: {likely_cause(weights)}"
        )
    expected = [config.vocab_size, config.dim]
    embedding = list(weights["emb.weight"].shape) if "emb.weight" in weights else "missing"
    if embedding != expected:
        raise CheckpointError(
            f"{path}: emb.weight is {embedding}, the sizes in its header ask for {expected}; "
            "header and weights come from different models"
        )


def check_numbers(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Check that tensors are of a floating-point dtype and hold finite numbers.

    Raises:
        CheckpointError: Names the first tensor that does not, and where.
    """
    for name, value in tensors.items():
        if value.dtype not in _DTYPES:
            raise CheckpointError(
                f"{path}: {name} is stored as {value.dtype}, expected bfloat16, float16, float32 "
                "or float64: use the file from before it was quantized"
            )
        is_finite = value.isfinite()
        if not is_finite.all():
            index = tuple((~is_finite).nonzero()[0].tolist())
            raise CheckpointError(
                f"{path}: {name} holds {value[index].item()} at {list(index)} "
                f"({int((~is_finite).sum())} of {value.numel()} numbers are not finite): its "
                "training diverged; use an older checkpoint"
            )


def _unwrapped(path: Path, content: Mapping[str, Tensor]) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for name, value in content.items():
        bare = bare_name(name)
        if bare in tensors:
            raise CheckpointError(
                f"{path} holds the tensor {bare} twice, under different prefixes: save one model's "
                "state_dict() alone"
            )
        tensors[bare] = value
    return tensors


def bare_name(name: str) -> str:
    """Return a tensor's name without the parts that wrappers of the model add.

    Example:
        >>> bare_name("base_model.model._orig_mod.blocks.0._fsdp_wrapped_module.ln1.weight")
        'blocks.0.ln1.weight'
    """
    parts = [part for part in name.split(".") if part not in _WRAPPERS]
    start = 0
    while start < len(parts) and parts[start] in _PREFIXES:
        start += 1
    return ".".join(parts[start:] if parts[start : start + 1] and parts[start] in _ROOTS else parts)


def _refusal(path: Path, reason: str) -> str:
    code = re.search(r"GLOBAL (\S+)", reason)
    if code is None:
        return f"{path} is not a complete torch file (its index is damaged): copy it again"
    return (
        f"{path} contains code ({code[1]}), which is refused because it could do anything: save "
        "model.state_dict() alone where it was made"
    )


def _described(value: object) -> str:
    """Return 'a dict', 'an int', or 'an empty list'."""
    type_name = type(value).__name__
    empty = isinstance(value, dict | list | tuple) and not value
    return (
        f"an empty {type_name}"
        if empty
        else f"{'an' if type_name[0] in 'aeiou' else 'a'} {type_name}"
    )


def _first_line(error: BaseException) -> str:
    line = (str(error).splitlines() or [""])[0]
    return line.split(". ")[0] or type(error).__name__
