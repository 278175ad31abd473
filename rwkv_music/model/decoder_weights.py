"""Weights of a model for decoding: rounded, and packed for the native library."""

from collections.abc import Iterator
from dataclasses import replace

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

from rwkv_music.model.initialization import without_weights
from rwkv_music.model.rwkv7 import RWKV7, Block
from rwkv_music.ops.decoding import (
    NativeLayer,
    NativeModel,
    PackedMatrix,
    contiguous_copies,
    dequantized,
    pack,
)

_LARGE_OF_TIME_MIXING = ("receptance", "key", "value", "output")
_LARGE = (
    *(f"att.{name}.weight" for name in _LARGE_OF_TIME_MIXING),
    *("ffn.key.weight", "ffn.value.weight", "head.weight"),
)
_LOW_RANK = ("w1", "w2", "a1", "a2", "v1", "v2", "g1", "g2")


def rounded_model(model: RWKV7, precision: str) -> RWKV7:
    """Return a float32 copy of a model whose matrices are rounded as for native decoding.

    No random numbers are used: sampling in the middle of a training run must not change its
    dropout.
    """
    copy = without_weights(model.config)
    weights = {name: value.detach().float().clone() for name, value in model.state_dict().items()}
    for name, stored_as in _matrices(model, precision):
        # Quantization has one scale per output: a row, but in low-rank matrices a column.
        if _is_low_rank(name):
            weights[name] = dequantized(weights[name].mT, stored_as).mT.contiguous()
        else:
            weights[name] = dequantized(weights[name], stored_as)
    copy.load_state_dict(weights, assign=True)
    return copy.eval().requires_grad_(requires_grad=False)


def native_model(model: RWKV7, precision: str) -> NativeModel:
    """Pack a model for the native library."""
    packed: dict[str, PackedMatrix] = {}
    for name, stored_as in _matrices(model, precision):
        weight = model.get_parameter(name)
        packed[name] = pack(weight.mT if _is_low_rank(name) else weight, stored_as)
    panels = contiguous_copies({name: matrix.panels for name, matrix in packed.items()})
    packed = {name: replace(matrix, panels=panels[name]) for name, matrix in packed.items()}
    first = model.blocks[0]
    assert isinstance(first, Block)
    embedding = F.layer_norm(
        model.emb.weight.float(), first.ln0.weight.shape, _vector(first.ln0.weight),
        _vector(first.ln0.bias), first.ln0.eps,
    )  # fmt: skip
    return NativeModel(
        [_native_layer(model, layer, packed) for layer in range(model.config.num_layers)],
        embedding.detach().contiguous(),
        _vector(model.ln_out.weight),
        _vector(model.ln_out.bias),
        packed["head.weight"],
    )


def _matrices(model: RWKV7, precision: str) -> Iterator[tuple[str, str]]:
    """Yield the names of all matrices except the embedding, with their precisions."""
    for name, _ in model.named_parameters():
        if _is_low_rank(name):
            yield name, "bfloat16" if precision == "int8" else precision
        elif name.endswith(_LARGE):
            yield name, precision


def _is_low_rank(name: str) -> bool:
    return ".att." in name and name.endswith(_LOW_RANK)


def _native_layer(model: RWKV7, layer: int, packed: dict[str, PackedMatrix]) -> NativeLayer:
    block = model.blocks[layer]
    assert isinstance(block, Block)
    att = f"blocks.{layer}.att"
    large = {name: packed[f"{att}.{name}.weight"] for name in _LARGE_OF_TIME_MIXING}
    low_rank = {
        f"{name}{order}": packed[f"{att}.{letter}{order}"]
        for name, letter in (("decay", "w"), ("rate", "a"), ("gate", "g"))
        for order in (1, 2)
    }
    mixes = [mix.flatten() for mix in block.att.mixes()]
    parameters = block.att.head_parameters().by_head(model.config.num_heads)
    return NativeLayer(
        norm1_weight=_vector(block.ln1.weight),
        norm1_bias=_vector(block.ln1.bias),
        norm2_weight=_vector(block.ln2.weight),
        norm2_bias=_vector(block.ln2.bias),
        mixes=_vector(torch.stack(mixes)),
        channel_mix=_vector(block.ffn.x_k.flatten()),
        parameters=_vector(parameters),
        **large,
        **low_rank,
        residual1=packed.get(f"{att}.v1"),
        residual2=packed.get(f"{att}.v2"),
        channel_key=packed[f"blocks.{layer}.ffn.key.weight"],
        channel_value=packed[f"blocks.{layer}.ffn.value.weight"],
    )


def _vector(parameter: Tensor) -> Tensor:
    return parameter.detach().float().clone().contiguous()
