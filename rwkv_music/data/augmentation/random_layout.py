"""Random changes of layout: the same music as other files would store it."""

from dataclasses import dataclass, fields

import numpy as np

from rwkv_music.data.augmentation.bar_shift import shift_off_bars
from rwkv_music.data.augmentation.note_changes import (
    double_octaves,
    flatten_velocities,
    thin_chords,
)
from rwkv_music.data.augmentation.part_layout import (
    highest_notes,
    keep_parts,
    merge_parts,
    notes_from_pitch,
    reorder_parts,
    replace_programs,
    silence_until,
    split_part,
)
from rwkv_music.data.augmentation.table_editing import (
    BAR,
    is_note,
    parts_of,
    pitched_parts,
    pitches_of,
    times_of,
    types_of,
)
from rwkv_music.data.layout_config import LayoutConfig
from rwkv_music.tokenizer.events import EventTable
from rwkv_music.tokenizer.vocabulary import DRUM_PROGRAM, Vocabulary

Generator = np.random.Generator

_FAMILY = 8
"""General MIDI groups programs in families of eight."""
_LAST_PIANO = 7


@dataclass(frozen=True, kw_only=True, slots=True)
class RandomLayout(LayoutConfig):
    """Changes the layout of an example at random, each change with the probability of its setting.

    The changes are made in the order of the settings.
    """

    @property
    def changes_nothing(self) -> bool:
        """Whether every probability is 0."""
        return not any(getattr(self, entry.name) for entry in fields(self))

    def __call__(
        self, table: EventTable, generator: Generator, vocabulary: Vocabulary, *, prompt_bars: int
    ) -> tuple[EventTable, int]:
        """Return the changed events, and how many bars were left out at the beginning.

        Args:
            table: The events of a piece or window.
            generator: Source of chance.
            vocabulary: Of the tokens.
            prompt_bars: Bars before the completion, one of which stays.
        """
        changes = (
            (self.few_parts, _few_parts),
            (self.late_parts, _late_part),
            (self.split_parts, _split_piano),
            (self.merge_parts, _merge_parts),
            (self.vary_programs, _vary_programs),
            (self.shuffle_parts, _shuffle_parts),
            (self.vary_chords, _vary_chords),
            (self.flatten_velocity, _flatten_velocity),
        )
        for probability, change in changes:
            if probability and generator.random() < probability:
                table = change(table, generator, vocabulary)
        if not self.shift_bars or generator.random() >= self.shift_bars:
            return table, 0
        drops_first = prompt_bars > 1 and bool(generator.random() < 0.5)
        steps = _shift_steps(table, generator, vocabulary)
        shifted = shift_off_bars(table, steps, vocabulary, drops_first_bar=drops_first)
        return shifted, int(drops_first and shifted is not table)


def _few_parts(table: EventTable, generator: Generator, vocabulary: Vocabulary) -> EventTable:
    """Keep at least one part; each number of parts to keep is equally likely."""
    num_parts = len(table.header.programs)
    if num_parts < 2:
        return table
    num_kept = int(generator.integers(1, num_parts))
    kept = np.sort(generator.permutation(num_parts)[:num_kept]).tolist()
    return keep_parts(table, kept, vocabulary)


def _late_part(table: EventTable, generator: Generator, vocabulary: Vocabulary) -> EventTable:
    bars = times_of(table.keys[types_of(table.keys) == BAR])
    num_parts = len(table.header.programs)
    if num_parts < 2 or len(bars) < 2:
        return table
    part = int(generator.integers(num_parts))
    return silence_until(table, part, int(generator.choice(bars[1:])), vocabulary)


def _split_piano(table: EventTable, generator: Generator, vocabulary: Vocabulary) -> EventTable:
    pianos = [part for part, program in enumerate(table.header.programs) if program <= _LAST_PIANO]
    if not pianos:
        return table
    part = int(generator.choice(pianos))
    if generator.random() < 0.5:
        return split_part(table, part, highest_notes(table, part), vocabulary)
    own = pitches_of(table.keys[(parts_of(table.keys) == part) & is_note(table.keys)])
    if not len(own):
        return table
    # Near middle C, but within the notes that are there.
    pitch = int(np.clip(generator.integers(55, 66), own.min() + 1, own.max()))
    return split_part(table, part, notes_from_pitch(table, pitch), vocabulary)


def _merge_parts(table: EventTable, generator: Generator, vocabulary: Vocabulary) -> EventTable:
    groups = [parts for parts in _parts_by_program(table) if len(parts) > 1]
    if not groups:
        return table
    parts = groups[int(generator.integers(len(groups)))]
    if generator.random() < 0.5:
        parts = generator.permutation(parts)[:2].tolist()
    return merge_parts(table, parts, vocabulary)


def _vary_programs(table: EventTable, generator: Generator, vocabulary: Vocabulary) -> EventTable:
    programs = sorted(set(table.header.programs) - {DRUM_PROGRAM})
    replacements = {
        program: program // _FAMILY * _FAMILY + int(generator.integers(_FAMILY))
        for program in programs
    }
    return replace_programs(table, replacements, vocabulary)


def _shuffle_parts(table: EventTable, generator: Generator, vocabulary: Vocabulary) -> EventTable:
    order = [part for parts in _parts_by_program(table) for part in generator.permutation(parts)]
    return reorder_parts(table, [int(part) for part in order], vocabulary)


def _vary_chords(table: EventTable, generator: Generator, vocabulary: Vocabulary) -> EventTable:
    pitched = pitched_parts(table)
    if not pitched:
        return table
    part = int(generator.choice(pitched))
    match int(generator.integers(4)):
        case 0:
            return double_octaves(table, part, upwards=True, vocabulary=vocabulary)
        case 1:
            return double_octaves(table, part, upwards=False, vocabulary=vocabulary)
        case _:
            return thin_chords(table, part, vocabulary)


def _flatten_velocity(
    table: EventTable, generator: Generator, vocabulary: Vocabulary
) -> EventTable:
    """Use a velocity between those of p and ff."""
    used = vocabulary.num_velocities_used
    velocity = int(generator.integers(used // 3, used))
    return flatten_velocities(table, velocity, vocabulary)


def _shift_steps(table: EventTable, generator: Generator, vocabulary: Vocabulary) -> int:
    """Return a number of sixteenths in a bar, or any number of steps."""
    quarter = vocabulary.steps_per_quarter
    length = 4 * quarter * table.header.numerator // table.header.denominator
    sixteenth = quarter // 4
    if generator.random() < 0.5 and length > sixteenth:
        return sixteenth * int(generator.integers(1, length // sixteenth))
    return int(generator.integers(1, max(2, length)))


def _parts_by_program(table: EventTable) -> list[list[int]]:
    groups: dict[int, list[int]] = {}
    for part, program in enumerate(table.header.programs):
        groups.setdefault(program, []).append(part)
    return list(groups.values())
