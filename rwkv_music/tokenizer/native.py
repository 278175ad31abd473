"""The tokenizer's loops in the native library (`tokenizer_*.h`), called by ctypes.

The results are those of the numpy code, bit for bit. The native library is used wherever it is
installed; `RWKV_MUSIC_TOKENIZER=numpy` or `=native` forces one of them.
"""

import ctypes
import os
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Int64, Integer, UInt8, UInt16

from rwkv_music.errors import InputError
from rwkv_music.native import load_library
from rwkv_music.tokenizer import native_arguments as arguments
from rwkv_music.tokenizer.events import DEFAULT_TEMPO, EventColumns, EventTable, Header, Keys
from rwkv_music.tokenizer.native_arguments import (
    Number,
    Pointer,
    address_of,
    native_decoding_tables,
    native_encoding_tables,
    typed,
)
from rwkv_music.tokenizer.vocabulary import Vocabulary

VARIABLE = "RWKV_MUSIC_TOKENIZER"
"""The environment variable that forces "numpy" or "native"."""


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
        self._sort_keys = _declared(functions, "sort_keys", 1, Number, Pointer)
        self._write_events = _declared(functions, "write_events", 2, Number, Pointer)
        self._read_events = _declared(
            functions, "read_events", 2, Number, Number, Pointer, Pointer, Pointer
        )
        self._split_events = _declared(functions, "split_events", 2, Number, *[Pointer] * 5)

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
            typed(time, np.int32), typed(duration, np.int32), typed(pitch, np.int8),
            typed(velocity, np.int8), part_bits, ends,
        )  # fmt: skip
        notes = arguments.NoteColumnsStruct(*map(address_of, given), len(ends), ticks_per_quarter)
        tables = native_encoding_tables(vocabulary)
        count = self._note_keys(
            tables.address, ctypes.addressof(notes), address_of(keys), address_of(last)
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
            typed(number, np.uint8), typed(value, np.uint8), typed(time, np.int32), part_bits,
            ends,
        )  # fmt: skip
        controls = arguments.ControlColumnsStruct(
            *map(address_of, given), len(ends), ticks_per_quarter, steps_per_quarter
        )
        count = self._pedal_keys(ctypes.addressof(controls), address_of(keys))
        return None if count < 0 else keys[:count]

    def sort(self, keys: Keys) -> None:
        """Sort keys in place."""
        scratch = np.empty(len(keys), dtype=np.int64)
        self._sort_keys(address_of(keys), len(keys), address_of(scratch))

    def write_events(
        self, table: EventTable, header: list[int], vocabulary: Vocabulary
    ) -> UInt16[np.ndarray, " tokens"] | None:
        """Return the ids of a table; None if its keys are not those of a sorted table."""
        out = np.empty(len(header) + 6 * len(table.keys) + 1, dtype=np.uint16)
        out[: len(header)] = header
        tables = native_encoding_tables(vocabulary)
        keys = typed(table.keys, np.int64)
        count = self._write_events(
            tables.address, address_of(keys), len(keys), address_of(out) + 2 * len(header)
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
        ids = typed(ids, np.uint16 if ids.dtype == np.uint16 else np.int64)
        keys = np.empty(len(ids), dtype=np.int64)
        tokens = np.empty(len(ids), dtype=np.int32)
        summary = arguments.StreamSummary()
        count = self._read_events(
            native_decoding_tables(vocabulary).address,
            address_of(ids),
            ids.itemsize,
            len(ids),
            address_of(keys),
            address_of(tokens),
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
        return EventTable(
            header, keys[:count], is_complete=bool(summary.is_complete), tokens=tokens[:count]
        )

    def split_events(self, table: EventTable, vocabulary: Vocabulary) -> EventColumns | None:
        """Return the events as columns, sorted by part; see `decode.columns_of`.

        Returns:
            None if a key holds an id beyond the vocabulary.
        """
        header, keys = table.header, typed(table.keys, np.int64)
        size, ends = len(keys), len(header.programs) + 1
        ints = np.empty((5, size + 1), dtype=np.int32)
        octets = np.empty((5, size + 1), dtype=np.uint8)
        longs = np.empty(2 * ends + size + 1, dtype=np.int64)
        numbers = np.empty(2, dtype=np.int64)
        summary = arguments.StreamSummary(*header[:3], ends - 1)
        result = self._split_events(
            native_decoding_tables(vocabulary).address,
            address_of(keys),
            size,
            ctypes.addressof(summary),
            *(address_of(array) for array in (ints, octets, longs, numbers)),
        )
        if result < 0:
            return None
        tempos, signatures = numbers.tolist()
        signed = octets.view(np.int8)
        return EventColumns(
            note_time=ints[0],
            note_duration=ints[1],
            note_pitch=signed[0],
            note_velocity=signed[1],
            pedal_time=ints[2],
            pedal_value=octets[2],
            note_ends=longs[:ends],
            pedal_ends=longs[ends : 2 * ends],
            tempo_time=ints[3, :tempos],
            tempo_steps=longs[2 * ends : 2 * ends + tempos],
            signature_time=ints[4, :signatures],
            numerator=octets[3, :signatures],
            denominator=octets[4, :signatures],
        )


def _declared(functions: ctypes.CDLL, name: str, pointers: int, *others: Any) -> Any:  # noqa: ANN401
    """Return a function of the library that takes some pointers and then others."""
    function = getattr(functions, f"rwkv_music_{name}")
    function.argtypes = [Pointer] * pointers + list(others)
    function.restype = Number
    return function
