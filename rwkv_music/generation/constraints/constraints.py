"""Constraints: what the new music must or must not contain, whatever the model prefers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from jaxtyping import Bool

from rwkv_music.errors import InputError
from rwkv_music.generation.constraints.harmony import (
    PitchMask,
    chord_of,
    pitch_number,
    pitches_of_class,
    scale_of,
    tonic_triad,
)
from rwkv_music.tokenizer.vocabulary import DRUM_PROGRAM

LOWEST_DRUM, HIGHEST_DRUM = 35, 81
"""Drum keys of General MIDI."""
_CHOICES = {"drums": ("any", "none", "only"), "chord_length": ("bar", "beat")}


@dataclass(frozen=True, kw_only=True)
class Constraints:
    """Hard limits on new music. The defaults are those of ordinary pieces; `free()` has none.

    Limits on pitches concern parts with pitches, not drums.

    Raises:
        InputError: If a name or number is not understood.

    Example:
        >>> limits = Constraints(
        ...     scale="A major", pitch_range={"Melody": ("C4", "C6")}, max_polyphony=4
        ... )
        >>> limits.keep_tempo
        True
    """

    scale: str | None = None
    """Scale or key, such as "A major"; see `harmony.SCALES`."""
    pitch_range: Mapping[str | int, tuple[str | int, str | int]] = field(default_factory=dict)
    """Lowest and highest pitch of parts, by name or by index, counted from 0."""
    chords: Sequence[str] = ()
    """Chords such as "Am7", one per bar or beat, repeated from the beginning; "N" allows all."""
    chord_length: str = "bar"
    """How long a chord lasts: "bar", or "beat" (an eighth in 6/8)."""
    max_polyphony: int | None = None
    """Notes that may sound at once in each part."""
    drums: str = "any"
    """Whether drum parts may play ("any"), must not ("none"), or are the only ones ("only")."""
    end_on_tonic: bool = False
    """In the last bar only the tonic's triad, from its last beat on the tonic; needs a scale."""
    keep_tempo: bool = True
    """No change of tempo."""
    keep_time_signature: bool = True
    """No change of the time signature."""
    keep_whole_bars: bool = True
    """No bar that ends before its time signature says so, unless the prompt has one."""
    no_restrikes: bool = True
    """No pitch begins while it still sounds in its part."""
    no_doubled_notes: bool = True
    """No pitch begins twice at the same time in its part."""
    general_midi_drums: bool = True
    """Only the drum keys of General MIDI, 35 to 81."""

    def __post_init__(self) -> None:
        if self.max_polyphony is not None and self.max_polyphony < 1:
            raise InputError(f"max_polyphony must be at least 1, got {self.max_polyphony}")
        for name, choices in (
            ("drums", ("any", "none", "only")),
            ("chord_length", ("bar", "beat")),
        ):
            if getattr(self, name) not in choices:
                raise InputError(f"{name} must be one of {choices}, got '{getattr(self, name)}'")
        if self.end_on_tonic and self.scale is None:
            raise InputError("end_on_tonic needs a scale: give one, such as scale='C major'")
        if self.scale is not None:
            scale_of(self.scale)
        for chord in self.chords:
            chord_of(chord)
        for part, (low, high) in self.pitch_range.items():
            if pitch_number(low) > pitch_number(high):
                raise InputError(
                    f"the pitch range of part '{part}' goes from {low} down to {high}: give the "
                    "lower pitch first"
                )

    @classmethod
    def free(cls, **limits: object) -> "Constraints":
        """Return constraints without the defaults, so that the grammar alone limits the music."""
        free = cls(
            keep_tempo=False,
            keep_time_signature=False,
            keep_whole_bars=False,
            no_restrikes=False,
            no_doubled_notes=False,
            general_midi_drums=False,
        )
        return replace(free, **limits)  # type: ignore[arg-type] # checked by the class itself


@dataclass(frozen=True)
class PitchLimits:
    """Pitches that constraints allow in the parts of one piece."""

    base: Bool[np.ndarray, "parts pitches"]
    """Allowed at any time."""
    is_drum: Bool[np.ndarray, " parts"]
    chords: tuple[PitchMask, ...]
    chord_is_beat: bool
    triad: PitchMask | None
    """In the last bar, if the piece is to end on the tonic."""
    tonic: PitchMask | None
    """From the last beat of the last bar on."""

    @cached_property
    def chord_table(self) -> Bool[np.ndarray, "chords pitches"]:
        """The pitches of the chords in one array."""
        return np.array(self.chords, dtype=bool).reshape(-1, 128)


