"""RWKV-7 ("x070"): token shift, the WKV recurrence, and a squared-ReLU channel mixing.

Source: Peng et al., "RWKV-7 'Goose' with Expressive Dynamic State Evolution", arXiv:2503.14456,
section 4. Parameter names and shapes are those of the official checkpoints; low-rank matrices are
applied as `x @ w1 @ w2`. B sequences, T tokens, C channels in H heads of N, V vocabulary entries.
"""

from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from rwkv_music.errors import InputError
from rwkv_music.model.model_config import ModelConfig
from rwkv_music.model.state import LayerState, ModelState
from rwkv_music.ops.checks import check_finite, check_shape
from rwkv_music.ops.fused_layers import (
    HeadParameters,
    TimeMixingWeights,
    fused_channel_mixing,
    fused_time_mixing,
    has_fused_layers,
)
from rwkv_music.ops.recompute import recompute_disabled, recomputed
from rwkv_music.ops.wkv7 import wkv7

LAYER_NORM_EPS = 1e-5
GROUP_NORM_EPS = 64e-5
NORMALIZE_EPS = 1e-12

Hidden = Float[Tensor, "B T C"]
Resets = Bool[Tensor, "B T"] | None
"""True where a piece begins inside a packed sequence: nothing came before that token."""


def _empty(*shape: int) -> nn.Parameter:
    """Return a parameter of zeros, to be filled by `initialize` or a checkpoint."""
    return nn.Parameter(torch.zeros(*shape))


def _matrix(inputs: int, outputs: int) -> nn.Linear:
    return nn.Linear(inputs, outputs, bias=False)


def _layer_norm(dim: int) -> nn.LayerNorm:
    return nn.LayerNorm(dim, eps=LAYER_NORM_EPS)


def token_shift(
    x: Hidden,
    norm: nn.LayerNorm,
    mixes: Sequence[Tensor],
    before: Float[Tensor, "B C"],
    resets: Resets = None,
) -> tuple[list[Hidden], Float[Tensor, "B C"]]:
    """With n = norm(x), return lerp(n_t, n_{t-1}, mu) for each mu of `mixes`, and the last n.

    Args:
        x: Hidden states.
        norm: The LayerNorm in front of the layer.
        mixes: Shares of the previous token, [C] or [1, 1, C] each.
        before: n of the token before the first one; zeros at the beginning of a piece.
        resets: See `Resets`.
    """
    n = norm(x)
    n_before = torch.cat([before.to(n.dtype).unsqueeze(1), n[:, :-1]], dim=1)
    if resets is not None:
        n_before = n_before * (~resets).unsqueeze(-1)
    change = n_before - n
    return [n + change * mu for mu in mixes], n[:, -1]


