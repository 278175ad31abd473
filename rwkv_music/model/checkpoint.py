"""One file a model: weights as safetensors, with sizes and tokenizer settings in its header.

Nothing has to be guessed when it is loaded, and nothing in it is executed. The official `.pth` is
read and written in `official`.
"""

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from rwkv_music.errors import CheckpointError, InputError
from rwkv_music.model.model_config import ModelConfig
from rwkv_music.model.music_model import MusicModel
from rwkv_music.model.official import load_pth, save_pth
from rwkv_music.model.rwkv7 import RWKV7
from rwkv_music.model.tensor_files import checkpoint_aside
from rwkv_music.old_names import TOKENIZER_SETTINGS, renamed

__all__ = ["load_checkpoint", "load_model", "load_pth", "save_checkpoint", "save_pth"]

_FORMAT = "rwkv-music 1"


def save_checkpoint(
    model: MusicModel, path: str | Path, *, dtype: torch.dtype | None = None
) -> Path:
    """Write a model into one file, aside first and then renamed: never half a file.

    Args:
        model: What to write.
        path: Ends in .safetensors.
        dtype: To store the weights in, e.g. torch.bfloat16 for half the size; their own when None.

    Raises:
        InputError: If the model's tokenizer settings are unknown.
        CheckpointError: If the place cannot be written to.
    """
    path = Path(path)
    if model.tokenizer_settings is None:
        raise InputError(
            f"cannot write {path}: the model's tokenizer settings are unknown; load it with "
            "load_model('model.pth', tokenizer_settings=Tokenizer().settings), or write a .pth"
        )
    weights = {
        name: value.detach().to("cpu", dtype or value.dtype).contiguous()
        for name, value in model.network.state_dict().items()
    }
    header = {
        "format": _FORMAT,
        "model": json.dumps(model.config.to_dict()),
        "tokenizer": json.dumps(dict(model.tokenizer_settings)),
        "metadata": json.dumps(dict(model.metadata)),
    }
    with checkpoint_aside(path) as partial:
        save_file(weights, partial, metadata=header)
    return path


def load_checkpoint(
    path: str | Path, *, tokenizer_settings: Mapping[str, int] | None = None
) -> MusicModel:
    """Read a model, in float32 and evaluation mode, with its tokenizer's settings.

    Args:
        path: A file that `save_checkpoint` wrote.
        tokenizer_settings: The settings the model must have been trained with; any when None.

    Raises:
        CheckpointError: If the file is missing, damaged, of other sizes, or of another vocabulary.
    """
    path = Path(path)
    header, weights = _read(path)
    try:
        config = ModelConfig.from_dict(_entry(header, "model"))
        settings = renamed(_entry(header, "tokenizer"), TOKENIZER_SETTINGS)
        metadata = _entry(header, "metadata")
    except (TypeError, InputError) as error:
        raise CheckpointError(
            f"{path} is no checkpoint of rwkv-music ({error}): use a file from a run's "
            "checkpoints folder"
        ) from error
    asked = settings if tokenizer_settings is None else tokenizer_settings
    expected = renamed(asked, TOKENIZER_SETTINGS)
    if expected != settings:
        raise CheckpointError(
            f"{path} reads tokens of another vocabulary: it was trained with {settings}, expected "
            f"{expected}"
        )
    network = RWKV7(config)
    _check_shapes(
        path, {name: value.shape for name, value in network.state_dict().items()}, weights
    )
    network.load_state_dict({name: value.float() for name, value in weights.items()})
    return MusicModel(network.eval(), settings, metadata)


def load_model(
    source: str | Path, *, tokenizer_settings: Mapping[str, int] | None = None
) -> MusicModel:
    """A model by name or place.

    Args:
        source: The name of a shipped model ("bach"), a run directory (its best checkpoint), a
            checkpoint file, or an official .pth of RWKV-7.
        tokenizer_settings: The settings the model must have been trained with; any when None. A
            .pth does not say what they were and takes these.

    Raises:
        CheckpointError: If there is no such model or it cannot be read.
    """
    path = _checkpoint_of(source)
    load = load_pth if path.suffix == ".pth" else load_checkpoint
    return load(path, tokenizer_settings=tokenizer_settings)


def _checkpoint_of(source: str | Path) -> Path:
    shipped = _shipped()
    if str(source) in shipped:
        return shipped[str(source)]
    path = Path(source)
    if path.is_dir():
        for which in ("best", "last"):
            candidate = path / "checkpoints" / f"{which}.safetensors"
            if candidate.exists():
                return candidate
        raise CheckpointError(
            f"{path} holds no checkpoint yet: wait for the run's first evaluation, or give a "
            ".safetensors or .pth file"
        )
    if not path.exists():
        raise CheckpointError(
            f"there is no model '{source}': give one of the shipped ones "
            f"({', '.join(shipped) or 'none is installed'}), a run directory, or a checkpoint file"
        )
    return path


def _shipped() -> dict[str, Path]:
    folder = Path(str(resources.files("rwkv_music"))) / "models"
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    if not path.exists():
        raise CheckpointError(f"there is no checkpoint {path}: check the path")
    if not path.is_file():
        raise CheckpointError(f"{path} is no file: give the .safetensors file inside it")
    try:
        with safe_open(path, framework="pt") as stored:
            header = stored.metadata() or {}
            weights = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is not a whole safetensors file ({error}): copy it again"
        ) from error
    return header, weights


def _entry(header: Mapping[str, str], name: str) -> dict[str, Any]:
    try:
        entry = json.loads(header.get(name, "null"))
    except json.JSONDecodeError as error:
        raise InputError(f"its header's '{name}' is not JSON, {error}") from error
    if not isinstance(entry, dict):
        raise InputError(f"its header has no '{name}'")
    return entry


def _check_shapes(
    path: Path, expected: Mapping[str, torch.Size], weights: Mapping[str, Tensor]
) -> None:
    for name, shape in expected.items():
        if name not in weights:
            raise CheckpointError(f"{path} lacks the tensor {name} {list(shape)}: it is damaged")
        if weights[name].shape != shape:
            raise CheckpointError(
                f"{path}: {name} is {list(weights[name].shape)}, the sizes in its header ask for "
                f"{list(shape)}; header and weights come from different models"
            )
    for name in weights:
        if name not in expected:
            raise CheckpointError(
                f"{path} has a tensor {name} that its sizes do not ask for: header and weights "
                "come from different models"
            )
