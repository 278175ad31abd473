"""Weight matrices in the three precisions of decoding, packed for the native library."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from jaxtyping import Float, Int8
from torch import Tensor

PRECISIONS = ("float32", "bfloat16", "int8")
_PANEL = 16
"""Interleaved rows, as in `matrix.h`."""
_LARGEST_INT8 = 127


@dataclass(frozen=True)
class PackedMatrix:
    """A matrix packed for the native library."""

    panels: Tensor
    """[ceil(rows / 16), columns, 16], or for bfloat16 and int8
    [ceil(rows / 16), ceil(columns / 2), 16, 2].
    Padded with zeros."""
    scales: Float[Tensor, " padded_rows"] | None
    """Scale of each row, for int8."""
    rows: int
    columns: int
    precision: str

    @property
    def num_bytes(self) -> int:
        """Bytes that a step reads."""
        scales = 0 if self.scales is None else self.scales.nbytes
        return self.panels.nbytes + scales


def pack(weight: Float[Tensor, "rows columns"], precision: str) -> PackedMatrix:
    """Pack a matrix for y = W x.

    Args:
        weight: As in `torch.nn.Linear`.
        precision: One of `PRECISIONS`.
    """
    rows, columns = weight.shape
    group = 1 if precision == "float32" else 2
    padded = F.pad(weight.detach().float(), (0, -columns % group, 0, -rows % _PANEL))
    scales = None
    if precision == "int8":
        padded, scales = quantize(padded)
    elif precision == "bfloat16":
        padded = padded.bfloat16()
    panels = padded.view(len(padded) // _PANEL, _PANEL, -1, group).transpose(1, 2).contiguous()
    return PackedMatrix(panels, scales, rows, columns, precision)


def quantize(
    weight: Float[Tensor, "rows columns"],
) -> tuple[Int8[Tensor, "rows columns"], Float[Tensor, " rows"]]:
    """Return integers from -127 to 127 and one scale per row, with weight = integer x scale."""
    scales = weight.abs().amax(dim=1) / _LARGEST_INT8
    divisor = torch.where(scales > 0, scales, 1.0)
    return (weight / divisor.unsqueeze(1)).round().to(torch.int8), scales


def dequantized(
    weight: Float[Tensor, "rows columns"], precision: str
) -> Float[Tensor, "rows columns"]:
    """Return the matrix that `pack` represents in float32, for the PyTorch implementation."""
    if precision == "int8":
        integers, scales = quantize(weight.detach().float())
        return integers.float() * scales.unsqueeze(1)
    if precision == "bfloat16":
        return weight.detach().bfloat16().float()
    return weight.detach().float()
