"""RWKV-7 ("x070"): token shift, the WKV recurrence, and a squared-ReLU channel mixing.

Parameter names and shapes are those of the official checkpoints. Low-rank matrices are applied as
`x @ w1 @ w2`. B sequences, T tokens, C channels, H heads of N channels, V vocabulary entries.

Source: Peng et al., "RWKV-7 'Goose' with Expressive Dynamic State Evolution", arXiv:2503.14456.
"""

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from jaxtyping import Float, Int
from torch import Tensor, nn

from rwkv_music.model.config import ModelConfig
from rwkv_music.model.state import LayerState, ModelState
from rwkv_music.ops.wkv7 import wkv7

_GROUP_NORM_EPS = 64e-5
_NORMALISE_EPS = 1e-12

Hidden = Float[Tensor, "B T C"]


def _empty(*shape: int) -> nn.Parameter:
    """A parameter to be filled by `initialize` or a checkpoint."""
    return nn.Parameter(torch.zeros(*shape))


def _matrix(inputs: int, outputs: int) -> nn.Linear:
    return nn.Linear(inputs, outputs, bias=False)


def _shift(x: Hidden, before: Float[Tensor, "B C"]) -> Hidden:
    """Each token's predecessor minus the token itself; `before` is the first one's predecessor."""
    return torch.cat([before.to(x.dtype).unsqueeze(1), x[:, :-1]], dim=1) - x


class TimeMixing(nn.Module):
    """Mixes over time through the WKV state.

    Args:
        config: Sizes.
        layer: Index of the layer; layer 0 provides the value that later ones mix in.
    """

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        width = config.width
        self.config = config
        self.x_r, self.x_w, self.x_k = (_empty(1, 1, width) for _ in range(3))
        self.x_v, self.x_a, self.x_g = (_empty(1, 1, width) for _ in range(3))
        self.w0, self.a0 = _empty(1, 1, width), _empty(1, 1, width)
        self.k_k, self.k_a = _empty(1, 1, width), _empty(1, 1, width)
        self.w1, self.w2 = _empty(width, config.decay_width), _empty(config.decay_width, width)
        self.a1, self.a2 = _empty(width, config.rate_width), _empty(config.rate_width, width)
        if layer > 0:
            self.v0 = _empty(1, 1, width)
            self.v1, self.v2 = _empty(width, config.value_width), _empty(config.value_width, width)
        self.has_own_value = layer == 0
        self.g1, self.g2 = _empty(width, config.gate_width), _empty(config.gate_width, width)
        self.r_k = _empty(config.num_heads, config.head_size)
        self.receptance = _matrix(width, width)
        self.key = _matrix(width, width)
        self.value = _matrix(width, width)
        self.output = _matrix(width, width)
        self.ln_x = nn.GroupNorm(config.num_heads, width, eps=_GROUP_NORM_EPS)

    def forward(
        self, x: Hidden, value_first: Hidden | None, state: LayerState
    ) -> tuple[Hidden, Hidden, Float[Tensor, "B H N N"]]:
        """Outputs, the first layer's value, and the WKV state after the last token."""
        change = _shift(x, state.time_shift)
        decay_logit = self.w0 + torch.tanh((x + change * self.x_w) @ self.w1) @ self.w2
        r = self.receptance(x + change * self.x_r)
        k = self.key(x + change * self.x_k)
        v_input = x + change * self.x_v
        v = self.value(v_input)
        if value_first is None:
            value_first = v
        else:
            share = torch.sigmoid(self.v0 + (v_input @ self.v1) @ self.v2)
            v = v + (value_first - v) * share
        rate = torch.sigmoid(self.a0 + ((x + change * self.x_a) @ self.a1) @ self.a2)
        gate = torch.sigmoid((x + change * self.x_g) @ self.g1) @ self.g2

        removal = F.normalize(self._heads(k * self.k_k), dim=-1, eps=_NORMALISE_EPS)
        k = k * (1 + (rate - 1) * self.k_a)
        # The recurrence runs in the precision of its state, also under autocast.
        r, decay_logit, k, v, rate, removal = (
            each.to(state.wkv.dtype)
            for each in (*map(self._heads, (r, decay_logit, k, v, rate)), removal)
        )
        y, wkv = wkv7(r, decay_logit, k, v, -removal, removal * rate, state.wkv)
        bonus = (r * k * self.r_k).sum(-1, keepdim=True) * v
        y = self.ln_x(y.flatten(0, 1).flatten(1)).view_as(x) + bonus.flatten(2)
        return self.output(y * gate), value_first, wkv

    def _heads(self, x: Hidden) -> Float[Tensor, "B T H N"]:
        heads: Tensor = x.unflatten(-1, (self.config.num_heads, self.config.head_size))
        return heads


