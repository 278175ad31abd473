"""Fast decoding, token by token: one native call per step, optionally with rounded weights.

Where the native library cannot run, PyTorch computes the same with the same rounded weights; the
tests compare both.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Int, Int64
from torch import Tensor

from rwkv_music.errors import InputError
from rwkv_music.model.decoder_weights import native_model, rounded_model
from rwkv_music.model.model_config import ModelConfig
from rwkv_music.model.rwkv7 import RWKV7
from rwkv_music.model.state import LayerState, ModelState
from rwkv_music.model.step_graphs import StepGraphs
from rwkv_music.ops.backends import has_fast_bfloat16, why_not_native
from rwkv_music.ops.checks import check_shape
from rwkv_music.ops.decoding import PRECISIONS, StepStruct, decode_step, step_structure

_BACKENDS = ("native", "torch")


@dataclass
class DecoderState:
    """Recurrent state of a batch. A step changes it in place; `copy` it to return to it later."""

    shifts: Float[Tensor, "L 2 B C"]
    """Last inputs of each layer's time mixing and channel mixing."""
    wkv: Float[Tensor, "L B H N N"]
    """[layer, batch, head, key, value]: transposed, as the native step requires."""

    @property
    def batch_size(self) -> int:
        """Number of sequences."""
        return self.wkv.shape[1]

    @property
    def num_values(self) -> int:
        """Number of values of all sequences together."""
        return self.shifts.numel() + self.wkv.numel()

    def copy(self) -> "DecoderState":
        """Return a copy."""
        return DecoderState(self.shifts.clone(), self.wkv.clone())

    def select(self, rows: Iterable[int]) -> "DecoderState":
        """Return the states of some sequences; rows may be repeated or left out."""
        index = torch.tensor(list(rows), dtype=torch.int64, device=self.wkv.device)
        return DecoderState(self.shifts.index_select(2, index), self.wkv.index_select(1, index))

    def to_model_state(self) -> ModelState:
        """Convert to the state that the model takes."""
        return ModelState(
            tuple(
                LayerState(shift[0].clone(), wkv.mT.contiguous(), shift[1].clone())
                for shift, wkv in zip(self.shifts, self.wkv, strict=True)
            )
        )

    @classmethod
    def from_model_state(cls, state: ModelState) -> "DecoderState":
        """Convert a state that the model returned."""
        shifts = [torch.stack([layer.time_shift, layer.channel_shift]) for layer in state.layers]
        wkv = [layer.wkv.mT for layer in state.layers]
        return cls(torch.stack(shifts).float(), torch.stack(wkv).contiguous())

    @classmethod
    def zeros(cls, config: ModelConfig, batch_size: int, device: torch.device) -> "DecoderState":
        """Return the state before the first token."""
        return cls.from_model_state(ModelState.zeros(config, batch_size, device=device))


