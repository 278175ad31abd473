"""Constraints of one candidate as a structure of the native library (`constraints.h`)."""

import ctypes
from typing import ClassVar

from rwkv_music.generation.constraints.constraints import PitchLimits
from rwkv_music.tokenizer.native_arguments import Number, Pointer, address_of


class ConstraintsStruct(ctypes.Structure):
    """`Constraints` of constraints.h; without parts there are none."""

    _fields_: ClassVar = [
        *((name, Number) for name in ("keep_tempo", "keep_time_signature", "allows_cuts")),
        *((name, Number) for name in ("no_restrikes", "no_doubled_notes", "max_polyphony")),
        *((name, Number) for name in ("first_bar", "last_bar", "num_parts", "num_chords")),
        ("chord_is_beat", Number),
        *((name, Pointer) for name in ("base", "is_drum", "chords", "triad", "tonic")),
        *((name, Pointer) for name in ("offsets", "onsets")),
    ]


def constraints_structure(limits: PitchLimits, **numbers: int) -> ConstraintsStruct:
    """Return the structure of constraints, which holds the addresses of the masks in `limits`.

    Args:
        limits: Pitches that are allowed.
        numbers: The other fields of the structure by name.
    """
    return ConstraintsStruct(
        num_parts=len(limits.base),
        num_chords=len(limits.chords),
        chord_is_beat=limits.chord_is_beat,
        base=address_of(limits.base),
        is_drum=address_of(limits.is_drum),
        chords=address_of(limits.chord_table),
        triad=None if limits.triad is None else address_of(limits.triad),
        tonic=None if limits.tonic is None else address_of(limits.tonic),
        **numbers,
    )
