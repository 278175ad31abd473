"""Decoding token by token, fast: a whole step in one native call, with narrower weights if wanted.

The plain PyTorch twin does the same with the same rounded weights; it is the truth of the native
step and runs where the native library does not.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rwkv_music.errors import InputError
from rwkv_music.model.decoder_weights import native_model, rounded_model
from rwkv_music.model.model_config import ModelConfig
from rwkv_music.model.rwkv7 import RWKV7
from rwkv_music.model.state import LayerState, ModelState
from rwkv_music.model.step_graphs import StepGraphs
from rwkv_music.ops.backends import has_fast_bfloat16, why_not_native
from rwkv_music.ops.checks import check_shape
from rwkv_music.ops.decoding import PRECISIONS, decode_step

_BACKENDS = ("native", "torch")


@dataclass
class DecoderState:
    """What the sequences of a batch remember. A step changes it in place: `copy` it to go back."""

    shifts: Float[Tensor, "L 2 B C"]
    """The last inputs of each layer's time mixing and channel mixing."""
    wkv: Float[Tensor, "L B H N N"]
    """[layer, batch, head, key, value]: transposed, as the native step wants it."""

    @property
    def batch_size(self) -> int:
        """How many sequences there are."""
        return self.wkv.shape[1]

    @property
    def num_values(self) -> int:
        """Numbers held for all sequences together."""
        return self.shifts.numel() + self.wkv.numel()

    def copy(self) -> "DecoderState":
        """Another one with the same content."""
        return DecoderState(self.shifts.clone(), self.wkv.clone())

    def select(self, rows: Iterable[int]) -> "DecoderState":
        """The states of some sequences: repeat a row to branch, leave one out to drop it."""
        index = torch.tensor(list(rows), dtype=torch.int64, device=self.wkv.device)
        return DecoderState(self.shifts.index_select(2, index), self.wkv.index_select(1, index))

    def to_model_state(self) -> ModelState:
        """The same as the model takes it."""
        return ModelState(
            tuple(
                LayerState(shift[0].clone(), wkv.mT.contiguous(), shift[1].clone())
                for shift, wkv in zip(self.shifts, self.wkv, strict=True)
            )
        )

    @classmethod
    def from_model_state(cls, state: ModelState) -> "DecoderState":
        """What the model left, to go on from."""
        shifts = [torch.stack([each.time_shift, each.channel_shift]) for each in state.layers]
        wkv = [each.wkv.mT for each in state.layers]
        return cls(torch.stack(shifts).float(), torch.stack(wkv).contiguous())

    @classmethod
    def zeros(cls, config: ModelConfig, batch_size: int, device: torch.device) -> "DecoderState":
        """The state before the first token."""
        return cls.from_model_state(ModelState.zeros(config, batch_size, device=device))


