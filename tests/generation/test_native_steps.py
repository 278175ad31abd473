"""Steps in the native library against those in Python: the same tokens, nats and masses."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rwkv_music import Constraints
from rwkv_music.errors import InputError
from rwkv_music.generation import Request
from rwkv_music.generation.constraints.rules import ConstraintRule
from rwkv_music.generation.continuation import begin
from rwkv_music.generation.hole_filling import begin_filling
from rwkv_music.generation.prompts.hole_prompt import HolePrompt
from rwkv_music.generation.prompts.prompt import Prompt
from rwkv_music.generation.sampling import engine
from rwkv_music.generation.sampling.engine import CandidateBatch
from rwkv_music.generation.sampling.native_steps import NativeSteps
from rwkv_music.generation.sampling.prefix_cache import PrefixCache
from rwkv_music.native import load_library
from rwkv_music.tokenizer import Grammar, TokenType
from tests.generation.test_constraints import prompt
from tests.generation.test_continuation import MODEL, TOKENIZER, in_signature
from tests.generation.test_filling import band
from tests.skips import NO_NATIVE_LIBRARY
from tests.tokens import random_score

pytestmark = pytest.mark.skipif(load_library().functions is None, reason=NO_NATIVE_LIBRARY)
FREE = {
    "keep_tempo": False,
    "keep_time_signature": False,
    "keep_whole_bars": False,
    "no_restrikes": False,
    "no_doubled_notes": False,
}
SAMPLING = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**32 - 1),
        "candidates": st.integers(1, 4),
        "temperature": st.sampled_from([0.0, 0.7, 1.0, 1.5]),
        "top_p": st.sampled_from([0.5, 0.95, 1.0]),
        "top_k": st.sampled_from([None, 5]),
    }
)
LIMITS = st.fixed_dictionaries(
    {},
    optional={
        "scale": st.sampled_from(["A major", "C blues"]),
        "pitch_range": st.sampled_from([{"Bass": ("C2", "E2")}, {0: (60, 61)}]),
        "chords": st.sampled_from([("Am7",), ("N", "C/E", "G"), ("F",) * 5]),
        "chord_length": st.sampled_from(["bar", "beat"]),
        "max_polyphony": st.integers(1, 3),
        "drums": st.sampled_from(["any", "none", "only"]),
        "end_on_tonic": st.booleans(),
        **{name: st.booleans() for name in FREE},
    },
)


@contextmanager
def in_python() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "can_run_natively", lambda *_: False)
        yield


def finished(batch: CandidateBatch, *, most: int = 400) -> list[tuple[Any, ...]]:
    """Everything that candidates have after so many steps."""
    for step, _ in enumerate(batch.steps()):
        if step == most:
            break
    return [
        (
            candidate.tokens,
            candidate.token_nats,
            candidate.removed,
            candidate.tokens_in_bar,
            candidate.is_complete,
        )
        for candidate in batch.candidates
    ]


def compare(begun: Any) -> list[tuple[Any, ...]]:
    """Compare both kinds of steps; return what they gave."""
    batch = begun()
    assert isinstance(batch._steps, NativeSteps)
    native = finished(batch)
    with in_python():
        reference = begun()
    assert not isinstance(reference._steps, NativeSteps)
    assert native == finished(reference)
    return native


@settings(max_examples=30)
@given(SAMPLING, LIMITS, st.sampled_from([(4, 4), (3, 4), (6, 8), (1, 4)]))
def test_continuations_are_those_of_the_reference(
    sampling: dict[str, Any], limits: dict[str, Any], signature: tuple[int, int]
) -> None:
    score = prompt() if signature == (4, 4) else in_signature(*signature, 2)
    try:
        request = Request(bars=3, constraints=Constraints(**limits), **sampling)
        given_prompt = Prompt(score, TOKENIZER)
        begin(MODEL, given_prompt, request)
    except InputError:  # limits that leave nothing to write
        return
    compare(lambda: begin(MODEL, given_prompt, request))


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1), SAMPLING, LIMITS)
def test_continuations_of_random_music_are_those_of_the_reference(
    seed: int, sampling: dict[str, Any], limits: dict[str, Any]
) -> None:
    score = random_score(np.random.default_rng(seed), ticks=96)
    limits.pop("pitch_range", None)
    try:
        request = Request(bars=2, constraints=Constraints(**limits), **sampling)
        given_prompt = Prompt(score, TOKENIZER)
        begin(MODEL, given_prompt, request)
    except InputError:
        return
    compare(lambda: begin(MODEL, given_prompt, request))


@settings(max_examples=20)
@given(SAMPLING, LIMITS, st.sampled_from([None, ["Bass"], ["Kit", "Lead"]]), st.integers(1, 3))
def test_fillings_are_those_of_the_reference(
    sampling: dict[str, Any], limits: dict[str, Any], parts: list[str] | None, bars: int
) -> None:
    hole = HolePrompt.of(band(), TOKENIZER, bars=(2, 1 + bars), parts=parts)
    try:
        request = Request(constraints=Constraints(**limits), **sampling)
        begin_filling(MODEL, hole, request)
    except InputError:
        return
    compare(lambda: begin_filling(MODEL, hole, request))


def test_the_states_that_are_kept_at_bar_lines_are_those_of_the_reference() -> None:
    def run() -> tuple[CandidateBatch, PrefixCache]:
        prefixes = PrefixCache()
        request = Request(bars=2, candidates=3, seed=4)
        return begin(MODEL, Prompt(prompt(), TOKENIZER), request, prefixes=prefixes), prefixes

    batch, native = run()
    assert isinstance(batch._steps, NativeSteps)
    finished(batch)
    with in_python():
        batch, reference = run()
    finished(batch)
    assert len(native) == len(reference) > 4
    for key, state in native._states.items():
        other = reference._states[key]
        np.testing.assert_array_equal(state.logits, other.logits)
        np.testing.assert_array_equal(state.state.wkv.numpy(), other.state.wkv.numpy())
        assert state.grammar.numbers() == other.grammar.numbers()


class NoBeats:
    """A rule that the native library does not know."""

    def __init__(self, rule: ConstraintRule) -> None:
        self._rule = rule

    def restrict(self, grammar: Grammar, mask: np.ndarray) -> None:
        self._rule.restrict(grammar, mask)
        mask[grammar.vocabulary.beat.start : grammar.vocabulary.beat.stop] = False

    def observe(self, grammar: Grammar, token: int) -> None:
        self._rule.observe(grammar, token)


def test_rules_that_only_python_knows_are_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    def types_of_new_tokens() -> set[int]:
        batch = begin(MODEL, Prompt(prompt(), TOKENIZER), Request(bars=1, seed=3))
        tokens = [token for new, *_ in finished(batch) for token in new]
        return set(TOKENIZER.vocabulary.types_of(np.array(tokens)).tolist())

    assert TokenType.BEAT in types_of_new_tokens()
    rule = Prompt.rule
    monkeypatch.setattr(Prompt, "rule", lambda *given: NoBeats(rule(*given)))
    assert TokenType.BEAT not in types_of_new_tokens()


@pytest.mark.parametrize("longest", [0, 7])
def test_bars_that_are_too_long_end_as_in_the_reference(
    longest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("endings", "native_steps"):
        name = f"rwkv_music.generation.sampling.{module}.MAX_TOKENS_PER_BAR"
        monkeypatch.setattr(name, longest)
    request = Request(bars=3, candidates=3)
    pieces = compare(lambda: begin(MODEL, Prompt(prompt(), TOKENIZER), request))
    hole = HolePrompt.of(band(), TOKENIZER, bars=(2, 3))
    pieces += compare(lambda: begin_filling(MODEL, hole, request))
    assert max(len(tokens) for tokens, *_ in pieces) < 3 * (longest + 20)