class TimeMixing(nn.Module):
    """Mixes over time through the WKV state.

    Args:
        config: Sizes.
        layer: Index of the layer. Layer 0 provides `v_first`, the value that later layers mix in.
    """

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        dim = config.dim
        self.config = config
        self.x_r, self.x_w, self.x_k = (_empty(1, 1, dim) for _ in range(3))
        self.x_v, self.x_a, self.x_g = (_empty(1, 1, dim) for _ in range(3))
        self.w0, self.a0 = _empty(1, 1, dim), _empty(1, 1, dim)
        self.k_k, self.k_a = _empty(1, 1, dim), _empty(1, 1, dim)
        self.w1 = _empty(dim, config.decay_low_rank_dim)
        self.w2 = _empty(config.decay_low_rank_dim, dim)
        self.a1, self.a2 = _empty(dim, config.a_low_rank_dim), _empty(config.a_low_rank_dim, dim)
        if layer > 0:
            self.v0 = _empty(1, 1, dim)
            self.v1 = _empty(dim, config.v_low_rank_dim)
            self.v2 = _empty(config.v_low_rank_dim, dim)
        self.is_first = layer == 0
        self.g1 = _empty(dim, config.gate_low_rank_dim)
        self.g2 = _empty(config.gate_low_rank_dim, dim)
        self.r_k = _empty(config.num_heads, config.head_size)
        self.receptance = _matrix(dim, dim)
        self.key = _matrix(dim, dim)
        self.value = _matrix(dim, dim)
        self.output = _matrix(dim, dim)
        self.ln_x = nn.GroupNorm(config.num_heads, dim, eps=GROUP_NORM_EPS)

    def forward(
        self,
        x: Hidden,
        norm: nn.LayerNorm,
        v_first: Hidden | None,
        state: LayerState,
        resets: Resets = None,
    ) -> tuple[Hidden, Hidden, Float[Tensor, "B C"], Float[Tensor, "B H N N"]]:
        """Mix over time.

        Args:
            x: The layer's input, before `norm`.
            norm: The LayerNorm in front of the layer.
            v_first: Layer 0's value; None in layer 0 itself.
            state: What the tokens before left.
            resets: See `Resets`.

        Returns:
            Outputs, layer 0's value, the last token's normalized input, and the WKV state after it.
        """
        if has_fused_layers(x, self.config.head_size):
            return self._fused(x, norm, v_first, state, resets)
        shift = partial(token_shift, x, norm, self.mixes(), state.time_shift, resets)
        shifted, last = shift()
        x_r, x_w, x_k, x_v, x_a, x_g = shifted  # [B, T, C] each
        with recomputed(shifted, lambda: shift()[0]):  # in the backward, instead of being kept
            r = self.receptance(x_r)  # receptance
            d = self.w0 + torch.tanh(x_w @ self.w1) @ self.w2  # decay precursor
            k = self.key(x_k)  # key precursor
            v = self.value(x_v)  # value precursor
            a = torch.sigmoid(self.a0 + x_a @ self.a1 @ self.a2)  # in-context learning rate
            g = torch.sigmoid(x_g @ self.g1) @ self.g2  # output gate
            if v_first is None:
                v_first = v
            else:  # value residual: v = lerp(v, v_first, nu)
                v = v + (v_first - v) * torch.sigmoid(self.v0 + x_v @ self.v1 @ self.v2)
        heads = self.r_k.shape
        kappa = F.normalize((k * self.k_k).unflatten(-1, heads), dim=-1, eps=NORMALIZE_EPS)
        k = k * (1 + (a - 1) * self.k_a)  # replacement key

        # wkv_t = wkv_{t-1} (diag(w_t) - kappa_t^T (a_t * kappa_t)) + v_t^T k_t, with the decay
        # w_t = exp(-e^{-1/2} sigmoid(d_t)) and the removal key kappa_t; y_t = wkv_t r_t. In the
        # precision of the state, also under autocast; [B, T, H, N] each.
        r, d, k, v_heads, a = (x.unflatten(-1, heads).to(state.wkv.dtype) for x in (r, d, k, v, a))
        kappa = kappa.to(state.wkv.dtype)
        y, wkv = wkv7(r, d, k, v_heads, -kappa, kappa * a, state.wkv, resets=resets)

        bonus = (r * k * self.r_k).sum(-1, keepdim=True) * v_heads  # for the token itself
        y = self.ln_x(y.flatten(0, 1).flatten(1)).view_as(x) + bonus.flatten(2)
        return self.output(y * g), v_first, last, wkv

    def _fused(
        self,
        x: Hidden,
        norm: nn.LayerNorm,
        v_first: Hidden | None,
        state: LayerState,
        resets: Resets,
    ) -> tuple[Hidden, Hidden, Float[Tensor, "B C"], Float[Tensor, "B H N N"]]:
        """Compute the same with fused kernels up to the output projection."""
        weights = TimeMixingWeights(
            mixes=self.mixes(),
            receptance=self.receptance,
            key=self.key,
            value=self.value,
            decay=(self.w1, self.w2),
            rate=(self.a1, self.a2),
            gate=(self.g1, self.g2),
            value_residual=None if self.is_first else (self.v1, self.v2),
            vectors=self.head_parameters(),
        )
        y, v, last, wkv = fused_time_mixing(
            x, norm, weights, v_first, state.time_shift, state.wkv, resets
        )
        return self.output(y), v if v_first is None else v_first, last, wkv

    def head_parameters(self) -> HeadParameters:
        """Return the learned vectors that act on each channel by itself."""
        w0, a0, k_k, k_a = (vector.flatten() for vector in (self.w0, self.a0, self.k_k, self.k_a))
        v0 = None if self.is_first else self.v0.flatten()
        norm = self.ln_x
        return HeadParameters(w0, a0, v0, k_k, k_a, self.r_k.flatten(), norm.weight, norm.bias)

    def mixes(self) -> tuple[nn.Parameter, ...]:
        """Return the token shift of r, w, k, v, a and g."""
        return self.x_r, self.x_w, self.x_k, self.x_v, self.x_a, self.x_g


