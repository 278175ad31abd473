"""Steps of a batch in one native call: masks, choice, state of the grammar, decoding.

`PythonSteps` is the reference. Both give the same tokens, bit for bit (`generation.h`).
"""

import ctypes
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from jaxtyping import Float32

from rwkv_music.generation.constraints.native_constraints import ConstraintsStruct
from rwkv_music.generation.constraints.rules import ConstraintRule
from rwkv_music.generation.request.generation_settings import SamplingSettings
from rwkv_music.generation.sampling.candidate import Candidate
from rwkv_music.generation.sampling.endings import (
    MAX_TOKENS_PER_BAR,
    BarsBehind,
    Ending,
    EndOfHole,
)
from rwkv_music.generation.sampling.sampler import Choices, TokenSampler, TokenSampling
from rwkv_music.model import Decoder, DecoderState
from rwkv_music.native import load_library
from rwkv_music.ops.decoding import StepStruct
from rwkv_music.tokenizer.native_arguments import Number, Pointer, address_of
from rwkv_music.tokenizer.native_grammar import (
    GrammarStruct,
    native_grammar_tables,
    native_state,
)

_END_OF_HOLE = -1
"""`last_bar` of a hole, which ends with EOS."""


class _CandidateState(ctypes.Structure):
    """`CandidateState` of generation.h."""

    _fields_: ClassVar = [
        ("grammar", GrammarStruct),
        ("constraints", ConstraintsStruct),
        ("tokens_in_bar", Number),
    ]


class _GenerationStep(ctypes.Structure):
    """`GenerationStep` of generation.h."""

    _fields_: ClassVar = [
        ("sampling", TokenSampling),
        ("decoding", StepStruct),
        *((name, Pointer) for name in ("tables", "candidates")),
        *((name, Number) for name in ("last_bar", "max_tokens_in_bar", "stops_at_bars")),
        ("is_ended", Pointer),
    ]


class NativeSteps:
    """Steps in the native library; see `can_run_natively`.

    Args:
        decoder: Decoder of the model.
        settings: Temperature, top-p, top-k.
        candidates: The candidates; their grammars are not changed, their rules are.
        ending: Decides when a candidate is complete.
        logits: Logits of the first token of each; changed in place.
        state: State of each; changed in place.
        stops_at_bars: Whether `choose` leaves a BAR to be read by `read`.
    """

    def __init__(
        self,
        decoder: Decoder,
        settings: SamplingSettings,
        candidates: Sequence[Candidate],
        ending: Ending,
        logits: Float32[np.ndarray, "B V"],
        state: DecoderState,
        *,
        stops_at_bars: bool,
    ) -> None:
        self.logits, self.state = logits, state
        self._decoder = decoder
        functions = load_library().functions
        assert functions is not None
        self._functions = functions
        self._states = [_state_of(candidate) for candidate in candidates]
        # The structures hold raw addresses of the arrays of rules.
        self._rules = [candidate.rules for candidate in candidates]
        streams = [candidate.stream for candidate in candidates]
        self._sampler = TokenSampler(settings, streams, logits.shape[1])
        self._is_read = False
        self._step = _GenerationStep(
            tables=native_grammar_tables(candidates[0].grammar.vocabulary).address,
            last_bar=ending.last_bar if isinstance(ending, BarsBehind) else _END_OF_HOLE,
            max_tokens_in_bar=MAX_TOKENS_PER_BAR,
            stops_at_bars=stops_at_bars,
        )
        self._bind()

    def choose(self, given: Sequence[int]) -> Choices:
        """Choose a token of each candidate, and read them unless a candidate ends; see `Steps`."""
        self._sampler.tokens[:] = given
        self._is_read = not self._functions.rwkv_music_generation_step(self._address)
        nats, removed = self._sampler.numbers.tolist()
        return Choices(self._sampler.tokens.tolist(), nats, removed, self._is_ended.tolist())

    def keep(self, rows: Sequence[int]) -> None:
        """Continue with some of the candidates only."""
        self._states = [self._states[row] for row in rows]
        self.logits = self.logits[list(rows)]
        self.state = self.state.select(rows)
        tokens = self._sampler.tokens[list(rows)]
        self._sampler = self._sampler.select(rows)
        self._sampler.tokens[:] = tokens
        self._bind()

    def read(self) -> None:
        """Read the chosen tokens, unless `choose` has done so."""
        if not self._is_read:
            self._functions.rwkv_music_read_chosen(self._address)

    def _bind(self) -> None:
        """Enter the addresses of what belongs to the present candidates."""
        self._is_ended = np.zeros(len(self._states), dtype=bool)
        self._pointers = (Pointer * len(self._states))(*map(ctypes.addressof, self._states))
        self._step.sampling = self._sampler.structure(self.logits)
        self._step.decoding = self._decoder.native_step(
            self._sampler.tokens, self.state, self.logits
        )
        self._step.candidates = ctypes.addressof(self._pointers)
        self._step.is_ended = address_of(self._is_ended)
        self._address = ctypes.byref(self._step)


def can_run_natively(decoder: Decoder, candidates: Sequence[Candidate], ending: Ending) -> bool:
    """Return whether `NativeSteps` can take these candidates.

    It needs the decoder's native step, an ending it knows, and no other rules than one
    `ConstraintRule`.
    """
    return (
        decoder.backend == "native"
        and isinstance(ending, BarsBehind | EndOfHole)
        and all(
            candidate.grammar.is_in_bar
            and len(candidate.rules) <= 1
            and all(type(rule) is ConstraintRule for rule in candidate.rules)
            for candidate in candidates
        )
    )


def _state_of(candidate: Candidate) -> _CandidateState:
    rules = [rule for rule in candidate.rules if isinstance(rule, ConstraintRule)]
    return _CandidateState(
        native_state(candidate.grammar),
        rules[0].to_native() if rules else ConstraintsStruct(),
        candidate.tokens_in_bar,
    )
