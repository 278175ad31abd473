"""The tokenizer's loops in the native library (`native/source/tokenizer.h`), called by ctypes.

The results are those of the numpy code, bit for bit. The native library is used wherever it is
installed; `RWKV_MUSIC_TOKENIZER=numpy` or `=native` forces one of them.
"""

import ctypes
import os
from functools import cache, lru_cache
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Int64, Integer, Shaped, UInt8, UInt16

from rwkv_music.errors import InputError
from rwkv_music.native import load_library
from rwkv_music.tokenizer import tables as numpy_tables
from rwkv_music.tokenizer.events import DEFAULT_TEMPO, EventColumns, EventTable, EventType, Header
from rwkv_music.tokenizer.vocabulary import MAX_PARTS, SLOWEST_TEMPO, Vocabulary

VARIABLE = "RWKV_MUSIC_TOKENIZER"
"""The environment variable that forces "numpy" or "native"."""
Array = Shaped[np.ndarray, "..."]
Pointer = ctypes.c_void_p
Number = ctypes.c_int64


class _EncodingTables(ctypes.Structure):
    """`EncodingTables` of tokenizer.h."""

    _fields_: ClassVar = [
        *((name, Pointer) for name in ("velocity", "duration", "steps", "first", "beat", "subbeat")),
        *((name, Number) for name in ("lengths", "durations", "bar_steps", "first_duration")),
        *((name, Number) for name in ("exact_steps", "steps_per_quarter", "first_part")),
    ]


class _DecodingTables(ctypes.Structure):
    """`DecodingTables` of tokenizer.h."""

    _fields_: ClassVar = [
        *((name, Pointer) for name in ("types", "values", "bits", "followers")),
        *((name, Pointer) for name in ("durations", "velocities")),
        *((name, Number) for name in ("size", "steps_per_quarter", "slowest_tempo")),
    ]


class _NoteColumns(ctypes.Structure):
    """`NoteColumns` of tokenizer.h."""

    _fields_: ClassVar = [
        *((name, Pointer) for name in ("time", "duration", "pitch", "velocity")),
        *((name, Pointer) for name in ("part_bits", "ends")),
        *((name, Number) for name in ("parts", "ticks")),
    ]


class _ControlColumns(ctypes.Structure):
    """`ControlColumns` of tokenizer.h."""

    _fields_: ClassVar = [
        *((name, Pointer) for name in ("number", "value", "time", "part_bits", "ends")),
        *((name, Number) for name in ("parts", "ticks", "steps")),
    ]


class _Summary(ctypes.Structure):
    """`StreamSummary` of tokenizer.h."""

    _fields_: ClassVar = [
        *((name, Number) for name in ("tempo", "numerator", "denominator", "programs")),
        ("is_complete", Number),
        ("counts", Number * len(EventType)),
        ("program", ctypes.c_uint8 * MAX_PARTS),
    ]


class _EventColumns(ctypes.Structure):
    """`EventColumns` of tokenizer.h."""

    _fields_: ClassVar = [
        *((name, Pointer) for name in ("note_time", "note_duration", "note_pitch")),
        *((name, Pointer) for name in ("note_velocity", "pedal_time", "pedal_value", "note_ends")),
        *((name, Pointer) for name in ("pedal_ends", "tempo_time", "tempo_steps")),
        *((name, Pointer) for name in ("signature_time", "numerator", "denominator")),
        *((name, Number) for name in ("notes", "pedals", "tempos", "bars", "signatures")),
    ]


def native_loops() -> "NativeLoops | None":
    """Return the native loops where they are to be used.

    Raises:
        InputError: If the environment variable has another value, or is "native" and the native
            library is not installed.
    """
    forced = os.environ.get(VARIABLE)
    if not forced:
        return _loops()
    if forced == "numpy":
        return None
    if forced != "native":
        raise InputError(f"{VARIABLE} must be numpy or native, got '{forced}'")
    loops = _loops()
    if loops is None:
        raise InputError(
            f"{VARIABLE} is native, but the native library is not there: "
            f"{load_library().explanation}"
        )
    return loops


def describe_loops() -> str:
    """Return in one line which loops run on this machine and why."""
    forced = os.environ.get(VARIABLE, "")
    if forced:
        return f"{forced} (set by {VARIABLE})"
    library = load_library()
    if library.functions is None:
        return f"numpy (no native library: {library.explanation})"
    return f"native ({library.explanation})"


