"""The grammar of holes: what is sampled under it is a hole that is written as the same ids."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rwkv_music.errors import InputError
from rwkv_music.tokenizer import Tokenizer, TokenType
from rwkv_music.tokenizer.holes import split_hole, write_hole
from rwkv_music.tokenizer.holes.edge import bar_ends
from rwkv_music.tokenizer.reader import read_whole
from tests.tokenizer.holes import random_hole

TOKENIZER = Tokenizer()
V = TOKENIZER.vocabulary


def given_runs(ids: np.ndarray, scored: np.ndarray) -> list[list[int]]:
    """The tokens up to and with the first BAR of the hole, and those given behind each BAR."""
    runs: list[list[int]] = [[]]
    in_hole = False
    for token, is_scored in zip(ids[:-1].tolist(), scored[:-1].tolist(), strict=True):
        in_hole |= bool(V.types[token] == TokenType.FILL)
        if in_hole and token == V.BAR:
            runs.append([])
        if not is_scored or token == V.BAR:
            runs[-1].append(token)
    return runs


def random_filling(seed: int) -> np.ndarray:
    """Fill a random hole with random tokens that the grammar allows."""
    rng = np.random.default_rng(seed)
    hole = random_hole(TOKENIZER, seed)
    stream = write_hole(hole, V)
    grammar = TOKENIZER.grammar()
    grammar.end_hole_at(int(bar_ends(read_whole(hole.fill, V), V)[1][-1]))
    tokens: list[int] = []
    for bar, run in enumerate(given_runs(stream.ids, stream.scored)):
        for token in run:
            grammar.advance(token)
        tokens += run
        while bar:
            allowed = np.flatnonzero(grammar.allowed())
            types = V.types_of(allowed)
            # Pedals are left to the given events: a part may be given in the next bar.
            choices = sorted(set(types.tolist()) - {TokenType.BAR, TokenType.EOS, TokenType.PED})
            can_end = bool(grammar.allowed()[[V.BAR, V.EOS]].any())
            if can_end and (not choices or rng.random() < 0.1):
                break
            token = int(rng.choice(allowed[types == rng.choice(choices)]))
            grammar.advance(token)
            tokens.append(token)
    grammar.advance(V.EOS)
    return np.array([*tokens, V.EOS], dtype=np.uint16)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_what_the_grammar_lets_a_model_write_in_a_hole_is_canonical(seed: int) -> None:
    ids = random_filling(seed)
    np.testing.assert_array_equal(write_hole(split_hole(ids, V), V).ids, ids)


def test_random_fillings_have_notes() -> None:
    assert np.mean([TOKENIZER.note_count(random_filling(seed)) for seed in range(20)]) > 10


def feed(*tokens: int) -> "np.ndarray":
    """Feed a header of piano and bass, then these tokens; return what may be written next."""
    grammar = TOKENIZER.grammar()
    header = [V.BOS, V.tempo[92], V.numerator[3], V.denominator[2]]
    parts = [V.part[0], V.program[0], V.part[1], V.program[33]]
    for token in (*header, *parts, *tokens):
        grammar.advance(token)
    return grammar.allowed()


def note(pitch: int) -> list[int]:
    return [V.pitch[pitch], V.velocity[20], V.duration[95]]


def test_only_written_parts_are_offered() -> None:
    allowed = feed(V.fill[0], V.part[1], V.BAR)
    assert allowed[V.part[1]]
    assert not allowed[V.part[0]]


def test_exactly_as_many_bars_are_offered_as_the_hole_has() -> None:
    first = feed(V.fill[1], V.BAR)
    assert first[V.BAR]
    assert not first[V.EOS]
    last = feed(V.fill[1], V.BAR, V.BAR)
    assert last[V.EOS]
    assert not last[V.BAR]


def test_no_note_is_offered_that_sounds_beyond_the_hole() -> None:
    allowed = feed(V.fill[0], V.BAR, V.beat[3], V.part[0], V.pitch[60], V.velocity[20])
    durations = V.durations[np.flatnonzero(allowed) - V.duration.start]
    assert durations.max() == V.steps_per_quarter


def test_metre_and_tempo_are_not_offered_in_a_hole() -> None:
    allowed = feed(V.BAR, V.part[0], *note(60), V.fill[0], V.BAR)
    types = set(V.types_of(np.flatnonzero(allowed)).tolist())
    assert not types & {TokenType.NUM, TokenType.TEMPO, TokenType.GIVEN, TokenType.FILL}


def test_marks_are_accepted_but_never_offered() -> None:
    allowed = feed(V.BAR, V.part[0], *note(60))
    assert not allowed[[V.SUFFIX, V.PREFIX, *V.fill, V.GIVEN, V.WRITE]].any()
    feed(V.BAR, V.part[0], *note(60), V.SUFFIX, V.BAR, V.part[0], *note(62), V.fill[0])


@pytest.mark.parametrize(
    "tokens",
    [
        pytest.param([V.PREFIX], id="a prefix without a suffix in front of it"),
        pytest.param([V.BAR, V.SUFFIX, V.fill[0]], id="an empty suffix"),
        pytest.param([V.BAR, V.GIVEN], id="given events outside of a hole"),
        pytest.param([V.fill[0], V.part[1], V.part[0]], id="parts out of order"),
        pytest.param([V.fill[0], V.part[0], V.part[1], V.BAR], id="all parts without a reason"),
        pytest.param([V.fill[0], V.BAR, V.GIVEN, V.WRITE], id="nothing given"),
        pytest.param(
            [V.fill[0], V.part[1], V.BAR, V.GIVEN, V.part[1], V.WRITE, V.part[1]],
            id="a given part that is written again",
        ),
    ],
)
def test_a_hole_that_breaks_a_rule_is_refused(tokens: list[int]) -> None:
    with pytest.raises(InputError, match="cannot follow"):
        feed(*tokens)
