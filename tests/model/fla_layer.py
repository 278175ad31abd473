"""Our time mixing beside flash-linear-attention's RWKV-7 layer, whose kernels Triton interprets.

    TRITON_INTERPRET=1 python -m tests.model.fla_layer

prints, for each layer of a small model with every parameter moved from its initial value, the
largest difference of the outputs and the largest output. Triton decides when it is imported whether
it interprets, so that this runs in a process of its own.
"""

import json
import warnings

import torch
import triton.runtime.autotuner
from torch import Tensor

from rwkv_music.model import RWKV7, ModelConfig, ModelState, initialize
from rwkv_music.model.rwkv7 import TimeMixing

SIZES = ModelConfig(vocab_size=16, num_layers=2, dim=128)
BATCH, STEPS = 2, 40
"""Below 64 steps, and without gradients, the layer takes its recurrent kernel."""


def fla_weights(ours: TimeMixing) -> dict[str, Tensor]:
    """Our parameters under the layer's names, its low-rank matrices being transposed."""
    weights = {name: getattr(ours, f"x_{name}") for name in "rwkvag"}
    weights = {f"x_{name}": value for name, value in weights.items()}
    weights |= {"k_k": ours.k_k, "k_a": ours.k_a, "r_k": ours.r_k}
    matrices = {"r": ours.receptance, "k": ours.key, "v": ours.value, "o": ours.output}
    weights |= {f"{name}_proj.weight": matrix.weight for name, matrix in matrices.items()}
    weights |= {"g_norm.weight": ours.ln_x.weight, "g_norm.bias": ours.ln_x.bias}
    for name in "wag" if ours.is_first else "wagv":
        weights[f"{name}_lora.lora.0.weight"] = getattr(ours, f"{name}1").T
        weights[f"{name}_lora.lora.2.weight"] = getattr(ours, f"{name}2").T
        if name != "g":
            weights[f"{name}_lora.lora.2.bias"] = getattr(ours, f"{name}0")
    return weights


def fla_layer(ours: TimeMixing, number: int) -> torch.nn.Module:
    """The layer with our parameters; a name that only one of us has is an error."""
    from fla.layers.rwkv7 import RWKV7Attention

    layer = RWKV7Attention(
        hidden_size=SIZES.dim,
        head_dim=SIZES.head_size,
        layer_idx=number,
        num_hidden_layers=SIZES.num_layers,
        fuse_norm=False,
        decay_low_rank_dim=SIZES.decay_low_rank_dim,
        a_low_rank_dim=SIZES.a_low_rank_dim,
        v_low_rank_dim=SIZES.v_low_rank_dim,
        gate_low_rank_dim=SIZES.gate_low_rank_dim,
    ).eval()
    weights = fla_weights(ours)
    own = dict(layer.named_parameters())
    assert set(own) == set(weights), set(own) ^ set(weights)
    for name, value in weights.items():
        own[name].copy_(value.reshape(own[name].shape))
    return layer


@torch.no_grad()
def differences() -> list[tuple[float, float]]:
    """Per layer, the largest difference and the largest output."""
    model = RWKV7(SIZES)
    initialize(model, seed=0)
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
    x = torch.randn(BATCH, STEPS, SIZES.dim, generator=generator)
    our_first = their_first = None
    actual = []
    for index, block in enumerate(model.blocks):
        start = ModelState.zeros(SIZES, BATCH).layers[index]
        ours, our_first, _, _ = block.att(x, block.ln1, our_first, start)
        theirs, *_, their_first = fla_layer(block.att, index)(block.ln1(x), v_first=their_first)
        actual.append((float((ours - theirs).abs().max()), float(ours.abs().max())))
    return actual


if __name__ == "__main__":
    # The tuner would time its candidates on a GPU; interpreted, any of them does.
    triton.runtime.autotuner.Autotuner._bench = lambda *_args, **_settings: [1.0] * 3
    warnings.simplefilter("ignore")  # of a GPU that is not there, and of older versions
    print(json.dumps(differences()))