@cache
def _loops() -> "NativeLoops | None":
    functions = load_library().functions
    return None if functions is None else NativeLoops(functions)


class NativeLoops:
    """Functions of the native library over numpy arrays.

    Args:
        functions: The library, as loaded.
    """

    def __init__(self, functions: ctypes.CDLL) -> None:
        self._note_keys = _declared(functions, "note_keys", 4)
        self._pedal_keys = _declared(functions, "pedal_keys", 2)
        self._write_events = _declared(functions, "write_events", 2, Number, Pointer)
        self._read_events = _declared(
            functions, "read_events", 2, Number, Number, Pointer, Pointer, Pointer
        )
        self._split_events = _declared(functions, "split_events", 2, Number, Pointer, Pointer)

    def note_keys(
        self,
        columns: tuple[Integer[np.ndarray, " notes"], ...],
        part_bits: Int64[np.ndarray, " parts"],
        ends: Int64[np.ndarray, " parts"],
        ticks_per_quarter: int,
        vocabulary: Vocabulary,
    ) -> tuple[Int64[np.ndarray, " notes"], int, int] | None:
        """Return the keys of notes, the last onset and the last offset.

        Args:
            columns: Times, durations, pitches and velocities, part by part.
            part_bits: For each part its type and index as bits of a key.
            ends: For each part the index behind its last note.
            ticks_per_quarter: Of the times and durations.
            vocabulary: Of the tokens.

        Returns:
            None if a value is below 0.
        """
        time, duration, pitch, velocity = columns
        keys = np.empty(len(time), dtype=np.int64)
        last = np.empty(2, dtype=np.int64)
        given = (
            _typed(time, np.int32), _typed(duration, np.int32), _typed(pitch, np.int8),
            _typed(velocity, np.int8), part_bits, ends,
        )  # fmt: skip
        notes = _NoteColumns(*map(_address, given), len(ends), ticks_per_quarter)
        tables = _encoding_tables(vocabulary)
        count = self._note_keys(
            tables.address, ctypes.addressof(notes), _address(keys), _address(last)
        )
        return None if count < 0 else (keys, int(last[0]), int(last[1]))

    def pedal_keys(
        self,
        number: UInt8[np.ndarray, " messages"],
        time: Integer[np.ndarray, " messages"],
        value: UInt8[np.ndarray, " messages"],
        part_bits: Int64[np.ndarray, " parts"],
        ends: Int64[np.ndarray, " parts"],
        ticks_per_quarter: int,
        steps_per_quarter: int,
    ) -> Int64[np.ndarray, " switches"] | None:
        """Return the keys of all switches of the sustain pedal.

        Returns:
            None if a time is below 0, or the messages of a part are not sorted by time.
        """
        keys = np.empty(len(number), dtype=np.int64)
        given = (
            _typed(number, np.uint8), _typed(value, np.uint8), _typed(time, np.int32), part_bits,
            ends,
        )  # fmt: skip
        controls = _ControlColumns(
            *map(_address, given), len(ends), ticks_per_quarter, steps_per_quarter
        )
        count = self._pedal_keys(ctypes.addressof(controls), _address(keys))
        return None if count < 0 else keys[:count]

    def write_events(
        self, table: EventTable, header: list[int], vocabulary: Vocabulary
    ) -> UInt16[np.ndarray, " tokens"] | None:
        """Return the ids of a table; None if its keys are not those of a sorted table."""
        out = np.empty(len(header) + 6 * len(table.keys) + 1, dtype=np.uint16)
        out[: len(header)] = header
        tables = _encoding_tables(vocabulary)
        keys = _typed(table.keys, np.int64)
        count = self._write_events(
            tables.address, _address(keys), len(keys), _address(out) + 2 * len(header)
        )
        if count < 0:
            return None
        end = len(header) + int(count)
        if table.is_complete:
            out[end] = vocabulary.EOS
            end += 1
        return out[:end].copy()

    def read_events(
        self, ids: Integer[np.ndarray, " tokens"], vocabulary: Vocabulary
    ) -> EventTable | None:
        """Return the events of a stream; see `reader.read_events`."""
        if not len(ids):
            return None
        if ids.dtype == np.uint64:  # which int64 may not hold
            ids = np.minimum(ids, vocabulary.size)
        ids = _typed(ids, np.uint16 if ids.dtype == np.uint16 else np.int64)
        keys = np.empty(len(ids), dtype=np.int64)
        tokens = np.empty(len(ids), dtype=np.int32)
        summary = _Summary()
        count = self._read_events(
            _decoding_tables(vocabulary).address,
            _address(ids),
            ids.itemsize,
            len(ids),
            _address(keys),
            _address(tokens),
            ctypes.addressof(summary),
        )
        if count < 0:
            return None
        header = Header(
            summary.tempo or DEFAULT_TEMPO,
            summary.numerator,
            summary.denominator,
            tuple(summary.program[: summary.programs]),
        )
        return EventTable(header, keys[:count], bool(summary.is_complete), tokens[:count])

    def split_events(self, table: EventTable, vocabulary: Vocabulary) -> EventColumns | None:
        """Return the events as columns, sorted by part; see `decode.columns_of`.

        Returns:
            None if a key holds an id beyond the vocabulary.
        """
        header, keys = table.header, _typed(table.keys, np.int64)
        parts, size = len(header.programs), len(keys)
        columns = EventColumns(
            *(np.empty(size, dtype) for dtype in (np.int32, np.int32, np.int8, np.int8)),
            *(np.empty(size, dtype) for dtype in (np.int32, np.uint8)),
            *(np.empty(parts + 1, np.int64) for _ in range(2)),
            *(np.empty(size + 1, dtype) for dtype in (np.int32, np.int64)),
            *(np.empty(size, dtype) for dtype in (np.int32, np.uint8, np.uint8)),
        )
        summary = _Summary(header.tempo, header.numerator, header.denominator, parts)
        out = _EventColumns(*map(_address, columns), size, size, size + 1, size)
        result = self._split_events(
            _decoding_tables(vocabulary).address,
            _address(keys),
            size,
            ctypes.addressof(summary),
            ctypes.addressof(out),
        )
        return None if result < 0 else columns.cut(out.tempos, out.signatures)


