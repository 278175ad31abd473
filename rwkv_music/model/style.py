"""Styles: tuned initial states, small files that make a model write in the style of some music.

Without a style, an RWKV model begins with WKV matrices of zeros. A style replaces these zeros and
nothing else. It can be scaled (0 switches it off) and mixed with others by plain arithmetic.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rwkv_music.errors import CheckpointError, InputError
from rwkv_music.model.music_model import MusicModel
from rwkv_music.model.safetensors_files import (
    read_safetensors,
    read_safetensors_header,
    write_safetensors,
)
from rwkv_music.model.state import ModelState
from rwkv_music.model.state_exchange import load_state
from rwkv_music.model.tensor_files import check_numbers, is_torch_file, require_model_file

_FORMAT = "rwkv-music style 1"
_NUMBERS_PER_TENSOR = 256


@dataclass(frozen=True)
class Style:
    """The initial state of one model, and how it was made.

    Example:
        >>> style = load_style("ragtime.style")  # doctest: +SKIP
        >>> continue_score(model, "prompt.mid", style=style.scaled(0.5))  # doctest: +SKIP
    """

    wkv: Float[Tensor, "L H N N"]
    """[layer, head, value, key], in float32."""
    base: str
    """`fingerprint` of the model it belongs to; empty if unknown."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """How it was made: files and settings."""

    @property
    def num_values(self) -> int:
        """Total number of values."""
        return self.wkv.numel()

    def scaled(self, strength: float) -> "Style":
        """Return the style multiplied by a factor: 0 is the model without a style, 1 the style."""
        return replace(self, wkv=strength * self.wkv)

    def state(self, model: MusicModel, batch_size: int = 1) -> ModelState:
        """Return the initial state of a batch, on the model's device.

        Raises:
            InputError: If the style belongs to another model.
        """
        self.check_fits(model)
        weight = model.network.emb.weight
        wkv = self.wkv.to(weight.device)
        return ModelState.beginning(wkv, model.config, batch_size, dtype=weight.dtype)

    def check_fits(self, model: MusicModel) -> None:
        """Check that the style was tuned for a model.

        Raises:
            InputError: If it was tuned for another one; names both.
        """
        config = model.config
        shape = [config.num_layers, config.num_heads, config.head_size, config.head_size]
        if list(self.wkv.shape) != shape:
            raise InputError(
                f"the style has matrices of {list(self.wkv.shape)} (layers, heads, values, keys), "
                f"the model {shape}: it was tuned for another model; load that one"
            )
        own = fingerprint(model)
        if self.base not in ("", own):
            raise InputError(
                f"the style was tuned for the model {self.base}, this one is {own}: load that "
                "model, or tune again"
            )


def fingerprint(model: MusicModel) -> str:
    """Return twelve hexadecimal digits that identify a model: a hash of shapes and some weights.

    It does not depend on the dtype in which a checkpoint stores the weights, as long as loading
    gives the same numbers.
    """
    digest = hashlib.sha256()
    for name, value in sorted(model.network.state_dict().items()):
        digest.update(f"{name} {list(value.shape)}".encode())
        values = value.detach().flatten()[:_NUMBERS_PER_TENSOR]
        digest.update(values.to("cpu", torch.float32).numpy().tobytes())
    return digest.hexdigest()[:12]


def mix_styles(styles: Sequence[Style], weights: Sequence[float] | None = None) -> Style:
    """Return a weighted sum of styles of one model.

    Args:
        styles: At least one.
        weights: One for each style, with any sum; equal weights with sum 1 when None.

    Raises:
        InputError: If the numbers of styles and weights differ, or the styles are for different
            models.
    """
    if not styles:
        raise InputError("there is nothing to mix: give at least one style, got 0")
    factors = [1 / len(styles)] * len(styles) if weights is None else list(weights)
    if len(factors) != len(styles):
        raise InputError(f"{len(styles)} styles, but {len(factors)} weights: give one for each")
    first = styles[0]
    for style in styles[1:]:
        if style.wkv.shape != first.wkv.shape or style.base != first.base:
            raise InputError(
                f"the styles belong to different models ({first.base or 'unnamed'} with "
                f"{list(first.wkv.shape)}, {style.base or 'unnamed'} with "
                f"{list(style.wkv.shape)}): mix styles of one model"
            )
    mixed = sum(factor * style.wkv for factor, style in zip(factors, styles, strict=True))
    notes = {"mixed": [dict(style.notes) for style in styles], "weights": factors}
    return Style(torch.as_tensor(mixed), first.base, notes)


def save_style(style: Style, path: str | Path) -> Path:
    """Write a style into a safetensors file, atomically and with a checksum.

    Raises:
        CheckpointError: If the file cannot be written.
    """
    path = Path(path)
    header = {"format": _FORMAT, "base": style.base, "notes": json.dumps(dict(style.notes))}
    write_safetensors({"wkv": style.wkv.float()}, path, header)
    return path


def load_style(path: str | Path, model: MusicModel) -> Style:
    """Read a style for a model.

    Args:
        path: A file of `save_style`, or a state file (.pth) of RWKV-PEFT.
        model: The model that will use it.

    Raises:
        CheckpointError: If the file is missing, damaged, holds a NaN, or is not a style.
        InputError: If it belongs to another model.
    """
    path = Path(path)
    require_model_file(path)
    if is_torch_file(path):
        layers = load_state(path, model.config).layers
        return Style(torch.cat([layer.wkv for layer in layers]), base="", notes={"file": path.name})
    header, stored = read_safetensors_header(path)
    if header.get("format") != _FORMAT or set(stored) != {"wkv"}:
        raise CheckpointError(
            f"{path} is not a style file (its format is {header.get('format')!r}, expected "
            f"{_FORMAT!r}): load a model with load_model; styles are made by rwkv-music tune"
        )
    Style(stored["wkv"], base="").check_fits(model)  # its shape, before it is read
    _, tensors = read_safetensors(path)
    check_numbers(path, tensors)
    style = Style(tensors["wkv"].float(), header.get("base", ""), _read_notes(path, header))
    style.check_fits(model)
    return style


def _read_notes(path: Path, header: Mapping[str, str]) -> dict[str, Any]:
    try:
        notes = json.loads(header.get("notes", "{}"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: its notes are not valid JSON ({error}): copy it again"
        ) from error
    return notes if isinstance(notes, dict) else {}