class Decoder:
    """Reads tokens one by one; time and memory per token do not depend on what came before.

    On a GPU a step is captured as a CUDA graph, once for each batch size.

    Args:
        model: Put in evaluation mode. Make a new decoder after changing its weights.
        precision: Of the matrices: "float32"; "bfloat16", half as much to read; or "int8" with one
            scale per row, a quarter (the low-rank ones stay bfloat16). Sums are float32; those of
            int8 are whole numbers, for which the native step rounds vectors to 12 to 16 bits.
        backend: "native" or "torch"; by default native where it can run.

    Raises:
        InputError: If the precision or backend is unknown, or the native one cannot run.

    Example:
        >>> from rwkv_music.model import ModelConfig
        >>> decoder = Decoder(RWKV7(ModelConfig(vocab_size=16, num_layers=1, dim=64)))
        >>> state = decoder.new_state(batch_size=2)
        >>> decoder.step(torch.tensor([3, 5]), state).shape
        torch.Size([2, 16])
    """

    def __init__(
        self, model: RWKV7, precision: str = "float32", *, backend: str | None = None
    ) -> None:
        if precision not in PRECISIONS:
            raise InputError(f"precision must be one of {PRECISIONS}, got '{precision}'")
        if backend not in (None, *_BACKENDS):
            raise InputError(f"backend must be one of {_BACKENDS}, got '{backend}'")
        weight = model.emb.weight
        reason = why_not_native(weight, model.config.head_size)
        if backend == "native" and reason:
            raise InputError(f"the native decoder cannot run here: {reason}")
        self.precision = precision
        self.backend = backend or ("torch" if reason else "native")
        self.config = model.config
        self._device = weight.device
        as_it_is = precision == "float32" and weight.dtype == torch.float32
        self._model = model.eval() if as_it_is else rounded_model(model, precision)
        self._native = native_model(model, precision) if self.backend == "native" else None
        on_a_gpu = weight.device.type == "cuda"
        self._graphs = StepGraphs(self._step_in_place) if on_a_gpu else None

    @property
    def matrix_bytes(self) -> int | None:
        """Memory of the matrices, which a native step reads once; None in plain PyTorch."""
        return None if self._native is None else self._native.num_bytes

    def new_state(self, batch_size: int = 1) -> DecoderState:
        """The state before the first token."""
        return DecoderState.zeros(self.config, batch_size, self._device)

    @torch.inference_mode()
    def step(self, ids: Int[Tensor, " B"], state: DecoderState) -> Float[Tensor, "B V"]:
        """Read one token per sequence.

        Args:
            ids: The tokens.
            state: Changed in place.

        Returns:
            Logits of the token after it.

        Raises:
            InputError: If the state is of another batch size, or an id is not in the vocabulary.
        """
        ids = self._checked(ids, state)
        if self._graphs is not None:
            return self._graphs(ids, state)
        if self._native is None:
            logits, after = self._model.step(ids, state.to_model_state())
            _overwrite(state, after)
            return logits
        logits = torch.empty(len(ids), self.config.vocab_size)
        decode_step(self._native, ids, state.shifts, state.wkv, logits)
        return logits

    def _step_in_place(self, ids: Tensor, shifts: Tensor, wkv: Tensor) -> Tensor:
        state = DecoderState(shifts, wkv)
        logits, after = self._model.step(ids, state.to_model_state())
        _overwrite(state, after)
        return logits

    @torch.inference_mode()
    def prefill(self, ids: Int[Tensor, "B T"], state: DecoderState) -> Float[Tensor, "B V"]:
        """Read many tokens per sequence in parallel.

        With narrow weights, the matrix products are in bfloat16 as well where the device is faster
        in it: the state then differs from that of single steps by about a hundredth.

        Args:
            ids: The tokens.
            state: Changed in place.

        Returns:
            Logits of the token after the last one.

        Raises:
            InputError: As for `step`, and if there are no tokens.
        """
        ids = self._checked(ids, state)
        if not ids.shape[1]:
            raise InputError(f"prefill needs at least one token, got ids of {list(ids.shape)}")
        in_bfloat16 = self.precision != "float32" and has_fast_bfloat16(self._device)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=in_bfloat16):
            hidden, after = self._model.hidden(ids, state.to_model_state())
        _overwrite(state, after)
        logits: Tensor = self._model.head(hidden[:, -1].float())
        return logits

    def _checked(self, ids: Tensor, state: DecoderState) -> Tensor:
        if len(ids) != state.batch_size:
            raise InputError(
                f"{len(ids)} sequences of ids, but a state of {state.batch_size}: make it with "
                f"new_state({len(ids)}) or select rows of it"
            )
        self._check_state(state)
        if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < self.config.vocab_size:
            wrong = ids[(ids < 0) | (ids >= self.config.vocab_size)][0]
            raise InputError(
                f"token {int(wrong)} is not in the model's vocabulary of {self.config.vocab_size}: "
                "use the tokenizer the model was trained with"
            )
        return ids.to(self._device, torch.int64).contiguous()

    def _check_state(self, state: DecoderState) -> None:
        """Its numbers are read and written where they lie: they must be those of this model."""
        layers, channels = self.config.num_layers, self.config.dim
        heads, head_size = self.config.num_heads, self.config.head_size
        batch = state.batch_size
        check_shape("the state's shifts", state.shifts, layers, 2, batch, channels)
        check_shape("the state's wkv", state.wkv, layers, batch, heads, head_size, head_size)
        for name, tensor in (("shifts", state.shifts), ("wkv", state.wkv)):
            if not tensor.is_contiguous() or tensor.dtype != torch.float32:
                raise InputError(
                    f"the state's {name} must be contiguous and float32, got {tensor.dtype} with "
                    f"strides {tensor.stride()}: make states with new_state, copy and select"
                )


def _overwrite(state: DecoderState, after: ModelState) -> None:
    new = DecoderState.from_model_state(after)
    state.shifts.copy_(new.shifts)
    state.wkv.copy_(new.wkv)