class ChannelMixing(nn.Module):
    """Mixes channels: one hidden layer of 4 C channels, squared ReLU."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.head_size = config.head_size
        self.x_k = _empty(1, 1, config.dim)
        self.key = _matrix(config.dim, 4 * config.dim)
        self.value = _matrix(4 * config.dim, config.dim)

    def forward(
        self, x: Hidden, norm: nn.LayerNorm, before: Float[Tensor, "B C"], resets: Resets = None
    ) -> tuple[Hidden, Float[Tensor, "B C"]]:
        """Mix channels.

        Args:
            x: The layer's input, before `norm`.
            norm: The LayerNorm in front of the layer.
            before: The normalized input of the token before the first one.
            resets: See `Resets`.

        Returns:
            Outputs, and the last token's normalized input.
        """
        if has_fused_layers(x, self.head_size):
            return fused_channel_mixing(x, norm, self.x_k, self.key, self.value, before, resets)
        shift = partial(token_shift, x, norm, [self.x_k], before, resets)
        shifted, last = shift()
        with recomputed(shifted, lambda: shift()[0]):
            k = self.key(shifted[0])  # [B, T, 4 C]
        return self.value(torch.relu(k) ** 2), last


class Block(nn.Module):
    """One layer: time mixing, then channel mixing, each with a LayerNorm before and a residual."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        if layer == 0:
            self.ln0 = _layer_norm(config.dim)
        self.is_first = layer == 0
        self.ln1 = _layer_norm(config.dim)
        self.ln2 = _layer_norm(config.dim)
        self.att = TimeMixing(config, layer)
        self.ffn = ChannelMixing(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, x: Hidden, v_first: Hidden | None, state: LayerState, resets: Resets = None
    ) -> tuple[Hidden, Hidden, LayerState]:
        """Return outputs, layer 0's value, and the layer's state after the last token."""
        if self.is_first:
            x = self.ln0(x)
        mixed, v_first, time_shift, wkv = self.att(x, self.ln1, v_first, state, resets)
        x = x + self.dropout(mixed)
        mixed, channel_shift = self.ffn(x, self.ln2, state.channel_shift, resets)
        x = x + self.dropout(mixed)
        return x, v_first, LayerState(time_shift, wkv, channel_shift)


def checkpointed(block: nn.Module) -> Callable[..., Any]:
    """Return the layer with activation checkpointing: the backward computes it again."""
    return partial(
        checkpoint,
        block,
        use_reentrant=False,
        context_fn=lambda: (recompute_disabled(), recompute_disabled()),
    )


def check_layer(index: int, block: nn.Module, x: Hidden, state: LayerState) -> None:
    """Refuse values that are not finite in the inputs and weights of a layer.

    Raises:
        InputError: Names the layer and the tensor.
    """
    layer = f"layer {index}'s "
    states = {f"{layer}{part.name} state": getattr(state, part.name) for part in fields(state)}
    weights = {f"{layer}{name}": weight.detach() for name, weight in block.named_parameters()}
    check_finite({f"{layer}input": x.detach(), **states, **weights})


