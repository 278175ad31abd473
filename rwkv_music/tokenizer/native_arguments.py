"""What the native library takes from the tokenizer: its structures, for ctypes."""

import ctypes
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Shaped

from rwkv_music.tokenizer import tables as numpy_tables
from rwkv_music.tokenizer.tokenizer_settings import MAX_PARTS
from rwkv_music.tokenizer.vocabulary import SLOWEST_TEMPO, Vocabulary

Array = Shaped[np.ndarray, "..."]
Pointer = ctypes.c_void_p
Number = ctypes.c_int64


class EncodingTablesStruct(ctypes.Structure):
    """`EncodingTables` of tokenizer_keys.h."""

    _fields_: ClassVar = [
        *(
            (name, Pointer)
            for name in ("velocity", "duration", "steps", "first", "beat", "subbeat")
        ),
        *((name, Number) for name in ("lengths", "durations", "bar_steps", "first_duration")),
        *((name, Number) for name in ("exact_steps", "steps_per_quarter", "first_part")),
    ]


class DecodingTablesStruct(ctypes.Structure):
    """`DecodingTables` of tokenizer_keys.h."""

    _fields_: ClassVar = [
        *((name, Pointer) for name in ("types", "values", "bits", "followers")),
        *((name, Pointer) for name in ("durations", "velocities")),
        *((name, Number) for name in ("size", "steps_per_quarter", "slowest_tempo")),
    ]


class NoteColumnsStruct(ctypes.Structure):
    """`NoteColumns` of tokenizer_encode.h."""

    _fields_: ClassVar = [
        *((name, Pointer) for name in ("time", "duration", "pitch", "velocity")),
        *((name, Pointer) for name in ("part_bits", "counts")),
        *((name, Number) for name in ("parts", "ticks")),
    ]


class ControlColumnsStruct(ctypes.Structure):
    """`ControlColumns` of tokenizer_encode.h."""

    _fields_: ClassVar = [
        *((name, Pointer) for name in ("number", "value", "time", "part_bits", "counts")),
        *((name, Number) for name in ("parts", "ticks")),
    ]


class StreamSummary(ctypes.Structure):
    """`StreamSummary` of tokenizer_decode.h."""

    _fields_: ClassVar = [
        *((name, Number) for name in ("tempo", "numerator", "denominator", "programs")),
        ("is_complete", Number),
        ("program", ctypes.c_uint8 * MAX_PARTS),
    ]


class NativeTables:
    """A structure of pointers, and the arrays that they point to."""

    def __init__(self, arrays: tuple[Array, ...], structure: ctypes.Structure) -> None:
        self._kept = (arrays, structure)
        self.address = ctypes.addressof(structure)


@lru_cache
def native_encoding_tables(vocabulary: Vocabulary) -> NativeTables:
    """Return the tables for encoding, made once."""
    tables = numpy_tables.encoding_tables(vocabulary)
    given = (tables.velocity, tables.duration.astype(np.uint16), *tables[2:6])
    arrays = tuple(map(np.ascontiguousarray, given))
    sizes = (
        len(tables.duration), len(tables.steps), len(tables.beat), tables.first_duration,
        tables.exact_steps, vocabulary.steps_per_quarter, vocabulary.part.start,
    )  # fmt: skip
    return NativeTables(arrays, EncodingTablesStruct(*map(address_of, arrays), *sizes))


@lru_cache
def native_decoding_tables(vocabulary: Vocabulary) -> NativeTables:
    """Return the tables for decoding, made once."""
    tables = numpy_tables.decoding_tables(vocabulary)
    given: tuple[Array, ...] = (
        tables.types, tables.values, tables.bits, tables.followers, tables.durations,
        tables.velocities,
    )  # fmt: skip
    arrays = tuple(map(np.ascontiguousarray, given))
    sizes = (vocabulary.size, vocabulary.steps_per_quarter, SLOWEST_TEMPO)
    return NativeTables(arrays, DecodingTablesStruct(*map(address_of, arrays), *sizes))


def typed(array: Array, dtype: Any) -> Array:  # noqa: ANN401 - whatever numpy takes
    """Return the array as contiguous numbers of a type."""
    return np.ascontiguousarray(array, dtype=dtype)


def address_of(array: Array) -> int:
    """Return where an array's numbers begin; four times as fast as `array.ctypes.data`."""
    if array.size and array.flags.writeable:
        return ctypes.addressof(ctypes.c_char.from_buffer(array.data))
    return int(array.ctypes.data)
