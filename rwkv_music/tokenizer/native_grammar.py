"""The grammar inside bars in the native library (`grammar.h`): its state as a structure.

`HoleGrammar` is the reference. The native one has no checks and no headers: it starts from the
state of a grammar that has read a prompt.
"""

import ctypes
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from rwkv_music.tokenizer.grammar import Grammar
from rwkv_music.tokenizer.grammar_state import EventKey
from rwkv_music.tokenizer.native_arguments import NativeTables, Number, Pointer, address_of
from rwkv_music.tokenizer.tokenizer_settings import MAX_PARTS
from rwkv_music.tokenizer.vocabulary import Vocabulary

_TYPES = 32
"""`kTokenTypes` of tokenizer_keys.h."""


class _GrammarTables(ctypes.Structure):
    """`GrammarTables` of grammar.h."""

    _fields_: ClassVar = [
        *((name, Pointer) for name in ("types", "values", "durations")),
        *((name, Pointer) for name in ("exact_tempos", "possible_tempos")),
        *((name, Number) for name in ("size", "steps_per_quarter")),
        *((name, Number) for name in ("num_velocities", "num_durations")),
        ("first", Number * _TYPES),
        ("count", Number * _TYPES),
    ]


class _GrammarKey(ctypes.Structure):
    """`GrammarKey` of grammar.h."""

    _fields_: ClassVar = [(name, Number) for name in EventKey._fields]


_Programs = Number * MAX_PARTS
_TUPLES: dict[str, Any] = {"key": _GrammarKey, "note": _GrammarKey, "programs": _Programs}


class GrammarStruct(ctypes.Structure):
    """`GrammarState` of grammar.h."""

    _fields_: ClassVar = [
        *((name, Number) for name in ("last", "tempo", "fraction", "old_tempo", "old_fraction")),
        *((name, Number) for name in ("numerator", "denominator", "new_numerator")),
        *((name, Number) for name in ("num_programs", "part", "bars", "bar_start", "bar_length")),
        *((name, Number) for name in ("bar_is_empty", "was_cut", "beat", "subbeat", "is_pending")),
        *((name, Number) for name in ("pedals", "used", "has_note", "sound_end")),
        *((name, Number) for name in ("last_tempo_time", "hole_bars", "bars_begun", "listed")),
        *((name, Number) for name in ("given_here", "run", "is_cut", "hole_end")),
        *((name, _GrammarKey) for name in ("key", "note")),
        ("programs", _Programs),
    ]


@lru_cache
def native_grammar_tables(vocabulary: Vocabulary) -> NativeTables:
    """Return the tables of the grammar, made once."""
    arrays = (
        vocabulary.types, vocabulary.values, vocabulary.durations,
        np.ascontiguousarray(vocabulary.exact_tempos), vocabulary.possible_tempos,
    )  # fmt: skip
    first, count = (Number * _TYPES)(), (Number * _TYPES)()
    for token_type, ids in vocabulary.ranges.items():
        first[token_type], count[token_type] = ids.start, len(ids)
    structure = _GrammarTables(
        *map(address_of, arrays),
        *(vocabulary.size, vocabulary.steps_per_quarter),
        *(vocabulary.num_velocities_used, len(vocabulary.durations)),
        first,
        count,
    )
    return NativeTables(arrays, structure)


def native_state(grammar: Grammar) -> GrammarStruct:
    """Return the state of a grammar as a structure.

    Args:
        grammar: It must be inside a bar (`is_in_bar`).
    """
    assert grammar.is_in_bar
    state = GrammarStruct(hole_end=-1)
    for name, value in grammar.numbers().items():
        setattr(state, name, _TUPLES[name](*value) if isinstance(value, tuple) else value)
    return state
