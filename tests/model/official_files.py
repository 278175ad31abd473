"""Official RWKV-7 files made here, name by name, every number random.

The official initial values would not do: many are zero and hide a mistake.
"""

from pathlib import Path

import torch
from torch import Tensor

VOCAB, WIDTH, LAYERS, HEAD = 29, 128, 3, 64
INNER = {"w": 32, "a": 64, "v": 32, "g": 96}
"""Inner widths, all of them possible and no two rules apart alike."""


def official_weights(
    *,
    inner: dict[str, int] = INNER,
    width: int = WIDTH,
    layers: int = LAYERS,
    block_0_value: bool = True,
    dtype: torch.dtype = torch.bfloat16,
) -> dict[str, Tensor]:
    """What RWKV-LM's trainer stores for a model of these sizes."""
    shapes: dict[str, tuple[int, ...]] = {"emb.weight": (VOCAB, width)}
    for layer in range(layers):
        block = f"blocks.{layer}."
        norms = ("ln0", "ln1", "ln2") if layer == 0 else ("ln1", "ln2")
        for norm in (*norms, "att.ln_x"):
            shapes[f"{block}{norm}.weight"] = shapes[f"{block}{norm}.bias"] = (width,)
        for vector in ("x_r", "x_w", "x_k", "x_v", "x_a", "x_g", "w0", "a0", "k_k", "k_a"):
            shapes[f"{block}att.{vector}"] = (1, 1, width)
        for branch in "wag" if layer == 0 and not block_0_value else "wavg":
            shapes[f"{block}att.{branch}1"] = (width, inner[branch])
            shapes[f"{block}att.{branch}2"] = (inner[branch], width)
        if layer > 0 or block_0_value:
            shapes[f"{block}att.v0"] = (1, 1, width)
        shapes[f"{block}att.r_k"] = (width // HEAD, HEAD)
        for matrix in ("receptance", "key", "value", "output"):
            shapes[f"{block}att.{matrix}.weight"] = (width, width)
        shapes[f"{block}ffn.x_k"] = (1, 1, width)
        shapes[f"{block}ffn.key.weight"] = (4 * width, width)
        shapes[f"{block}ffn.value.weight"] = (width, 4 * width)
    shapes |= {"ln_out.weight": (width,), "ln_out.bias": (width,), "head.weight": (VOCAB, width)}
    generator = torch.Generator().manual_seed(5)
    return {name: _random(name, shape, generator).to(dtype) for name, shape in shapes.items()}


def _random(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Scaled so that activations and logits stay near 1; norms scatter around 1."""
    values = torch.randn(shape, generator=generator)
    if name.endswith((".weight", "1", "2")) and len(shape) == 2 and name != "emb.weight":
        return values / max(shape) ** 0.5
    return 1 + 0.2 * values if name.endswith(".weight") and len(shape) == 1 else 0.5 * values


def official_file(folder: Path, weights: dict[str, Tensor] | None = None) -> Path:
    """The weights, or those of `official_weights`, as torch.save writes them."""
    path = folder / "official.pth"
    torch.save(official_weights() if weights is None else weights, path)
    return path
