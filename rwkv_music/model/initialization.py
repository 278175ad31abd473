"""The official initial weights of RWKV-7, which its author considers a part of the model.

Half of the matrices begin at or near zero, so that each block begins as the identity; the vectors
spread decay and token shift over channels and layers.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from rwkv_music.model.model_config import ModelConfig
from rwkv_music.model.rwkv7 import RWKV7, Block, TimeMixing

_LOW_RANK_GAIN = 0.1


class SkippedInitialization(TorchFunctionMode):
    """Leaves out torch's own initialization of modules, for weights that are loaded anyway.

    On the device "meta" it would import torch._dynamo and sympy.
    """

    def __torch_function__(
        self,
        function: Callable[..., Any],
        _types: Sequence[type],
        arguments: Sequence[Any] = (),
        named: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - of any function
        """Return the tensor of a function of `torch.nn.init` unchanged; call all others."""
        named = named or {}
        if getattr(function, "__module__", "") == "torch.nn.init":
            return named["tensor"] if "tensor" in named else arguments[0]
        return function(*arguments, **named)


def without_weights(config: ModelConfig) -> RWKV7:
    """Return a model on the device "meta": shapes only, to be filled by `load_state_dict`."""
    with torch.device("meta"), SkippedInitialization():
        return RWKV7(config)


@torch.no_grad()
def initialize(model: RWKV7, *, seed: int) -> None:
    """Fill every parameter with its official initial value.

    Args:
        model: On the CPU; changed in place.
        seed: Seed of the random values; torch's global generator is not used.
    """
    generator = torch.Generator().manual_seed(seed)
    config = model.config
    nn.init.uniform_(model.emb.weight, -1e-4, 1e-4, generator=generator)
    gain = 0.5 * math.sqrt(max(1.0, config.vocab_size / config.dim))
    _orthogonal(model.head.weight, gain, generator)
    for layer, block in enumerate(model.blocks):
        assert isinstance(block, Block)
        _initialize_time_mixing(block.att, config, layer, generator)
        rising = torch.arange(config.dim) / config.dim
        toward_end = 1 - layer / config.num_layers
        block.ffn.x_k.copy_((1 - rising ** (toward_end**4)).view(1, 1, -1))
        _orthogonal(block.ffn.key.weight, 1.0, generator)
        block.ffn.value.weight.zero_()
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.reset_parameters()


@torch.no_grad()
def unused_value_branch(config: ModelConfig) -> tuple[Tensor, Tensor, Tensor]:
    """Return layer 0's v0, v1 and v2 as the official trainer initializes them; no model uses them.

    Args:
        config: Sizes: the shapes are [1, 1, C], [C, D] and [D, C].
    """
    inner, dim = config.v_low_rank_dim, config.dim
    second = torch.empty(inner, dim)
    _orthogonal_second(second, torch.Generator().manual_seed(0))
    return _value_bias(dim).view(1, 1, -1), torch.zeros(dim, inner), second


def _initialize_time_mixing(
    att: TimeMixing, config: ModelConfig, layer: int, generator: torch.Generator
) -> None:
    dim = config.dim
    depth = layer / max(1, config.num_layers - 1)
    toward_end = 1 - layer / config.num_layers
    channel = torch.arange(dim)
    rising = channel / dim
    linear = _linear(dim)
    middle = (config.head_size - 1) / 2
    within_head = (channel % config.head_size - middle) / middle
    zigzag = within_head * within_head.abs()

    vectors = {
        "x_r": 1 - rising ** (0.2 * toward_end),
        "x_g": 1 - rising ** (0.2 * toward_end),
        "x_w": 1 - rising ** (0.9 * toward_end),
        "x_a": 1 - rising ** (0.9 * toward_end),
        "x_k": 1 - rising ** (0.7 * toward_end),
        "x_v": 1 - rising ** (0.7 * toward_end),
        "w0": -6 + 6 * (channel / (dim - 1)) ** (1 + depth**0.3) + 0.5 + 2.5 * zigzag,
        "a0": -0.19 + 0.3 * zigzag + 0.4 * linear,
        "k_k": 0.71 - 0.1 * linear,
        "k_a": torch.full((dim,), 1.02),
    }
    if not att.is_first:
        vectors["v0"] = _value_bias(dim)
    for name, values in vectors.items():
        att.get_parameter(name).copy_(values.view(1, 1, -1))
    att.r_k.fill_(-0.04)

    for branch in "wag" if att.is_first else "wavg":
        att.get_parameter(f"{branch}1").zero_()
        _orthogonal_second(att.get_parameter(f"{branch}2"), generator)
    _orthogonal(att.receptance.weight, 1.0, generator)
    _orthogonal(att.key.weight, 0.1, generator)
    _orthogonal(att.value.weight, 1.0, generator)
    att.output.weight.zero_()
    att.ln_x.weight.fill_(((layer + 1) / config.num_layers) ** 0.7)
    att.ln_x.bias.zero_()


def _linear(dim: int) -> Tensor:
    """Return values from -0.5 to 0.5 over the channels."""
    return torch.arange(dim) / (dim - 1) - 0.5


def _value_bias(dim: int) -> Tensor:
    return 0.73 - 0.4 * _linear(dim)


def _orthogonal_second(matrix: Tensor, generator: torch.Generator) -> None:
    """Initialize the second matrix of a low-rank branch."""
    rows, columns = matrix.shape
    _orthogonal(matrix, _LOW_RANK_GAIN * math.sqrt(max(1.0, rows / columns)), generator)


def _orthogonal(matrix: Tensor, gain: float, generator: torch.Generator) -> None:
    nn.init.orthogonal_(matrix, gain=gain, generator=generator)
