"""Styles: tuned initial states, small files that make a model begin as if it had heard some music.

An RWKV model without a past begins with WKV matrices of zeros. A style replaces these zeros and
nothing else, so it can be switched off (strength 0), weakened, and mixed with others: all of that
is arithmetic on the matrices.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from rwkv_music.errors import CheckpointError, InputError
from rwkv_music.model.music_model import MusicModel
from rwkv_music.model.state import ModelState
from rwkv_music.model.state_exchange import load_state
from rwkv_music.model.tensor_files import checkpoint_aside

_FORMAT = "rwkv-music style 1"
_NUMBERS_PER_TENSOR = 256


@dataclass(frozen=True)
class Style:
    """The initial state of one model, and where it comes from.

    Example:
        >>> style = load_style("ragtime.style")  # doctest: +SKIP
        >>> continue_score(model, "prompt.mid", style=style.scaled(0.5))  # doctest: +SKIP
    """

    wkv: Float[Tensor, "L H N N"]
    """[layer, head, value, key], in float32."""
    base: str
    """`fingerprint` of the model it belongs to; empty when the file did not say."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """How it was made: files, settings, figures."""

    @property
    def num_values(self) -> int:
        """Numbers in it."""
        return self.wkv.numel()

    def scaled(self, strength: float) -> "Style":
        """The same style, weaker or stronger: 0 is the bare model, 1 the style as it was tuned."""
        return replace(self, wkv=strength * self.wkv)

    def state(self, model: MusicModel, batch_size: int = 1) -> ModelState:
        """The state to begin with, on the model's device.

        Raises:
            InputError: If the style belongs to another model.
        """
        self.check_fits(model)
        weight = model.network.emb.weight
        wkv = self.wkv.to(weight.device)
        return ModelState.beginning(wkv, model.config, batch_size, dtype=weight.dtype)

    def check_fits(self, model: MusicModel) -> None:
        """Refuse a model other than the one the style was tuned for.

        Raises:
            InputError: Names both.
        """
        config = model.config
        shape = [config.num_layers, config.num_heads, config.head_size, config.head_size]
        if list(self.wkv.shape) != shape:
            raise InputError(
                f"the style has matrices of {list(self.wkv.shape)} (layers, heads, values, keys), "
                f"the model {shape}: it was tuned for another model; load that one"
            )
        found = fingerprint(model)
        if self.base not in ("", found):
            raise InputError(
                f"the style was tuned for the model {self.base}, this one is {found}: load that "
                "model, or tune again"
            )


def fingerprint(model: MusicModel) -> str:
    """Twelve hexadecimal digits that tell models apart: a hash of shapes and of some weights.

    It does not depend on the dtype in which a checkpoint stored the weights, as long as loading
    gives the same numbers.
    """
    digest = hashlib.sha256()
    for name, value in sorted(model.network.state_dict().items()):
        digest.update(f"{name} {list(value.shape)}".encode())
        some = value.detach().flatten()[:_NUMBERS_PER_TENSOR]
        digest.update(some.to("cpu", torch.float32).numpy().tobytes())
    return digest.hexdigest()[:12]


def mix_styles(styles: Sequence[Style], weights: Sequence[float] | None = None) -> Style:
    """A weighted sum of styles of one model.

    Args:
        styles: At least one.
        weights: One for each, in any sum; equal shares that sum to 1 when None.

    Raises:
        InputError: If the numbers of styles and weights differ, or the styles' models do.
    """
    if not styles:
        raise InputError("there is nothing to mix: give at least one style, got 0")
    shares = [1 / len(styles)] * len(styles) if weights is None else list(weights)
    if len(shares) != len(styles):
        raise InputError(f"{len(styles)} styles, but {len(shares)} weights: give one for each")
    first = styles[0]
    for style in styles[1:]:
        if style.wkv.shape != first.wkv.shape or style.base != first.base:
            raise InputError(
                f"the styles belong to different models ({first.base or 'unnamed'} with "
                f"{list(first.wkv.shape)}, {style.base or 'unnamed'} with "
                f"{list(style.wkv.shape)}): mix styles of one model"
            )
    mixed = sum(share * style.wkv for share, style in zip(shares, styles, strict=True))
    notes = {"mixed": [dict(style.notes) for style in styles], "weights": shares}
    return Style(torch.as_tensor(mixed), first.base, notes)


def save_style(style: Style, path: str | Path) -> Path:
    """Write a style into one safetensors file: aside first, then renamed.

    Raises:
        CheckpointError: If the place cannot be written to.
    """
    path = Path(path)
    header = {"format": _FORMAT, "base": style.base, "notes": json.dumps(dict(style.notes))}
    with checkpoint_aside(path) as partial:
        save_file({"wkv": style.wkv.detach().float().cpu().contiguous()}, partial, header)
    return path


def load_style(path: str | Path, model: MusicModel) -> Style:
    """Read a style for a model.

    Args:
        path: What `save_style` wrote, or a .pth of RWKV-PEFT's state tuning.
        model: The one that will use it.

    Raises:
        CheckpointError: If the file is missing, damaged or no style.
        InputError: If it belongs to another model.
    """
    path = Path(path)
    if path.suffix == ".pth":
        layers = load_state(path, model.config).layers
        return Style(torch.cat([layer.wkv for layer in layers]), base="", notes={"file": path.name})
    if not path.is_file():
        raise CheckpointError(f"there is no style file {path}: check the path")
    try:
        with safe_open(path, framework="pt") as stored:
            header = stored.metadata() or {}
            if header.get("format") != _FORMAT:
                raise CheckpointError(
                    f"{path} is no style file (its format is {header.get('format')!r}, expected "
                    f"{_FORMAT!r}): give a style that rwkv-music tune made; a "
                    "model is loaded by load_model"
                )
            style = Style(stored.get_tensor("wkv"), header["base"], json.loads(header["notes"]))
    except SafetensorError as error:
        raise CheckpointError(
            f"{path} is not a whole style file ({error}): copy it again"
        ) from error
    style.check_fits(model)
    return style
