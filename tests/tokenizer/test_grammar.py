"""The grammar allows exactly what the encoder writes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rwkv_music.errors import InputError
from rwkv_music.tokenizer import Tokenizer
from tests.tokens import random_score, random_stream

TOKENIZER = Tokenizer()
V = TOKENIZER.vocabulary


def test_what_the_grammar_allows_is_canonical() -> None:
    compared = 0
    for seed in range(80):
        ids, grammar = random_stream(TOKENIZER, np.random.default_rng(seed))
        if grammar.finished:
            np.testing.assert_array_equal(TOKENIZER.encode(TOKENIZER.decode(ids)), ids)
            compared += 1
    assert compared > 50


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1))
def test_what_the_encoder_writes_is_allowed(seed: int) -> None:
    score = random_score(np.random.default_rng(seed), ticks=480, free=True)
    grammar = TOKENIZER.grammar()
    grammar.feed(TOKENIZER.encode(score))
    assert grammar.finished


def test_most_random_walks_end_and_some_are_long() -> None:
    walks = [random_stream(TOKENIZER, np.random.default_rng(seed)) for seed in range(60)]
    finished = [len(ids) for ids, grammar in walks if grammar.finished]
    assert len(finished) > 40
    assert max(finished) > 60


def test_some_token_is_always_allowed_before_the_end() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        grammar = TOKENIZER.grammar()
        for _ in range(200):
            allowed = np.flatnonzero(grammar.allowed())
            if grammar.finished:
                assert not len(allowed)
                break
            assert len(allowed)
            grammar.advance(int(rng.choice(allowed)))


def prefix(*tokens: int) -> list[int]:
    """A header of one piano part at 100 quarters per minute in 4/4, and more."""
    header = [V.BOS, V.tempo[92], V.numerator[3], V.denominator[2], V.part[0], V.program[0]]
    return [*header, *tokens]


NOTE = (V.pitch[60], V.velocity[19], V.duration[95])


def after(*tokens: int) -> set[int]:
    """What may follow the header and these tokens."""
    grammar = TOKENIZER.grammar()
    grammar.feed(np.array(prefix(*tokens)))
    return set(np.flatnonzero(grammar.allowed()).tolist())


def test_the_first_note_needs_its_part_and_the_next_must_not_repeat_it() -> None:
    assert V.pitch[60] not in after(V.BAR)
    assert V.part[0] in after(V.BAR)
    assert V.pitch[64] in after(V.BAR, V.part[0], *NOTE)
    assert V.part[0] not in after(V.BAR, V.part[0], *NOTE)


def test_notes_of_one_moment_are_sorted() -> None:
    allowed = after(V.BAR, V.part[0], *NOTE)
    assert V.pitch[60] in allowed
    assert V.pitch[59] not in allowed
    repeated = after(V.BAR, V.part[0], *NOTE, V.pitch[60])
    assert V.velocity[18] not in repeated
    assert V.velocity[19] in repeated
    same = after(V.BAR, V.part[0], *NOTE, V.pitch[60], V.velocity[19])
    assert V.duration[94] not in same
    assert V.duration[95] in same


def test_positions_move_forward_inside_the_bar() -> None:
    allowed = after(V.BAR, V.part[0], *NOTE, V.beat[2], *NOTE)
    assert V.beat[3] in allowed
    assert V.beat[2] not in allowed
    assert V.beat[4] not in allowed
    assert V.subbeat[0] not in allowed
    assert V.subbeat[1] in allowed


def test_the_piece_ends_only_behind_a_note() -> None:
    assert V.EOS in after(V.BAR, V.part[0], *NOTE)
    assert V.EOS not in after(V.BAR, V.part[0], *NOTE, V.BAR)
    assert V.EOS not in after(V.BAR, V.part[0], *NOTE, V.beat[1])


def test_a_pending_position_cuts_the_bar_and_a_signature_must_follow() -> None:
    allowed = after(V.BAR, V.part[0], *NOTE, V.beat[1], V.BAR)
    assert allowed == set(V.numerator)


def test_the_current_signature_and_tempo_are_not_repeated() -> None:
    signs = after(V.BAR, V.part[0], *NOTE, V.BAR, V.numerator[3])
    assert V.denominator[2] not in signs
    assert V.denominator[3] in signs
    tempo = after(V.BAR, V.part[0], *NOTE, V.beat[1], V.tempo[92])
    assert tempo <= set(V.tempo_fraction)


def test_parts_are_declared_in_order_of_program() -> None:
    allowed = after(V.part[1])
    assert V.program[0] in allowed
    later = TOKENIZER.grammar()
    later.feed(np.array([*prefix()[:-1], V.program[40], V.part[1]]))
    assert not later.allowed()[V.program[39]]
    assert later.allowed()[V.program[40]]


def test_a_declared_part_must_sound_before_the_end() -> None:
    two = (V.part[1], V.program[40], V.BAR, V.part[0], *NOTE)
    assert V.EOS not in after(*two)
    assert V.EOS in after(*two, V.part[1], *NOTE)


def test_a_pedal_goes_up_only_when_it_is_down() -> None:
    fresh = after(V.BAR, V.part[0])
    assert (V.pedal[0] in fresh, V.pedal[1] in fresh) == (False, True)
    down = after(V.BAR, V.part[0], V.pedal[1], *NOTE, V.beat[1])
    assert (V.pedal[0] in down, V.pedal[1] in down) == (True, False)


def test_a_copy_is_independent() -> None:
    grammar = TOKENIZER.grammar()
    grammar.feed(np.array(prefix(V.BAR, V.part[0], *NOTE)))
    other = grammar.copy()
    other.advance(V.BAR)
    assert (grammar.bars, other.bars) == (1, 2)
    assert grammar.allows(V.EOS)
    assert not other.allows(V.EOS)


def test_a_token_that_is_not_allowed_is_refused_by_name() -> None:
    grammar = TOKENIZER.grammar()
    with pytest.raises(InputError, match=r"token 3 \(BAR\) cannot follow the beginning"):
        grammar.advance(V.BAR)
    grammar.advance(V.BOS)
    with pytest.raises(InputError, match=r"token 1 \(BOS\) cannot follow BOS"):
        grammar.advance(V.BOS)


def test_of_tempos_with_the_same_microseconds_one_is_allowed() -> None:
    exact = V.exact_tempos
    assert exact[:476].all()
    assert not exact[500:].all()
    assert exact[500:].any(axis=1).all()