class _Tables:
    """A structure of pointers, and the arrays that they point to."""

    def __init__(self, arrays: tuple[Array, ...], structure: ctypes.Structure) -> None:
        self._kept = (arrays, structure)
        self.address = ctypes.addressof(structure)


@lru_cache
def _encoding_tables(vocabulary: Vocabulary) -> _Tables:
    tables = numpy_tables.encoding_tables(vocabulary)
    arrays = tuple(map(np.ascontiguousarray, tables[:6]))
    numbers = (
        len(tables.duration), len(tables.steps), len(tables.beat), tables.first_duration,
        tables.exact_steps, vocabulary.steps_per_quarter, vocabulary.part.start,
    )  # fmt: skip
    return _Tables(arrays, _EncodingTables(*map(_address, arrays), *numbers))


@lru_cache
def _decoding_tables(vocabulary: Vocabulary) -> _Tables:
    tables = numpy_tables.decoding_tables(vocabulary)
    arrays = (
        tables.types, tables.values, tables.bits, tables.followers, tables.durations,
        tables.velocities,
    )  # fmt: skip
    arrays = tuple(map(np.ascontiguousarray, arrays))
    numbers = (vocabulary.size, vocabulary.steps_per_quarter, SLOWEST_TEMPO)
    return _Tables(arrays, _DecodingTables(*map(_address, arrays), *numbers))


def _declared(functions: ctypes.CDLL, name: str, pointers: int, *others: Any) -> Any:  # noqa: ANN401
    """Return a function of the library that takes some pointers and then others."""
    function = getattr(functions, f"rwkv_music_{name}")
    function.argtypes = [Pointer] * pointers + list(others)
    function.restype = Number
    return function


def _typed(array: Array, dtype: Any) -> Array:  # noqa: ANN401 - whatever numpy takes
    """Return the array as contiguous numbers of a type."""
    return np.ascontiguousarray(array, dtype=dtype)


def _address(array: Array) -> int:
    """Return where an array's numbers begin; four times as fast as `array.ctypes.data`."""
    if array.size and array.flags.writeable:
        return ctypes.addressof(ctypes.c_char.from_buffer(array))
    return int(array.ctypes.data)
