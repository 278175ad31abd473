"""The event table: what is read from ids is written as the same ids."""

import numpy as np
import pytest

from rwkv_music.errors import InputError
from rwkv_music.tokenizer import BarIndex, Tokenizer, native
from rwkv_music.tokenizer.encode import events_of
from rwkv_music.tokenizer.events import EventTable, EventType
from rwkv_music.tokenizer.reader import read_events, read_whole
from rwkv_music.tokenizer.writer import write_events
from tests.skips import NO_NATIVE_LIBRARY
from tests.tokens import random_score

TOKENIZER = Tokenizer()
V = TOKENIZER.vocabulary


@pytest.fixture(params=["numpy", "native"])
def loops(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "native" and native._loops() is None:
        pytest.skip(NO_NATIVE_LIBRARY)
    monkeypatch.setenv(native.VARIABLE, request.param)
    return str(request.param)


def test_pieces_and_windows_are_written_as_they_were_read(loops: str) -> None:
    for seed in range(30):
        rng = np.random.default_rng(seed)
        index = BarIndex(TOKENIZER.encode(random_score(rng, ticks=480, free=True)), TOKENIZER)
        for _ in range(4):
            start = int(rng.integers(index.num_bars))
            stop = int(rng.integers(start + 1, index.num_bars + 1))
            ids = index.window(start, stop).ids
            table = read_events(ids, V)
            assert table is not None
            assert table.is_complete == (stop == index.num_bars)
            assert (np.diff(table.keys) >= 0).all()
            np.testing.assert_array_equal(write_events(table, V), ids)


def test_the_table_of_a_score_is_the_table_of_its_ids(loops: str) -> None:
    for seed in range(30):
        score = random_score(np.random.default_rng(seed), ticks=480, free=True)
        made, read = events_of(score, V), read_whole(TOKENIZER.encode(score), V)
        assert made.header == read.header
        np.testing.assert_array_equal(made.keys, read.keys)


def test_keys_and_values_say_the_same(loops: str) -> None:
    """Where a table was made from values, its keys give these values again."""
    ids = TOKENIZER.encode(random_score(np.random.default_rng(3), ticks=480, free=True))
    table = read_whole(ids, V)
    again = EventTable(table.header, table.keys).values
    has_part = again.types >= EventType.PEDAL_UP
    for name, ours, theirs in zip(again._fields, again, table.values, strict=True):
        chosen = has_part if name == "parts" else np.ones(len(table), dtype=bool)
        np.testing.assert_array_equal(ours[chosen], theirs[chosen], err_msg=name)
    first_tokens = ids[table.tokens]
    is_note = again.types >= EventType.NOTE
    np.testing.assert_array_equal(ids[table.tokens[is_note] + 1], again.second_tokens[is_note])
    assert (V.types_of(first_tokens[again.types == EventType.BAR]) == 3).all()


def test_events_outside_their_bar_are_refused(loops: str) -> None:
    table = read_whole(TOKENIZER.encode(random_score(np.random.default_rng(5))), V)
    is_bar = table.values.types == EventType.BAR
    with pytest.raises(InputError, match="the first event is not a bar"):
        write_events(table.select(~is_bar), V)
    late = table.keys + (np.int64(20_000) << 39) * ~is_bar
    with pytest.raises(InputError, match="a bar has at most 12288"):
        write_events(EventTable(table.header, late), V)


def test_ids_that_are_not_a_stream_are_refused(loops: str) -> None:
    for ids in ([], [V.BAR], [V.BOS, V.BAR], [V.BOS, 4], [V.BOS, V.tempo[0], 5000]):
        assert read_events(np.array(ids, dtype=np.int64), V) is None
    with pytest.raises(InputError, match="the ids are not a token stream"):
        read_whole(np.array([V.BAR]), V)


def test_music_of_more_than_a_day_is_cut_and_does_not_overflow(loops: str) -> None:
    """Decoding never raises: bars that an event could not be placed in are left out."""
    header = [V.BOS, V.tempo[0], V.numerator[127], V.denominator[2], V.part[0], V.program[0]]
    note = [V.part[0], V.pitch[60], V.velocity[9], V.duration[9]]
    bars = [V.BAR] * 3000  # of 128 quarters: 384,000 quarters, and 174,762 fit
    ids = np.array([*header, V.BAR, *note, *bars, *note[1:]])
    assert read_events(ids, V) is None
    score = TOKENIZER.decode(ids)
    assert [note.time for track in score.tracks for note in track.notes] == [0]
