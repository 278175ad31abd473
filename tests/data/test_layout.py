"""Changes of layout equal the tokenizer's ids of the changed music."""

from collections.abc import Callable

import numpy as np
import pytest
import symusic
from hypothesis import given, settings
from hypothesis import strategies as st

from rwkv_music.data import Example
from rwkv_music.data.augmentation import RandomAugmentation, RandomLayout
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
from rwkv_music.errors import InputError
from rwkv_music.tokenizer import BarIndex, Tokenizer
from rwkv_music.tokenizer.events import EventTable
from rwkv_music.tokenizer.reader import read_whole
from rwkv_music.tokenizer.writer import write_events
from tests.tokenizer.judge import fault_of
from tests.tokens import notes_of, random_score

TOKENIZER = Tokenizer()
VOCABULARY = TOKENIZER.vocabulary
QUARTER = 96
EVERYTHING = [
    "few_parts", "late_parts", "split_parts", "merge_parts", "vary_programs", "shuffle_parts",
    "vary_chords", "flatten_velocity", "shift_bars",
]  # fmt: skip
Notes = list[tuple[int, int, int]]


def band(
    *parts: tuple[int, Notes], pedals: dict[int, list[tuple[int, bool]]] | None = None
) -> symusic.Score:
    """A score of (program, [(onset, pitch, length)]), in quarters; program 128 is drums."""
    score = symusic.Score(QUARTER)
    for index, (program, notes) in enumerate(parts):
        track = symusic.Track(str(index), program % 128, program == 128)
        for onset, pitch, length in notes:
            track.notes.append(symusic.Note(onset * QUARTER, length * QUARTER, pitch, 80))
        for onset, is_down in (pedals or {}).get(index, []):
            control = symusic.ControlChange(onset * QUARTER, 64, 127 if is_down else 0)
            track.controls.append(control)
        score.tracks.append(track)
    return score


def table_of(score: symusic.Score) -> EventTable:
    return read_whole(TOKENIZER.encode(score), VOCABULARY)


