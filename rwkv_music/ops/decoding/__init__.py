"""One token through a whole model in the native library: what generation repeats.

Called token by token, PyTorch spends its time on dispatching some sixty small operators a layer.
Here a step is one call, and weights may be narrower than float32, since reading them is what a
larger model waits for.
"""

from rwkv_music.ops.decoding.native import NativeLayer, NativeModel, decode_step
from rwkv_music.ops.decoding.pages import in_one_block
from rwkv_music.ops.decoding.weights import PRECISIONS, PackedMatrix, pack, rounded

__all__ = [
    "PRECISIONS",
    "NativeLayer",
    "NativeModel",
    "PackedMatrix",
    "decode_step",
    "in_one_block",
    "pack",
    "rounded",
]
