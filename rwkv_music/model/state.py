"""What an RWKV-7 model remembers: a fixed number of values, however long the music was."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rwkv_music.model.model_config import ModelConfig


@dataclass(frozen=True)
class LayerState:
    """What one layer carries from token to token."""

    time_shift: Float[Tensor, "B C"]
    """The time mixing's input at the last token."""
    wkv: Float[Tensor, "B H N N"]
    """[batch, head, value, key], in float32 whatever the weights are."""
    channel_shift: Float[Tensor, "B C"]
    """The channel mixing's input at the last token."""

    def select(self, rows: Int[Tensor, " rows"]) -> "LayerState":
        """The states of some sequences of the batch, in the order asked for."""
        return self.each(lambda part: part[rows])

    def each(self, change: Callable[[Tensor], Tensor]) -> "LayerState":
        """The same change made to all three parts."""
        return LayerState(change(self.time_shift), change(self.wkv), change(self.channel_shift))


@dataclass(frozen=True)
class ModelState:
    """The states of all layers. A step returns a new one, so that going back costs nothing."""

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
        """The state before the first token."""
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
        """The state before the first token that begins with matrices of its own.

        Args:
            wkv: For each layer, the same for every sequence; their gradient comes back. On the
                device where the state is wanted.
            config: The model's sizes.
            batch_size: How many sequences.
            dtype: Of the model's weights.
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
        """The states of some sequences: repeat a row to branch, leave one out to drop it."""
        index = rows if isinstance(rows, Tensor) else torch.tensor(list(rows), dtype=torch.int64)
        index = index.to(self.layers[0].wkv.device)
        return ModelState(tuple(layer.select(index) for layer in self.layers))

    def to(self, device: torch.device | str) -> "ModelState":
        """The state on another device, each part in the dtype it has."""
        return ModelState(tuple(layer.each(lambda part: part.to(device)) for layer in self.layers))

    def to_tensors(self) -> dict[str, Tensor]:
        """Its parts by layer and name, to be stored."""
        return {
            f"{number}.{each.name}": getattr(layer, each.name)
            for number, layer in enumerate(self.layers)
            for each in fields(layer)
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> "ModelState":
        """The state that `to_tensors` took apart."""
        names = [each.name for each in fields(LayerState)]
        number = len(tensors) // len(names)
        return cls(
            tuple(
                LayerState(**{name: tensors[f"{layer}.{name}"] for name in names})
                for layer in range(number)
            )
        )

    def detach(self) -> "ModelState":
        """The state without its history: gradients end here."""
        return ModelState(tuple(layer.each(Tensor.detach) for layer in self.layers))

    def without_shifts(self) -> "ModelState":
        """The WKV matrices alone, with shifts of zero, as before a first token."""
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
        """Numbers held for all sequences together."""
        return sum(
            layer.time_shift.numel() + layer.wkv.numel() + layer.channel_shift.numel()
            for layer in self.layers
        )
