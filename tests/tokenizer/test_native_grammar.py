"""The native grammar against the reference: the same masks along the same tokens."""

import ctypes

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rwkv_music.native import load_library
from rwkv_music.tokenizer import Grammar, Tokenizer
from rwkv_music.tokenizer.holes import write_hole
from rwkv_music.tokenizer.native_grammar import native_grammar_tables, native_state
from tests.skips import NO_NATIVE_LIBRARY
from tests.tokenizer.holes import random_hole
from tests.tokens import random_score, random_stream

pytestmark = pytest.mark.skipif(load_library().functions is None, reason=NO_NATIVE_LIBRARY)
TOKENIZERS = [Tokenizer(), Tokenizer(steps_per_quarter=48, velocities=128, max_parts=4)]


class NativeGrammar:
    """The native grammar from the state of another one on."""

    def __init__(self, grammar: Grammar) -> None:
        self._state = native_state(grammar)
        self._size = grammar.vocabulary.size
        self._tables = ctypes.c_void_p(native_grammar_tables(grammar.vocabulary).address)

    def allowed(self) -> np.ndarray:
        mask = np.zeros(self._size, dtype=bool)
        functions = load_library().functions
        functions.rwkv_music_grammar_mask(
            self._tables, ctypes.byref(self._state), ctypes.c_void_p(mask.ctypes.data)
        )
        return mask

    def take(self, token: int) -> None:
        functions = load_library().functions
        functions.rwkv_music_grammar_take(
            self._tables,
            ctypes.byref(self._state),
            ctypes.byref(ctypes.c_uint16(token)),
            ctypes.c_int64(1),
        )


def compared_masks(tokenizer: Tokenizer, ids: np.ndarray, hole_end: int | None = None) -> int:
    """Compare masks behind each token inside bars; return how many were."""
    grammar, native, compared = tokenizer.grammar(), None, 0
    if hole_end is not None:
        grammar.end_hole_at(hole_end)
    for token in ids.tolist():
        grammar.take(token)
        if native is not None:
            native.take(token)
        if not grammar.is_in_bar:
            native = None
            continue
        native = native or NativeGrammar(grammar)
        np.testing.assert_array_equal(native.allowed(), grammar.allowed())
        compared += 1
    return compared


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.sampled_from(TOKENIZERS))
def test_masks_of_random_walks_are_those_of_the_reference(seed: int, tokenizer: Tokenizer) -> None:
    ids, _ = random_stream(tokenizer, np.random.default_rng(seed))
    compared_masks(tokenizer, ids)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_masks_of_real_streams_are_those_of_the_reference(seed: int) -> None:
    score = random_score(np.random.default_rng(seed), ticks=480, free=True)
    assert compared_masks(TOKENIZERS[0], TOKENIZERS[0].encode(score)) > 1


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.none() | st.integers(0, 4000))
def test_masks_of_holes_are_those_of_the_reference(seed: int, hole_end: int | None) -> None:
    # An earlier end than that of the hole forbids some of its tokens, but the masks stay the same.
    stream = write_hole(random_hole(TOKENIZERS[0], seed), TOKENIZERS[0].vocabulary)
    assert compared_masks(TOKENIZERS[0], stream.ids, hole_end) > 1


def test_random_walks_reach_bars() -> None:
    walks = [random_stream(TOKENIZERS[0], np.random.default_rng(seed))[0] for seed in range(20)]
    assert sum(compared_masks(TOKENIZERS[0], ids) for ids in walks) > 500
