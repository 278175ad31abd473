"""RWKV-7's time mixing between its matrix products: from keys and rates to the gated output.

`mix_heads` is the door. `composed` writes it in PyTorch around `wkv7`; the native library does all
of it in one pass over each head, which halves a training step on a CPU.
"""

from rwkv_music.ops.time_mixing.composed import GROUP_NORM_EPS, HeadParameters, Mixed, mix_heads

__all__ = ["GROUP_NORM_EPS", "HeadParameters", "Mixed", "mix_heads"]