class Decoder:
    """Decodes token by token; time and memory per token do not depend on the past.

    On a GPU a step is captured as a CUDA graph, once for each batch size.

    Args:
        model: The network; it is put in evaluation mode. Make a new decoder after changing its
            weights.
        precision: Precision of the matrices: "float32"; "bfloat16", half the memory; or "int8" with
            one scale per row, a quarter (low-rank matrices stay bfloat16). Sums are float32; those
            of int8 are integers, for which the native step rounds vectors to 12 to 16 bits.
        backend: "native" or "torch"; when None, native where it can run.

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
        is_unchanged = precision == "float32" and weight.dtype == torch.float32
        self._model = model.eval() if is_unchanged else rounded_model(model, precision)
        self._native = native_model(model, precision) if self.backend == "native" else None
        is_on_gpu = weight.device.type == "cuda"
        self._graphs = StepGraphs(self._step_in_place) if is_on_gpu else None

    @property
    def matrix_bytes(self) -> int | None:
        """Bytes of the matrices, which a native step reads once; None in plain PyTorch."""
        return None if self._native is None else self._native.num_bytes

    def new_state(self, batch_size: int = 1) -> DecoderState:
        """Return the state before the first token."""
        return DecoderState.zeros(self.config, batch_size, self._device)

    @torch.inference_mode()
    def step(self, ids: Int[Tensor, " B"], state: DecoderState) -> Float[Tensor, "B V"]:
        """Read one token per sequence and return the logits of the next one.

        Args:
            ids: One token per sequence.
            state: Changed in place.

        Raises:
            InputError: If the state is of another batch size, or an id is not in the vocabulary.
        """
        ids = self._check_ids(ids, state)
        if self._graphs is not None:
            return self._graphs(ids, state)
        if self._native is None:
            logits, after = self._model.step(ids, state.to_model_state())
            _overwrite(state, after)
            return logits
        logits = torch.empty(len(ids), self.config.vocab_size)
        decode_step(self._native, ids, state.shifts, state.wkv, logits)
        return logits

    def native_step(
        self,
        ids: Int64[np.ndarray, " B"],
        state: DecoderState,
        logits: Float32[np.ndarray, "B V"],
    ) -> StepStruct:
        """Return the arguments of the native `step`, which hold the addresses of the arrays.

        Args:
            ids: One token per sequence, not checked here.
            state: Changed in place by the step.
            logits: Receives the logits.
        """
        assert self._native is not None
        self._check_state(state)
        return step_structure(
            self._native, torch.from_numpy(ids), state.shifts, state.wkv, torch.from_numpy(logits)
        )

    def _step_in_place(self, ids: Tensor, shifts: Tensor, wkv: Tensor) -> Tensor:
        state = DecoderState(shifts, wkv)
        logits, after = self._model.step(ids, state.to_model_state())
        _overwrite(state, after)
        return logits

    @torch.inference_mode()
    def prefill(self, ids: Int[Tensor, "B T"], state: DecoderState) -> Float[Tensor, "B V"]:
        """Read many tokens per sequence in parallel and return the logits of the next one.

        With rounded weights, matrix products use bfloat16 too where the device is faster with it:
        the state then differs from that of single steps by about 1 %.

        Args:
            ids: Tokens of each sequence.
            state: Changed in place.

        Raises:
            InputError: As for `step`, and if there are no tokens.
        """
        ids = self._check_ids(ids, state)
        if not ids.shape[1]:
            raise InputError(f"prefill needs at least one token, got ids of {list(ids.shape)}")
        in_bfloat16 = self.precision != "float32" and has_fast_bfloat16(self._device)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=in_bfloat16):
            hidden, after = self._model.hidden(ids, state.to_model_state())
        _overwrite(state, after)
        logits: Tensor = self._model.head(hidden[:, -1].float())
        return logits

    def _check_ids(self, ids: Tensor, state: DecoderState) -> Tensor:
        if len(ids) != state.batch_size:
            raise InputError(
                f"{len(ids)} sequences of ids, but a state of {state.batch_size}: make the state "
                f"with new_state({len(ids)}) or select its rows"
            )
        self._check_state(state)
        if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < self.config.vocab_size:
            bad = ids[(ids < 0) | (ids >= self.config.vocab_size)][0]
            raise InputError(
                f"token {int(bad)} is not in the model's vocabulary of {self.config.vocab_size}: "
                "use the tokenizer the model was trained with"
            )
        return ids.to(self._device, torch.int64).contiguous()

    def _check_state(self, state: DecoderState) -> None:
        """Check sizes and layout, since the native step reads and writes the state's memory."""
        layers, channels = self.config.num_layers, self.config.dim
        heads, head_size = self.config.num_heads, self.config.head_size
        batch = state.batch_size
        check_shape("the state's shifts", state.shifts, layers, 2, batch, channels)
        check_shape("the state's wkv", state.wkv, layers, batch, heads, head_size, head_size)
        for name, tensor in (("shifts", state.shifts), ("wkv", state.wkv)):
            if not tensor.is_contiguous() or tensor.dtype != torch.float32:
                raise InputError(
                    f"the state's {name} must be contiguous and float32, got {tensor.dtype} with "
                    f"strides {tensor.stride()}: use states from new_state, copy and select"
                )


def _overwrite(state: DecoderState, after: ModelState) -> None:
    new = DecoderState.from_model_state(after)
    state.shifts.copy_(new.shifts)
    state.wkv.copy_(new.wkv)
