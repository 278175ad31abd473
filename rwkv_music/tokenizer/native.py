"""The tokenizer's loops in the native library (`tokenizer_*.h`), called by ctypes.

The results are those of the numpy code, bit for bit. The native library is used wherever it is
installed; `RWKV_MUSIC_TOKENIZER=numpy` or `=native` forces one of them.
"""

import ctypes
import os
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Integer, UInt16

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
from rwkv_music.tokenizer.quantize import ControlColumns, NoteColumns
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
        self._sound_keys = _declared(functions, "sound_keys", 5)
        self._sort_keys = _declared(functions, "sort_keys", 1, Number, Pointer)
        self._write_events = _declared(functions, "write_events", 2, Number, Pointer)
        self._read_events = _declared(
            functions, "read_events", 2, Number, Number, Pointer, Pointer, Pointer
        )
        self._split_events = _declared(functions, "split_events", 2, Number, *[Pointer] * 5)

    def sound_keys(
        self,
        notes: NoteColumns,
        controls: ControlColumns,
        ticks_per_quarter: int,
        vocabulary: Vocabulary,
    ) -> tuple[Keys, int, int] | None:
        """Return the keys of notes and pedals, the last event and the last offset in grid steps.

        Returns:
            None if a value is out of range, or the pedals of a part are not sorted by time.
        """
        num_notes, num_messages = notes.ticks.shape[1], len(controls.time)
        # An address costs as much as 200 notes: rows of an array need one between them.
        columns = (
            typed(notes.ticks, np.int32), typed(notes.values, np.int8), notes.parts,
            typed(controls.values, np.uint8), typed(controls.time, np.int32), controls.parts,
        )  # fmt: skip
        ticks, values, parts, messages, time, control_parts = map(address_of, columns)
        num_parts, num_control_parts = notes.parts.shape[1], controls.parts.shape[1]
        note_struct = arguments.NoteColumnsStruct(
            ticks, ticks + 4 * num_notes, values, values + num_notes,
            parts, parts + 8 * num_parts, num_parts, ticks_per_quarter,
        )  # fmt: skip
        control_struct = arguments.ControlColumnsStruct(
            messages, messages + num_messages, time,
            control_parts, control_parts + 8 * num_control_parts, num_control_parts,
            ticks_per_quarter,
        )  # fmt: skip
        keys = np.empty(num_notes + num_messages, dtype=np.int64)
        last = (Number * 2)()
        count = self._sound_keys(
            native_encoding_tables(vocabulary).address,
            ctypes.addressof(note_struct),
            ctypes.addressof(control_struct),
            address_of(keys),
            ctypes.addressof(last),
        )
        return None if count < 0 else (keys[:count], *last)

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
        lengths = np.empty(2, dtype=np.int64)
        summary = arguments.StreamSummary(*header[:3], ends - 1)
        result = self._split_events(
            native_decoding_tables(vocabulary).address,
            address_of(keys),
            size,
            ctypes.addressof(summary),
            *(address_of(array) for array in (ints, octets, longs, lengths)),
        )
        if result < 0:
            return None
        tempos, signatures = lengths.tolist()
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
