"""The implementations of the decoding benchmark, all driven alike: a state, one token, many tokens.

The `rwkv` package keeps one sequence's state and has no batches on a CPU: a batch is read there one
sequence after the other.
"""

import contextlib
import copy
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rwkv_music.model import RWKV7, ModelConfig, ModelState, initialize
from rwkv_music.model.decoder import Decoder, DecoderState
from rwkv_music.ops.decoding import PRECISIONS

PACKAGE = "rwkv package"
MODEL_STEP = "model.step"
OURS = "rwkv-music"
_PACKAGE_PRECISIONS = {"float32": "fp32", "bfloat16": "bf16"}


class Implementation(Protocol):
    """Reads tokens and tells what it expects next. Ids are [B] for a step, [B, T] for a prompt."""

    def start(self, batch_size: int) -> Any:  # noqa: ANN401 - every implementation has its own state
        """The state before the first token."""

    def step(self, ids: Int[Tensor, " B"], state: Any) -> tuple[Float[Tensor, "B V"], Any]:  # noqa: ANN401
        """Logits after one more token of each sequence, and the state then."""

    def prefill(self, ids: Int[Tensor, "B T"], state: Any) -> tuple[Float[Tensor, "B V"], Any]:  # noqa: ANN401
        """Logits after the last of many tokens, and the state then."""


class ModelStep:
    """Our model's own `step`, operator by operator."""

    def __init__(self, model: RWKV7) -> None:
        self.model = model

    def start(self, batch_size: int) -> ModelState:
        """Zeros."""
        return ModelState.zeros(self.model.config, batch_size, dtype=self.model.emb.weight.dtype)

    @torch.inference_mode()
    def step(self, ids: Tensor, state: ModelState) -> tuple[Tensor, ModelState]:
        """One token of each sequence."""
        return self.model.step(ids, state)

    @torch.inference_mode()
    def prefill(self, ids: Tensor, state: ModelState) -> tuple[Tensor, ModelState]:
        """The head reads the last position only, as in generation."""
        hidden, state = self.model.hidden(ids, state)
        return self.model.head(hidden[:, -1]), state


class OurDecoder:
    """`rwkv_music.model.decoder.Decoder`, which changes its state in place."""

    def __init__(self, model: RWKV7, precision: str) -> None:
        self.decoder = Decoder(model, precision=precision)

    def start(self, batch_size: int) -> DecoderState:
        """A new state."""
        return self.decoder.new_state(batch_size)

    def step(self, ids: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """One token of each sequence."""
        return self.decoder.step(ids, state), state

    def prefill(self, ids: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """Many tokens at once."""
        return self.decoder.prefill(ids, state), state


class RwkvPackage:
    """The reference implementation on PyPI, compiled by TorchScript as it is by default."""

    def __init__(self, path: Path, precision: str) -> None:
        os.environ.update(RWKV_V7_ON="1", RWKV_JIT_ON="1", RWKV_CUDA_ON="0")
        with contextlib.redirect_stdout(sys.stderr):  # it tells what it does; we print JSON
            from rwkv.model import RWKV

            name = str(path.with_suffix(""))
            self.model = RWKV(model=name, strategy=f"cpu {_PACKAGE_PRECISIONS[precision]}")
        # Made now: its dtype is that of the model loaded last, whichever it is asked of.
        self.zeros = self.model.generate_zero_state()

    def start(self, batch_size: int) -> list[list[Tensor]]:
        """A state for each sequence."""
        return [copy.deepcopy(self.zeros) for _ in range(batch_size)]

    def step(self, ids: Tensor, state: list[list[Tensor]]) -> tuple[Tensor, list[list[Tensor]]]:
        """One sequence after the other."""
        return self._read([[token] for token in ids.tolist()], state)

    def prefill(self, ids: Tensor, state: list[list[Tensor]]) -> tuple[Tensor, list[list[Tensor]]]:
        """One sequence after the other."""
        return self._read(ids.tolist(), state)

    def _read(
        self, sequences: list[list[int]], state: list[list[Tensor]]
    ) -> tuple[Tensor, list[list[Tensor]]]:
        results = [
            self.model.forward(tokens, before)
            for tokens, before in zip(sequences, state, strict=True)
        ]
        return torch.stack([logits.float() for logits, _ in results]), [
            after for _, after in results
        ]


def implementation_names() -> list[tuple[str, str]]:
    """Name and precision of everyone who can take part here."""
    names = [(OURS, precision) for precision in PRECISIONS] + [(MODEL_STEP, "float32")]
    if importlib.util.find_spec("rwkv") is not None:
        names += [(PACKAGE, precision) for precision in _PACKAGE_PRECISIONS]
    return names


def make_implementation(name: str, precision: str, model: RWKV7, path: Path) -> Implementation:
    """One of `implementation_names`.

    Args:
        name: Who.
        precision: Of its weights.
        model: The model.
        path: The same model as the official .pth file.
    """
    if name == PACKAGE:
        return RwkvPackage(path, precision)
    return OurDecoder(model, precision) if name == OURS else ModelStep(model)


@torch.no_grad()
def perturbed_model(config: ModelConfig, seed: int) -> RWKV7:
    """A model in which every part does something: the official initial weights, and noise on all.

    The noise of a matrix is scaled by the numbers it sums, so that activations keep their size.
    """
    model = RWKV7(config)
    initialize(model, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        is_matrix = parameter.squeeze().ndim >= 2
        spread = 0.5 * parameter.shape[-1] ** -0.5 if is_matrix else 0.1
        parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=spread)
    return model.eval()
