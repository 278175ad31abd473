"""Recurrent state of an RWKV-7 model: a fixed number of values, however long the music was."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rwkv_music.model.model_config import ModelConfig


@dataclass(frozen=True)
class LayerState:
    """State of one layer."""

    time_shift: Float[Tensor, "B C"]
    """Normalized input of the time mixing at the last token."""
    wkv: Float[Tensor, "B H N N"]
    """[batch, head, value, key], in float32 for any dtype of the weights."""
    channel_shift: Float[Tensor, "B C"]
    """Normalized input of the channel mixing at the last token."""

    def select(self, rows: Int[Tensor, " rows"]) -> "LayerState":
        """Return the states of some sequences of the batch, in the given order."""
        return self.map(lambda part: part[rows])

    def map(self, change: Callable[[Tensor], Tensor]) -> "LayerState":
        """Apply a function to all three tensors."""
        return LayerState(change(self.time_shift), change(self.wkv), change(self.channel_shift))


@dataclass(frozen=True)
class ModelState:
    """States of all layers. A step returns a new one and keeps the old one unchanged."""

    layers: tuple[LayerState, ...]

    @classmethod
    def zeros(
        cls,
        config: ModelConfig,
        batch_size: int,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> "ModelState":
        """Return the state before the first token."""
        shift = torch.zeros(batch_size, config.dim, device=device, dtype=dtype)
        wkv = torch.zeros(
            batch_size,
            config.num_heads,
            config.head_size,
            config.head_size,
            device=device,
            dtype=torch.float64 if dtype == torch.float64 else torch.float32,
        )
        return cls(tuple(LayerState(shift, wkv, shift) for _ in range(config.num_layers)))

    @classmethod
    def beginning(
        cls,
        wkv: Float[Tensor, "L H N N"],
        config: ModelConfig,
        batch_size: int,
        *,
        dtype: torch.dtype = torch.float32,
    ) -> "ModelState":
        """Return the state before the first token with given WKV matrices.

        Args:
            wkv: The matrices of each layer, on the state's device, used for every sequence;
                gradients flow back to them.
            config: Sizes of the model.
            batch_size: Number of sequences.
            dtype: Dtype of the model's weights.
        """
        zeros = cls.zeros(config, batch_size, device=wkv.device, dtype=dtype)
        return cls(
            tuple(
                LayerState(
                    layer.time_shift, own.to(layer.wkv).expand_as(layer.wkv), layer.channel_shift
                )
                for own, layer in zip(wkv, zeros.layers, strict=True)
            )
        )

    def select(self, rows: Int[Tensor, " rows"] | Iterable[int]) -> "ModelState":
        """Return the states of some sequences; rows may be repeated or left out."""
        index = rows if isinstance(rows, Tensor) else torch.tensor(list(rows), dtype=torch.int64)
        index = index.to(self.layers[0].wkv.device)
        return ModelState(tuple(layer.select(index) for layer in self.layers))

    def to(self, device: torch.device | str) -> "ModelState":
        """Move the state to a device; dtypes stay the same."""
        return ModelState(tuple(layer.map(lambda part: part.to(device)) for layer in self.layers))

    def to_tensors(self) -> dict[str, Tensor]:
        """Return the tensors by layer and name, to be stored."""
        return {
            f"{index}.{field.name}": getattr(layer, field.name)
            for index, layer in enumerate(self.layers)
            for field in fields(layer)
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> "ModelState":
        """Return the state of the tensors that `to_tensors` returned."""
        names = [field.name for field in fields(LayerState)]
        num_layers = len(tensors) // len(names)
        return cls(
            tuple(
                LayerState(**{name: tensors[f"{layer}.{name}"] for name in names})
                for layer in range(num_layers)
            )
        )

    def detach(self) -> "ModelState":
        """Return the state detached from the graph of gradients."""
        return ModelState(tuple(layer.map(Tensor.detach) for layer in self.layers))

    def without_shifts(self) -> "ModelState":
        """Return the state with the same WKV matrices and with shifts of zero."""
        return ModelState(
            tuple(
                LayerState(
                    torch.zeros_like(layer.time_shift),
                    layer.wkv,
                    torch.zeros_like(layer.channel_shift),
                )
                for layer in self.layers
            )
        )

    @property
    def num_values(self) -> int:
        """Number of values of all sequences together."""
        return sum(
            layer.time_shift.numel() + layer.wkv.numel() + layer.channel_shift.numel()
            for layer in self.layers
        )