class RWKV7(nn.Module):
    """The whole network: token ids in, logits and state out.

    Parameters are zeros until `rwkv_music.model.initialize` or a checkpoint fills them.

    Args:
        config: Sizes.

    Example:
        >>> model = RWKV7(ModelConfig(vocab_size=16, num_layers=1, dim=64))
        >>> logits, state = model(torch.zeros(2, 5, dtype=torch.int64))
        >>> logits.shape
        torch.Size([2, 5, 16])
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.activation_checkpointing = False
        """Whether the backward computes each layer again instead of keeping its activations."""
        self.emb = nn.Embedding(config.vocab_size, config.dim)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.num_layers))
        self.ln_out = nn.LayerNorm(config.dim)
        self.head = _matrix(config.dim, config.vocab_size)

    def hidden(
        self,
        ids: Int[Tensor, "B T"],
        state: ModelState | None = None,
        *,
        resets: Resets = None,
        check: bool = False,
    ) -> tuple[Hidden, ModelState]:
        """Return the input of the head at each position, and the state after the last token.

        Args:
            ids: Token ids.
            state: State before the first token; zeros when None.
            resets: True where a piece begins inside a packed sequence.
            check: Refuse values that are not finite, layer by layer.

        Raises:
            InputError: If there are no tokens, or the state or resets have other sizes; with
                `check`, names the first layer and tensor that holds a NaN or an infinity.
        """
        self._check(ids, state, resets)
        return self.hidden_of(self.emb(ids), state, resets=resets, check=check)

    def hidden_of(
        self,
        x: Hidden,
        state: ModelState | None = None,
        *,
        resets: Resets = None,
        check: bool = False,
    ) -> tuple[Hidden, ModelState]:
        """Do as `hidden` does with embeddings instead of token ids."""
        if state is None:
            state = ModelState.zeros(self.config, len(x), device=x.device, dtype=x.dtype)
        v_first: Tensor | None = None
        after = []
        for index, (block, layer) in enumerate(zip(self.blocks, state.layers, strict=True)):
            if check:
                check_layer(index, block, x, layer)
            run = checkpointed(block) if self.activation_checkpointing else block
            x, v_first, layer_after = run(x, v_first, layer, resets)
            after.append(layer_after)
        if check:
            check_finite({"the last layer's output": x})
        return self.ln_out(x), ModelState(tuple(after))

    def _check(self, ids: Tensor, state: ModelState | None, resets: Resets) -> None:
        batch, steps = ids.shape
        if not ids.numel():
            raise InputError(f"the model needs at least one token, got ids of {list(ids.shape)}")
        check_shape("resets", resets, batch, steps)
        if state is None:
            return
        heads, head_size = self.config.num_heads, self.config.head_size
        if len(state.layers) != self.config.num_layers:
            raise InputError(
                f"the state has {len(state.layers)} layers, the model {self.config.num_layers}: "
                "it belongs to another model"
            )
        for layer in state.layers:
            check_shape("the state's wkv", layer.wkv, batch, heads, head_size, head_size)
            for shift in (layer.time_shift, layer.channel_shift):
                check_shape("the state's shift", shift, batch, self.config.dim)

    def forward(
        self,
        ids: Int[Tensor, "B T"],
        state: ModelState | None = None,
        *,
        resets: Resets = None,
        check: bool = False,
    ) -> tuple[Float[Tensor, "B T V"], ModelState]:
        """Return logits of the token after each position, and the state after the last token.

        Arguments and errors are those of `hidden`.
        """
        hidden, after = self.hidden(ids, state, resets=resets, check=check)
        return self.head(hidden), after

    def step(
        self, ids: Int[Tensor, " B"], state: ModelState
    ) -> tuple[Float[Tensor, "B V"], ModelState]:
        """Read one token per sequence; time and memory do not depend on the past."""
        logits, after = self.forward(ids.unsqueeze(1), state)
        return logits.squeeze(1), after
