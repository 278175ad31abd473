"""Checkpoints: safetensors files with a model's weights, sizes, tokenizer settings and checksum.

Loading a checkpoint executes nothing in it. `official` reads and writes the official `.pth`.
"""

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rwkv_music.errors import CheckpointError, InputError
from rwkv_music.model.foreign_files import likely_cause
from rwkv_music.model.initialization import without_weights
from rwkv_music.model.model_config import ModelConfig
from rwkv_music.model.music_model import MusicModel, hole_fraction
from rwkv_music.model.official import load_pth, save_pth
from rwkv_music.model.safetensors_files import (
    read_safetensors,
    read_safetensors_header,
    write_safetensors,
)
from rwkv_music.model.tensor_files import (
    check_numbers,
    check_sizes,
    is_torch_file,
    require_model_file,
)
from rwkv_music.old_names import TOKENIZER_SETTINGS, renamed
from rwkv_music.shipped_models import DEFAULT_MODEL

__all__ = ["load_checkpoint", "load_model", "load_pth", "save_checkpoint", "save_pth"]

_FORMAT = "rwkv-music 1"
_LARGEST_SETTING = 1_000_000


def save_checkpoint(
    model: MusicModel, path: str | Path, *, dtype: torch.dtype | None = None
) -> Path:
    """Write a model into one file, atomically and with a checksum.

    Args:
        model: The model to write.
        path: The file to write; ends in .safetensors by convention.
        dtype: Dtype of the stored weights, such as torch.bfloat16; that of the model when None.

    Raises:
        InputError: If the model's tokenizer settings are unknown.
        CheckpointError: If the file cannot be written.
    """
    path = Path(path)
    if model.tokenizer_settings is None:
        raise InputError(
            f"cannot write {path}: the model's tokenizer settings are unknown; load it with "
            "load_model('model.pth', tokenizer_settings=Tokenizer().settings), or write a .pth"
        )
    weights = {
        name: value.detach().to("cpu", dtype or value.dtype)
        for name, value in model.network.state_dict().items()
    }
    header = {
        "format": _FORMAT,
        "model": json.dumps(model.config.to_dict()),
        "tokenizer": json.dumps(dict(model.tokenizer_settings)),
        "metadata": json.dumps(dict(model.metadata)),
    }
    write_safetensors(weights, path, header)
    return path


def load_checkpoint(
    path: str | Path, *, tokenizer_settings: Mapping[str, int] | None = None
) -> MusicModel:
    """Read a model, in float32 and evaluation mode, with its tokenizer's settings.

    Args:
        path: A file that `save_checkpoint` wrote.
        tokenizer_settings: The settings the model must have been trained with; any when None.

    Raises:
        CheckpointError: If the file is missing, damaged or of another format, if its tensors do not
            fit the sizes in its header or hold a NaN, or if it was trained with other settings.
    """
    path = Path(path)
    header, stored = read_safetensors_header(path)
    try:
        config = ModelConfig.from_dict(_entry(header, "model"))
        settings = renamed(_entry(header, "tokenizer"), TOKENIZER_SETTINGS)
        metadata = _entry(header, "metadata")
    except (TypeError, InputError) as error:
        remedy = "use a file from a run's checkpoints folder"
        if "model" not in header and stored:
            remedy = f"{likely_cause(stored)}; {remedy}"
        raise CheckpointError(
            f"{path} is not a checkpoint of rwkv-music ({error}): {remedy}"
        ) from error
    _check_settings(path, settings)
    asked = settings if tokenizer_settings is None else tokenizer_settings
    expected = renamed(asked, TOKENIZER_SETTINGS)
    if expected != settings:
        raise CheckpointError(
            f"{path} reads tokens of another vocabulary: it was trained with {settings}, expected "
            f"{expected}"
        )
    check_sizes(path, config, stored)
    network = without_weights(config)
    _check_shapes(path, {name: value.shape for name, value in network.state_dict().items()}, stored)
    _, weights = read_safetensors(path)
    check_numbers(path, weights)
    network.load_state_dict({name: value.float() for name, value in weights.items()}, assign=True)
    return MusicModel(network.eval(), settings, metadata)


def load_model(
    source: str | Path = DEFAULT_MODEL, *, tokenizer_settings: Mapping[str, int] | None = None
) -> MusicModel:
    """Load a model by name or path.

    Args:
        source: The name of a shipped model ("general", "bach", "pop"), a run directory (for its
            best checkpoint), a checkpoint file, or an official .pth of RWKV-7. The content decides
            how a file is read, not the ending of its name.
        tokenizer_settings: The settings the model must have been trained with; any when None. An
            official .pth does not contain them: the model gets these.

    Raises:
        CheckpointError: If there is no such model, or it cannot be read.
    """
    path = _checkpoint_path(source)
    require_model_file(path)
    load = load_pth if is_torch_file(path) else load_checkpoint
    return load(path, tokenizer_settings=tokenizer_settings)


def stored_hole_fraction(source: str | Path) -> float | None:
    """Return `MusicModel.hole_fraction` of a model without loading its weights.

    Args:
        source: As for `load_model`.

    Returns:
        The fraction; None if the file does not say.

    Raises:
        CheckpointError: If there is no such model, or it is incomplete.
    """
    path = _checkpoint_path(source)
    require_model_file(path)
    if is_torch_file(path):
        return None
    header, _ = read_safetensors_header(path)
    return hole_fraction(_entry(header, "metadata")) if "metadata" in header else None


def _checkpoint_path(source: str | Path) -> Path:
    shipped = _shipped_models()
    if str(source) in shipped:
        return shipped[str(source)]
    path = Path(source)
    if path.is_dir():
        for which in ("best", "last"):
            candidate = path / "checkpoints" / f"{which}.safetensors"
            if candidate.exists():
                return candidate
        raise CheckpointError(
            f"{path} has no checkpoint yet: wait for the run's first evaluation, or give a "
            ".safetensors or .pth file"
        )
    if not path.exists():
        raise CheckpointError(
            f"there is no model '{source}': give the name of a shipped model "
            f"({', '.join(shipped) or 'none is installed'}), a run directory, or a checkpoint file"
        )
    return path


def _shipped_models() -> dict[str, Path]:
    folder = Path(str(resources.files("rwkv_music"))) / "models"
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}


def _entry(header: Mapping[str, str], name: str) -> dict[str, Any]:
    try:
        entry = json.loads(header.get(name, "null"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"'{name}' in its header is not valid JSON, {error}") from error
    if not isinstance(entry, dict):
        raise InputError(f"its header has no entry '{name}'")
    return entry


def _check_settings(path: Path, settings: Mapping[str, object]) -> None:
    for name, value in settings.items():
        if type(value) is not int or not 0 < value <= _LARGEST_SETTING:
            raise CheckpointError(
                f"{path}: its tokenizer settings are damaged ({name} is {value!r}): copy it again"
            )


def _check_shapes(
    path: Path, expected: Mapping[str, torch.Size], weights: Mapping[str, Tensor]
) -> None:
    for name, shape in expected.items():
        if name not in weights:
            raise CheckpointError(f"{path} has no tensor {name} {list(shape)}: it is damaged")
        if weights[name].shape != shape:
            raise CheckpointError(
                f"{path}: {name} is {list(weights[name].shape)}, the sizes in its header ask for "
                f"{list(shape)}; header and weights come from different models"
            )
    for name in weights:
        if name not in expected:
            raise CheckpointError(
                f"{path} has an unexpected tensor {name}: header and weights come from different "
                "models"
            )
