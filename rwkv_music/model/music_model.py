"""A network together with the settings of the tokenizer whose ids it reads."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rwkv_music.errors import InputError
from rwkv_music.model.decoder import Decoder
from rwkv_music.model.model_config import ModelConfig
from rwkv_music.model.rwkv7 import RWKV7
from rwkv_music.model.state import ModelState
from rwkv_music.ops.backends import has_fast_bfloat16
from rwkv_music.tokenizer import Tokenizer


@dataclass(eq=False)
class MusicModel:
    """What `load_model` returns and `continue_score` takes.

    Example:
        >>> from rwkv_music import Tokenizer
        >>> from rwkv_music.model import ModelConfig
        >>> tokenizer = Tokenizer()
        >>> sizes = ModelConfig(vocab_size=tokenizer.vocab_size, num_layers=1, dim=64)
        >>> model = MusicModel(RWKV7(sizes), tokenizer.settings)
        >>> logits, state = model(torch.zeros(2, 5, dtype=torch.int64))
        >>> logits.shape
        torch.Size([2, 5, 2048])
    """

    network: RWKV7
    """The neural network: a plain `torch.nn.Module` that knows nothing of music."""
    tokenizer_settings: Mapping[str, int] | None = None
    """`Tokenizer.settings` of the tokenizer; None if unknown, as for an official .pth."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Further facts from the checkpoint, such as the training step."""
    _decoders: dict[str, tuple[Any, Decoder]] = field(default_factory=dict, init=False, repr=False)
    """Version of the weights and decoder, by precision."""

    def __getstate__(self) -> dict[str, Any]:
        """Return what copies and pickles contain: everything but the decoders."""
        return {**self.__dict__, "_decoders": {}}

    def __call__(
        self, ids: Int[Tensor, "B T"], state: ModelState | None = None
    ) -> tuple[Float[Tensor, "B T V"], ModelState]:
        """Return logits of the token after each position, and the state after the last one.

        Args:
            ids: Token ids.
            state: The state before the first token; an empty one when None.

        Raises:
            InputError: If there are no tokens, or the state has other sizes.
        """
        logits, after = self.network(ids, state)
        return logits, after

    @property
    def config(self) -> ModelConfig:
        """Sizes of the network."""
        return self.network.config

    @property
    def hole_fraction(self) -> float | None:
        """Fraction of holes among the windows of its training; None if unknown.

        A model that was trained without them can continue music but not fill it.
        """
        return hole_fraction(self.metadata)

    @property
    def device(self) -> torch.device:
        """Device of the network's parameters."""
        return self.network.emb.weight.device

    def to(self, device: torch.device | str) -> "MusicModel":
        """Move the network to a device, in place, and return this model."""
        self.network.to(device)
        return self

    def decoder(self, precision: str = "auto") -> Decoder:
        """Return a decoder of the network; it is made again when the weights have changed.

        Args:
            precision: As for `Decoder`; "auto" is bfloat16 on devices that are fast with it, and
                float32 elsewhere.
        """
        if precision == "auto":
            precision = "bfloat16" if has_fast_bfloat16(self.device) else "float32"
        version = tuple(
            (parameter.data_ptr(), 0 if parameter.is_inference() else parameter._version)  # noqa: SLF001 - torch's own
            for parameter in self.network.parameters()
        )
        known_version, decoder = self._decoders.get(precision, (None, None))
        if decoder is None or known_version != version:
            decoder = Decoder(self.network, precision)
            self._decoders[precision] = (version, decoder)
        return decoder

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer whose ids the network reads.

        Raises:
            InputError: If the settings are unknown, or have another vocabulary than the network.
        """
        if self.tokenizer_settings is None:
            raise InputError(
                "the model's tokenizer is unknown: pass its settings, as in "
                "load_model('model.pth', tokenizer_settings=Tokenizer().settings)"
            )
        tokenizer = Tokenizer.from_settings(self.tokenizer_settings)
        if tokenizer.vocab_size != self.config.vocab_size:
            raise InputError(
                f"the model has a vocabulary of {self.config.vocab_size} tokens, its tokenizer's "
                f"settings make {tokenizer.vocab_size}: they come from different models; load "
                "another checkpoint"
            )
        return tokenizer


def hole_fraction(metadata: Mapping[str, Any]) -> float | None:
    """Return the fraction of holes in the training that a checkpoint's metadata describes.

    Args:
        metadata: As `MusicModel.metadata`.

    Returns:
        The fraction; None if unknown.
    """
    settings, command = metadata.get("run"), metadata.get("command")
    if isinstance(settings, Mapping):
        return float(settings.get("data", settings).get("hole_fraction", 0.0))
    if isinstance(command, str):  # that of a shipped model
        words = command.split()
        option = "--hole-fraction"
        return float(words[words.index(option) + 1]) if option in words else 0.0
    return None
