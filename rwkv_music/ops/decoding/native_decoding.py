"""Structures of the native library for decoding: a model as pointers to packed weights."""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from jaxtyping import Float, Int64
from torch import Tensor

from rwkv_music.native import load_library
from rwkv_music.ops.decoding.weights import PRECISIONS, PackedMatrix
from rwkv_music.ops.tensor_arguments import address


class _Matrix(ctypes.Structure):
    _fields_: ClassVar = [
        ("panels", ctypes.c_void_p),
        ("scales", ctypes.c_void_p),
        ("rows", ctypes.c_int64),
        ("columns", ctypes.c_int64),
        ("type", ctypes.c_int32),
    ]


@dataclass(frozen=True)
class NativeLayer:
    """The weights of one layer, in the order of `DecodeLayer` in `decode.h`."""

    norm1_weight: Tensor
    norm1_bias: Tensor
    norm2_weight: Tensor
    norm2_bias: Tensor
    mixes: Float[Tensor, "6 C"]
    """Token-shift weights of receptance, decay, key, value, rate and gate."""
    channel_mix: Float[Tensor, " C"]
    parameters: Float[Tensor, "H 8 N"]
    """`HeadParameters.by_head`."""
    receptance: PackedMatrix
    key: PackedMatrix
    value: PackedMatrix
    output: PackedMatrix
    decay1: PackedMatrix
    decay2: PackedMatrix
    rate1: PackedMatrix
    rate2: PackedMatrix
    gate1: PackedMatrix
    gate2: PackedMatrix
    residual1: PackedMatrix | None
    """None in the first layer."""
    residual2: PackedMatrix | None
    channel_key: PackedMatrix
    channel_value: PackedMatrix


_NUM_VECTORS = 7
"""The first fields of `NativeLayer` are vectors; matrices follow."""


class _Layer(ctypes.Structure):
    _fields_: ClassVar = [
        (field.name, ctypes.c_void_p if index < _NUM_VECTORS else _Matrix)
        for index, field in enumerate(fields(NativeLayer))
    ]


class _Model(ctypes.Structure):
    _fields_: ClassVar = [
        ("num_layers", ctypes.c_int64),
        ("channels", ctypes.c_int64),
        ("layers", ctypes.POINTER(_Layer)),
        ("embedding", ctypes.c_void_p),
        ("norm_weight", ctypes.c_void_p),
        ("norm_bias", ctypes.c_void_p),
        ("head", _Matrix),
    ]


class StepStruct(ctypes.Structure):
    """`DecodeStep` of decode.h."""

    _fields_: ClassVar = [
        ("model", _Model),
        ("batch", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("ids", "shifts", "wkv", "logits")),
    ]


class NativeModel:
    """A whole model for `decode_step`.

    Args:
        layers: Layers in order.
        embedding: [V, C], with the first layer's ln0 already applied.
        norm_weight: Weight of the norm before the head.
        norm_bias: Bias of the norm before the head.
        head: [V, C].
    """

    def __init__(
        self,
        layers: Sequence[NativeLayer],
        embedding: Float[Tensor, "V C"],
        norm_weight: Float[Tensor, " C"],
        norm_bias: Float[Tensor, " C"],
        head: PackedMatrix,
    ) -> None:
        # The structures hold raw addresses: keep the tensors alive.
        self._tensors: Any = (layers, embedding, norm_weight, norm_bias, head)
        self._layers = (_Layer * len(layers))(*map(_layer_structure, layers))
        self.structure = _Model(
            len(layers),
            embedding.shape[1],
            self._layers,
            *map(address, (embedding, norm_weight, norm_bias)),
            _matrix_structure(head),
        )
        matrices = [
            matrix
            for layer in layers
            for field in fields(layer)
            if isinstance(matrix := getattr(layer, field.name), PackedMatrix)
        ]
        self.num_bytes = sum(matrix.num_bytes for matrix in (*matrices, head))
        """Bytes of the matrices, all of which a step reads."""


def decode_step(
    model: NativeModel,
    ids: Int64[Tensor, " B"],
    shifts: Float[Tensor, "L 2 B C"],
    wkv: Float[Tensor, "L B H N N"],
    logits: Float[Tensor, "B V"],
) -> None:
    """Process one token per sequence.

    Args:
        model: The model.
        ids: Token ids, below V (not checked here).
        shifts: Last inputs of time mixing and channel mixing of each layer; updated in place.
        wkv: [layer, batch, head, key, value], the transpose of `LayerState.wkv`; updated in place.
        logits: Receives the logits.
    """
    load_library().call("decode_step", step_structure(model, ids, shifts, wkv, logits))


def step_structure(
    model: NativeModel,
    ids: Int64[Tensor, " B"],
    shifts: Float[Tensor, "L 2 B C"],
    wkv: Float[Tensor, "L B H N N"],
    logits: Float[Tensor, "B V"],
) -> StepStruct:
    """Return the arguments of `decode_step`; they hold the addresses of the tensors."""
    return StepStruct(model.structure, ids.numel(), *map(address, (ids, shifts, wkv, logits)))


def _layer_structure(layer: NativeLayer) -> _Layer:
    vectors, matrices = [], []
    for index, field in enumerate(fields(layer)):
        value = getattr(layer, field.name)
        if index < _NUM_VECTORS:
            vectors.append(address(value))
        else:
            matrices.append(_matrix_structure(value))
    return _Layer(*vectors, *matrices)


def _matrix_structure(matrix: PackedMatrix | None) -> _Matrix:
    if matrix is None:
        return _Matrix()
    return _Matrix(
        address(matrix.panels),
        address(matrix.scales),
        matrix.rows,
        matrix.columns,
        PRECISIONS.index(matrix.precision),
    )