def music_of(table: EventTable) -> list[tuple[int, Notes]]:
    """Parts in the form of `band`."""
    score = TOKENIZER.decode(write_events(table, VOCABULARY))
    return [
        (
            128 if track.is_drum else track.program,
            [(n.time // QUARTER, n.pitch, n.duration // QUARTER) for n in track.notes],
        )
        for track in score.tracks
    ]


MELODY: Notes = [(0, 72, 1), (4, 74, 1)]
CHORDS: Notes = [(0, 48, 2), (0, 55, 2), (0, 60, 2), (4, 50, 2)]
DRUMS: Notes = [(0, 36, 1), (5, 38, 1)]


def test_parts_of_one_program_change_their_order() -> None:
    table = table_of(band((0, MELODY), (0, CHORDS), (128, DRUMS)))
    changed = reorder_parts(table, [1, 0, 2], VOCABULARY)
    assert music_of(changed) == [(0, CHORDS), (0, MELODY), (128, DRUMS)]
    with pytest.raises(InputError, match="permute only parts of one program"):
        reorder_parts(table, [2, 0, 1], VOCABULARY)
    with pytest.raises(InputError, match="permute only parts of one program"):
        reorder_parts(table, [0, 0, 2], VOCABULARY)


def test_merged_parts_are_one_part_without_doubled_notes() -> None:
    doubled: Notes = [(0, 60, 1), (0, 72, 3)]
    table = table_of(band((0, MELODY), (0, CHORDS), (0, doubled), (40, MELODY)))
    changed = merge_parts(table, [0, 1, 2], VOCABULARY)
    everything = sorted({*CHORDS, (0, 72, 3), (4, 74, 1)})
    assert music_of(changed) == [(0, everything), (40, MELODY)]
    two = merge_parts(table, [2, 0], VOCABULARY)
    assert music_of(two) == [(0, [(0, 60, 1), (0, 72, 3), (4, 74, 1)]), (0, CHORDS), (40, MELODY)]
    with pytest.raises(InputError, match=r"parts \[0, 3\] have the programs \[0, 40\]"):
        merge_parts(table, [0, 3], VOCABULARY)


def test_merged_parts_keep_the_pedal_of_the_part_that_uses_it_most() -> None:
    pedals = {0: [(1, True), (7, False)], 1: [(0, True), (2, False), (4, True), (6, False)]}
    table = table_of(band((0, MELODY), (0, CHORDS), pedals=pedals))
    changed = TOKENIZER.decode(write_events(merge_parts(table, [0, 1], VOCABULARY), VOCABULARY))
    [track] = changed.tracks
    assert [(control.time // QUARTER, control.value > 0) for control in track.controls] == pedals[1]


def test_a_part_is_split_at_a_pitch() -> None:
    pedals = {0: [(0, True), (3, False)]}
    table = table_of(band((0, [*CHORDS, (2, 70, 1)]), (9, MELODY), pedals=pedals))
    changed = split_part(table, 0, notes_from_pitch(table, 60), VOCABULARY)
    upper: Notes = [(0, 60, 2), (2, 70, 1)]
    lower: Notes = [(0, 48, 2), (0, 55, 2), (4, 50, 2)]
    assert music_of(changed) == [(0, upper), (0, lower), (9, MELODY)]
    tracks = TOKENIZER.decode(write_events(changed, VOCABULARY)).tracks
    assert [len(track.controls) for track in tracks] == [0, 2, 0]
    assert split_part(table, 0, notes_from_pitch(table, 30), VOCABULARY) is table
    assert split_part(table, 0, notes_from_pitch(table, 100), VOCABULARY) is table


def test_a_part_is_split_into_its_highest_notes_and_the_rest() -> None:
    table = table_of(band((0, CHORDS)))
    changed = split_part(table, 0, highest_notes(table, 0), VOCABULARY)
    assert music_of(changed) == [(0, [(0, 60, 2), (4, 50, 2)]), (0, [(0, 48, 2), (0, 55, 2)])]


def test_merging_undoes_a_split() -> None:
    table = table_of(band((0, CHORDS), (128, DRUMS)))
    split = split_part(table, 0, highest_notes(table, 0), VOCABULARY)
    np.testing.assert_array_equal(merge_parts(split, [0, 1], VOCABULARY).keys, table.keys)


def test_only_some_parts_are_kept() -> None:
    table = table_of(band((0, MELODY), (9, CHORDS), (128, DRUMS)))
    assert music_of(keep_parts(table, [0, 2], VOCABULARY)) == [(0, MELODY), (128, DRUMS)]
    early = table_of(band((0, MELODY), (9, [(0, 50, 1)])))
    assert keep_parts(early, [1], VOCABULARY) is early, "the last bar would be empty"


def test_a_part_enters_later() -> None:
    pedals = {1: [(0, True), (5, False), (6, True), (7, False)]}
    table = table_of(band((0, MELODY), (0, CHORDS), pedals=pedals))
    changed = silence_until(table, 1, 4 * QUARTER, VOCABULARY)
    assert music_of(changed) == [(0, MELODY), (0, [(4, 50, 2)])]
    controls = TOKENIZER.decode(write_events(changed, VOCABULARY)).tracks[1].controls
    assert [(control.time // QUARTER, control.value > 0) for control in controls] == [
        (6, True),
        (7, False),
    ]
    assert silence_until(table, 1, 8 * QUARTER, VOCABULARY) is table, "it would never enter"


def test_parts_are_sorted_by_their_new_programs() -> None:
    table = table_of(band((0, MELODY), (40, CHORDS), (128, DRUMS)))
    changed = replace_programs(table, {0: 50, 128: 3}, VOCABULARY)
    assert music_of(changed) == [(40, CHORDS), (50, MELODY), (128, DRUMS)]


def test_all_notes_get_one_velocity() -> None:
    score = band((0, MELODY), (128, DRUMS))
    score.tracks[0].notes[0].velocity = 20
    changed = flatten_velocities(table_of(score), 9, VOCABULARY)
    tracks = TOKENIZER.decode(write_events(changed, VOCABULARY)).tracks
    assert {note.velocity for track in tracks for note in track.notes} == {40}


def test_octaves_are_added_above_or_below() -> None:
    table = table_of(band((0, [*CHORDS, (6, 120, 1)]), (9, MELODY)))
    above = double_octaves(table, 0, upwards=True, vocabulary=VOCABULARY)
    assert set(music_of(above)[0][1]) - {*CHORDS, (6, 120, 1)} == {(0, 72, 2), (4, 62, 2)}
    below = double_octaves(table, 0, upwards=False, vocabulary=VOCABULARY)
    added = set(music_of(below)[0][1]) - {*CHORDS, (6, 120, 1)}
    assert added == {(0, 36, 2), (4, 38, 2), (6, 108, 1)}
    assert music_of(below)[1] == (9, MELODY)


def test_chords_lose_every_second_inner_note() -> None:
    chord: Notes = [(0, pitch, 2) for pitch in (40, 47, 52, 55, 59)]
    table = table_of(band((0, [*chord, (4, 50, 1), (4, 57, 1)])))
    thinned = music_of(thin_chords(table, 0, VOCABULARY))[0][1]
    assert thinned == [(0, 40, 2), (0, 52, 2), (0, 59, 2), (4, 50, 1), (4, 57, 1)]


def test_a_shifted_piece_gets_one_more_bar_if_it_needs_it() -> None:
    table = table_of(band((0, MELODY), (128, DRUMS)))
    changed = shift_off_bars(table, 3 * QUARTER, VOCABULARY)
    assert music_of(changed) == [(0, [(3, 72, 1), (7, 74, 1)]), (128, [(3, 36, 1), (8, 38, 1)])]
    ids = write_events(changed, VOCABULARY)
    assert TOKENIZER.num_bars(ids) == 3
    assert fault_of(ids.tolist()) == ""
    assert shift_off_bars(table, 4 * QUARTER, VOCABULARY) is table, "not less than a bar"


def test_a_shifted_piece_without_its_first_bar_begins_with_what_holds_there() -> None:
    score = band((0, [(0, 60, 1), (4, 62, 1), (9, 64, 1)]), pedals={0: [(1, True), (6, False)]})
    score.tempos.append(symusic.Tempo(0, qpm=100))
    score.tempos.append(symusic.Tempo(2 * QUARTER, qpm=90.5))
    table = table_of(score)
    changed = shift_off_bars(table, QUARTER, VOCABULARY, drops_first_bar=True)
    ids = write_events(changed, VOCABULARY)
    back = TOKENIZER.decode(ids)
    assert [(note.time // QUARTER, note.pitch) for note in back.tracks[0].notes] == [
        (1, 62),
        (6, 64),
    ]
    controls = [(control.time // QUARTER, control.value > 0) for control in back.tracks[0].controls]
    assert controls == [(0, True), (3, False)]
    assert [round(tempo.qpm, 2) for tempo in back.tempos] == [90.5]
    np.testing.assert_array_equal(TOKENIZER.encode(back), ids)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_random_layouts_of_pieces_are_canonical(seed: int, free: bool) -> None:
    rng = np.random.default_rng(seed)
    ids = TOKENIZER.encode(random_score(rng, ticks=480, free=free))
    layout = RandomLayout(**dict.fromkeys(EVERYTHING, 0.5))
    table, removed = layout(read_whole(ids, VOCABULARY), rng, VOCABULARY, prompt_bars=2)
    changed = write_events(table, VOCABULARY)
    np.testing.assert_array_equal(TOKENIZER.encode(TOKENIZER.decode(changed)), changed)
    if not removed:  # the music behind the first bar may leave a part silent, as a window may
        assert fault_of(changed.tolist()) == ""


@pytest.mark.parametrize("name", EVERYTHING)
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_each_change_of_a_window_keeps_it_canonical_and_its_completion(
    name: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    index = BarIndex(TOKENIZER.encode(random_score(rng, ticks=480, free=True)), TOKENIZER)
    start = int(rng.integers(index.num_bars))
    stop = int(rng.integers(start + 1, index.num_bars + 1))
    window = index.window(start, stop, completion_bar=int(rng.integers(start, stop)))
    augment = RandomAugmentation(
        vocabulary=VOCABULARY, max_semitones=0, max_velocity_bins=0, program_fraction=0,
        tempo_range=(1, 1), layout=RandomLayout(**{name: 1.0}),
    )  # fmt: skip
    before = Example(ids=window.ids, completion_start=window.completion_start)
    after = augment(before, rng)
    table = read_whole(after.ids, VOCABULARY)
    np.testing.assert_array_equal(write_events(table, VOCABULARY), after.ids)
    assert after.ids[after.completion_start] == VOCABULARY.BAR
    bars = [
        TOKENIZER.num_bars(example.ids[example.completion_start :]) for example in (before, after)
    ]
    assert bars[1] - bars[0] in ({0, 1} if name == "shift_bars" else {0})


CHANGED: dict[str, Callable[[symusic.Score], object]] = {
    "few_parts": lambda score: len(score.tracks),
    "late_parts": lambda score: [track.start() for track in score.tracks],
    "split_parts": lambda score: len(score.tracks),
    "merge_parts": lambda score: len(score.tracks),
    "vary_programs": lambda score: [track.program for track in score.tracks],
    "shuffle_parts": lambda score: [track.notes[0].pitch for track in score.tracks],
    "vary_chords": lambda score: score.note_num(),
    "flatten_velocity": lambda score: {n.velocity for track in score.tracks for n in track.notes},
    "shift_bars": lambda score: notes_of(score)[0][2],
}


@pytest.mark.parametrize("name", EVERYTHING)
def test_each_setting_switches_one_change_on(name: str) -> None:
    pieces: Notes = [(4 * bar, 48 + step, 2) for bar in range(4) for step in (0, 4, 7, 12)]
    above: Notes = [(2 * half, 72, 1) for half in range(8)]
    ids = TOKENIZER.encode(band((0, above), (0, pieces), (40, above)))
    rng = np.random.default_rng(0)
    seen = {}
    for share in (0.0, 1.0):
        layout = RandomLayout(**{name: share})
        assert layout.changes_nothing == (share == 0)
        changed = [
            layout(read_whole(ids, VOCABULARY), rng, VOCABULARY, prompt_bars=1)[0] for _ in range(8)
        ]
        seen[share] = {
            str(CHANGED[name](TOKENIZER.decode(write_events(table, VOCABULARY))))
            for table in changed
        }
    assert len(seen[0.0]) == 1
    assert seen[1.0] - seen[0.0]


def test_impossible_probabilities_are_refused() -> None:
    with pytest.raises(InputError, match=r"`merge_parts` must be in \[0, 1\], got 1.5"):
        RandomLayout(merge_parts=1.5)