def pitch_limits(
    constraints: Constraints,
    programs: Sequence[int],
    names: Sequence[str],
    written: Sequence[int] | None = None,
) -> PitchLimits:
    """Return the pitches that constraints allow.

    Args:
        constraints: What the user asked for.
        programs: Program of each part.
        names: Name of each part.
        written: Parts to be written; all when None.

    Raises:
        InputError: If a part does not exist, or nothing is left that could be written.
    """
    is_drum = np.array([program == DRUM_PROGRAM for program in programs], dtype=bool)
    base = np.ones((len(programs), 128), dtype=bool)
    if constraints.general_midi_drums:
        base[is_drum, :LOWEST_DRUM] = base[is_drum, HIGHEST_DRUM + 1 :] = False
    if constraints.drums != "any":
        base[is_drum if constraints.drums == "none" else ~is_drum] = False
    chords = tuple(map(chord_of, constraints.chords))
    tonic = triad = None
    if constraints.scale is not None:
        tonic_class, scale = scale_of(constraints.scale)
        base[~is_drum] &= scale
        if constraints.end_on_tonic:
            tonic, triad = pitches_of_class(tonic_class), tonic_triad(tonic_class, scale)
    for part, (low, high) in constraints.pitch_range.items():
        index = part_index(part, names)
        base[index, : pitch_number(low)] = base[index, pitch_number(high) + 1 :] = False
    limits = PitchLimits(base, is_drum, chords, constraints.chord_length == "beat", triad, tonic)
    parts = range(len(programs)) if written is None else written
    _check_something_is_left(constraints, limits, [(part, names[part]) for part in parts])
    return limits


def part_index(part: str | int, names: Sequence[str]) -> int:
    """Return the index of a part, given by name or index.

    Raises:
        InputError: If there is no such part, or several of that name.
    """
    known = ", ".join(f"{index} '{name}'" for index, name in enumerate(names))
    if isinstance(part, int):
        if 0 <= part < len(names):
            return part
        raise InputError(f"there is no part {part}: the parts are {known}")
    matches = [
        index for index, name in enumerate(names) if name.strip().lower() == part.strip().lower()
    ]
    if not matches:
        raise InputError(f"there is no part '{part}': the parts are {known}")
    if len(matches) > 1:
        raise InputError(f"{len(matches)} parts are called '{part}': give an index of {known}")
    return matches[0]


def _check_something_is_left(
    constraints: Constraints, limits: PitchLimits, parts: Sequence[tuple[int, str]]
) -> None:
    """Refuse constraints under which no written part could play, and say which ones collide."""
    indices = [index for index, _ in parts]
    if not limits.base[indices].any():
        if constraints.drums == "only":
            raise InputError("drums='only', but no part to be written is a drum part")
        if constraints.drums == "none" and limits.is_drum[indices].all():
            raise InputError("drums='none', but every part to be written is a drum part")
        raise InputError(
            f"the scale '{constraints.scale}' has no pitch in the given pitch_range: widen one"
        )
    for index, name in parts:
        is_silenced = constraints.drums == ("none" if limits.is_drum[index] else "only")
        if not is_silenced and not limits.base[index].any():
            raise InputError(
                f"the scale '{constraints.scale}' has no pitch in the pitch_range of part "
                f"'{name}': widen one"
            )
        if limits.is_drum[index] or is_silenced:
            continue
        for chord, mask in zip(constraints.chords, limits.chords, strict=True):
            if not (limits.base[index] & mask).any():
                raise InputError(
                    f"no pitch of the chord '{chord}' is left for part '{name}': it is not in the "
                    "scale or the pitch_range; change one of them"
                )
        _check_end(limits, index, name)


def _check_end(limits: PitchLimits, index: int, name: str) -> None:
    if limits.tonic is not None and not (limits.base[index] & limits.tonic).any():
        raise InputError(
            f"end_on_tonic, but the tonic is not in the pitch_range of part '{name}': widen it"
        )
