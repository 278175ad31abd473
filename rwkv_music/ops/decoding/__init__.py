"""One decoding step of a whole model in the native library.

For single tokens, PyTorch spends its time dispatching about sixty small operators per layer. Here a
step is one call, and weights may be narrower than float32, since larger models are limited by
reading them.
"""

from rwkv_music.ops.decoding.native_decoding import (
    NativeLayer,
    NativeModel,
    StepStruct,
    decode_step,
    step_structure,
)
from rwkv_music.ops.decoding.pages import contiguous_copies
from rwkv_music.ops.decoding.weights import PRECISIONS, PackedMatrix, dequantized, pack

__all__ = [
    "PRECISIONS",
    "NativeLayer",
    "NativeModel",
    "PackedMatrix",
    "StepStruct",
    "contiguous_copies",
    "decode_step",
    "dequantized",
    "pack",
    "step_structure",
]
