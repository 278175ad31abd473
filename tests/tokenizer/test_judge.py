"""The grammar and the encoder against a second judge that shares no code with them."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rwkv_music.errors import InputError
from rwkv_music.score import load_score
from rwkv_music.tokenizer import Tokenizer
from tests.tokenizer.judge import fault_of
from tests.tokens import random_score, random_stream

TOKENIZER = Tokenizer()
V = TOKENIZER.vocabulary
OTHERS = [(48, 32, 4), (192, 64, 9), (480, 128, 32)]


def grammar_accepts(ids: list[int], tokenizer: Tokenizer = TOKENIZER) -> bool:
    grammar = tokenizer.grammar()
    try:
        grammar.feed(np.array(ids))
    except InputError:
        return False
    return grammar.finished


def mutated(ids: list[int], rng: np.random.Generator) -> list[int]:  # noqa: PLR0911
    """The stream with one small change; most are of the kind that a careless rule lets through."""
    at = int(rng.integers(1, len(ids)))
    change = int(rng.integers(7))
    if change == 0:
        return [*ids[:at], *ids[at + 1 :]]
    if change == 1:
        return [*ids[:at], ids[at], *ids[at:]]
    if change == 2:  # another value of the same type
        step = int(rng.choice([-2, -1, 1, 2]))
        return [*ids[:at], max(0, ids[at] + step), *ids[at + 1 :]]
    if change == 3:
        return [*ids[:at], int(rng.integers(V.num_used)), *ids[at:]]
    if change == 6:  # the header's signature, or its tempo, said again behind a bar line
        bar = int(rng.choice([index for index, token in enumerate(ids) if token == V.BAR]))
        begin = next(index for index, token in enumerate(ids) if token in V.numerator)
        stated = ids[begin : begin + 2] if rng.random() < 0.5 else ids[1:begin]
        return [*ids[: bar + 1], *stated, *ids[bar + 1 :]]
    other = int(rng.integers(1, len(ids)))
    first, second = min(at, other), max(at, other)
    if change == 4:  # two stretches change places
        end = min(second + 3, len(ids))
        return [*ids[:first], *ids[second:end], *ids[first:second], *ids[end:]]
    return [*ids[:first], *ids[second:]]


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_what_the_grammar_accepts_is_canonical_for_the_judge(seed: int) -> None:
    ids, grammar = random_stream(TOKENIZER, np.random.default_rng(seed), most=300)
    fault = fault_of(ids.tolist())
    assert (fault == "") == grammar.finished, fault


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_what_the_encoder_writes_is_canonical_for_the_judge(seed: int) -> None:
    rng = np.random.default_rng(seed)
    score = random_score(rng, ticks=480, free=True)
    assert fault_of(TOKENIZER.encode(score).tolist()) == ""
    for steps, velocities, max_parts in OTHERS:
        other = Tokenizer(steps_per_quarter=steps, velocities=velocities, max_parts=max_parts)
        try:
            ids = other.encode(score)
        except InputError:  # more programs than parts
            continue
        kwargs = {"steps": steps, "velocities": velocities, "max_parts": max_parts}
        assert fault_of(ids.tolist(), **kwargs) == ""


def test_the_grammar_and_the_judge_agree_on_streams_with_a_fault() -> None:
    accepted = refused = 0
    faults = set()
    for seed in range(40):
        rng = np.random.default_rng(seed)
        ids = TOKENIZER.encode(random_score(rng, parts=2)).tolist()
        for _ in range(15):
            changed = mutated(ids, rng)
            fault = fault_of(changed)
            assert grammar_accepts(changed) == (not fault), (fault, seed)
            accepted += not fault
            refused += bool(fault)
            faults.add(fault)
    # Enough of both, and nearly every rule of the judge.
    assert accepted > 30
    assert refused > 300
    named = {fault for fault in faults if " instead of " not in fault}
    assert len(named) >= 15, sorted(named)


@pytest.mark.parametrize("settings_", OTHERS)
def test_the_grammar_and_the_judge_agree_with_other_settings(
    settings_: tuple[int, int, int],
) -> None:
    steps, velocities, max_parts = settings_
    tokenizer = Tokenizer(steps_per_quarter=steps, velocities=velocities, max_parts=max_parts)
    kwargs = {"steps": steps, "velocities": velocities, "max_parts": max_parts}
    outcomes = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        ids, _ = random_stream(tokenizer, rng, bars=2, most=200)
        for changed in (ids.tolist(), *(mutated(ids.tolist(), rng) for _ in range(8))):
            fault = fault_of(changed, **kwargs)
            assert grammar_accepts(changed, tokenizer) == (not fault), (fault, seed)
            outcomes.append(not fault)
    assert 4 < sum(outcomes) < len(outcomes) - 20


def test_real_music_is_canonical_for_the_judge(shared_data: Path) -> None:
    for name, every in (("pop909", 100), ("freedoom", 25), ("groove", 300)):
        for path in sorted((shared_data / name).rglob("*.mid"))[::every]:
            assert fault_of(TOKENIZER.encode(load_score(path)).tolist()) == ""