class ChannelMixing(nn.Module):
    """Mixes channels: one hidden layer of four times the width, squared ReLU."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.x_k = _empty(1, 1, config.width)
        self.key = _matrix(config.width, 4 * config.width)
        self.value = _matrix(4 * config.width, config.width)

    def forward(self, x: Hidden, before: Float[Tensor, "B C"]) -> Hidden:
        """Outputs; `before` is the input of the token before the first."""
        hidden = F.relu(self.key(x + _shift(x, before) * self.x_k))
        mixed: Tensor = self.value(hidden * hidden)
        return mixed


class Block(nn.Module):
    """One layer: time mixing, then channel mixing, each behind a LayerNorm and added back."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        if layer == 0:
            self.ln0 = nn.LayerNorm(config.width)
        self.is_first = layer == 0
        self.ln1 = nn.LayerNorm(config.width)
        self.ln2 = nn.LayerNorm(config.width)
        self.att = TimeMixing(config, layer)
        self.ffn = ChannelMixing(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, x: Hidden, value_first: Hidden | None, state: LayerState
    ) -> tuple[Hidden, Hidden, LayerState]:
        """Outputs, the first layer's value, and the layer's state after the last token."""
        if self.is_first:
            x = self.ln0(x)
        time_input = self.ln1(x)
        mixed, value_first, wkv = self.att(time_input, value_first, state)
        x = x + self.dropout(mixed)
        channel_input = self.ln2(x)
        x = x + self.dropout(self.ffn(channel_input, state.channel_shift))
        after = LayerState(time_input[:, -1], wkv, channel_input[:, -1])
        return x, value_first, after


class RWKV7(nn.Module):
    """The whole model: token ids in, logits and state out.

    Parameters are zeros until `rwkv_music.model.initialize` or a checkpoint fills them.

    Args:
        config: Sizes.

    Example:
        >>> model = RWKV7(ModelConfig(vocab_size=16, num_layers=1, width=64))
        >>> logits, state = model(torch.zeros(2, 5, dtype=torch.int64))
        >>> logits.shape
        torch.Size([2, 5, 16])
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.tokenizer_settings: dict[str, int] | None = None
        """Settings of the tokenizer whose ids the model reads; a checkpoint carries them."""
        self.metadata: dict[str, Any] = {}
        """What else its checkpoint said of it."""
        self.emb = nn.Embedding(config.vocab_size, config.width)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.num_layers))
        self.ln_out = nn.LayerNorm(config.width)
        self.head = _matrix(config.width, config.vocab_size)

    def hidden(
        self, ids: Int[Tensor, "B T"], state: ModelState | None = None
    ) -> tuple[Hidden, ModelState]:
        """What the head reads at each position, and the state after the last token.

        Args:
            ids: Token ids.
            state: What came before; nothing when None.
        """
        if state is None:
            weight = self.emb.weight
            state = ModelState.zeros(
                self.config, len(ids), device=weight.device, dtype=weight.dtype
            )
        x = self.emb(ids)
        value_first: Tensor | None = None
        after = []
        for block, layer in zip(self.blocks, state.layers, strict=True):
            x, value_first, layer_after = block(x, value_first, layer)
            after.append(layer_after)
        return self.ln_out(x), ModelState(tuple(after))

    def forward(
        self, ids: Int[Tensor, "B T"], state: ModelState | None = None
    ) -> tuple[Float[Tensor, "B T V"], ModelState]:
        """Logits of the token after each position, and the state after the last token."""
        hidden, after = self.hidden(ids, state)
        return self.head(hidden), after

    def step(
        self, ids: Int[Tensor, " B"], state: ModelState
    ) -> tuple[Float[Tensor, "B V"], ModelState]:
        """Read one token per sequence: memory and time do not depend on what came before."""
        logits, after = self.forward(ids.unsqueeze(1), state)
        return logits.squeeze(1), after
