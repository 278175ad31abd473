"""Any bar cut with its header decodes to the same music as the whole piece."""

import numpy as np
import pytest
import symusic

from rwkv_music.errors import InputError
from rwkv_music.score import TempoMap
from rwkv_music.tokenizer import BarIndex, Tokenizer
from rwkv_music.tokenizer.bar_index import BAR_ROW, index_bars
from tests.tokens import notes_of, random_score, random_stream

TOKENIZER = Tokenizer()
V = TOKENIZER.vocabulary


def bar_lines(ids: np.ndarray) -> list[int]:
    """Where each bar of a stream begins, read off by walking the grammar."""
    grammar = TOKENIZER.grammar()
    lines = []
    for token in ids.tolist():
        if token == V.BAR:
            # The end of the bar before, or the place where a pending position cuts it.
            copy = grammar.copy()
            copy.advance(token)
            lines.append(copy.bar_start)
        grammar.advance(token)
    return lines


def test_a_thousand_random_cuts_give_the_same_music() -> None:
    wrong = 0
    cuts = 0
    seed = 0
    while cuts < 1000:
        rng = np.random.default_rng(seed)
        seed += 1
        score = random_score(rng, ticks=480, free=True)
        ids = TOKENIZER.encode(score)
        index = BarIndex(ids, TOKENIZER)
        whole = TOKENIZER.decode(ids)
        lines = bar_lines(ids)
        timing = TempoMap(whole)
        for bar in range(index.num_bars):
            cut = TOKENIZER.decode(index.window(bar, index.num_bars).ids)
            start = lines[bar]
            same_notes = notes_of(cut) == notes_of(whole, start=start)
            positions = np.array([0, 50, 333])
            cut_seconds = TempoMap(cut).ticks_to_seconds(positions)
            whole_seconds = timing.ticks_to_seconds(positions + start)
            same_time = np.allclose(cut_seconds, whole_seconds - timing.ticks_to_seconds(start))
            wrong += not (same_notes and same_time)
            cuts += 1
    assert wrong == 0


def test_the_grammar_allows_windows() -> None:
    for seed in range(40):
        rng = np.random.default_rng(seed)
        index = BarIndex(TOKENIZER.encode(random_score(rng, ticks=480, free=True)), TOKENIZER)
        start = int(rng.integers(index.num_bars))
        stop = int(rng.integers(start + 1, index.num_bars + 1))
        completion = int(rng.integers(start, stop))
        window = index.window(start, stop, completion_bar=completion)
        # An EOS also needs every declared part to have sounded, which a window need not do.
        TOKENIZER.grammar().feed(window.ids[window.ids != V.EOS])
        assert window.ids[window.completion_start] == V.BAR
        assert TOKENIZER.num_bars(window.ids) == stop - start
        assert TOKENIZER.num_bars(window.ids[: window.completion_start]) == completion - start


def test_windows_of_random_streams_are_what_the_encoder_writes_for_them() -> None:
    compared = 0
    for seed in range(60):
        ids, grammar = random_stream(TOKENIZER, np.random.default_rng(seed), bars=3)
        if not grammar.finished:
            continue
        index = BarIndex(ids, TOKENIZER)
        for bar in range(index.num_bars):
            window = index.window(bar, index.num_bars).ids
            decoded = TOKENIZER.decode(window)
            parts = int(((window >= V.program.start) & (window < V.program.stop)).sum())
            if decoded.note_num() and len(decoded.tracks) == parts:
                np.testing.assert_array_equal(TOKENIZER.encode(decoded), window)
                compared += 1
    assert compared > 40


def slow_tune() -> np.ndarray:
    score = symusic.Score(96)
    score.tempos.append(symusic.Tempo(0, qpm=100.0))
    score.tempos.append(symusic.Tempo(4 * 96, qpm=50.5))
    score.time_signatures.append(symusic.TimeSignature(0, 4, 4))
    score.time_signatures.append(symusic.TimeSignature(4 * 96, 3, 4))
    track = symusic.Track("", 5, False)
    for onset in (0, 384, 384 + 288, 384 + 2 * 288):
        track.notes.append(symusic.Note(onset, 96, 60, 80))
    track.controls.append(symusic.ControlChange(96, 64, 127))
    score.tracks.append(track)
    return TOKENIZER.encode(score)


def test_the_header_at_a_bar_by_hand() -> None:
    index = BarIndex(slow_tune(), TOKENIZER)
    describe = [V.describe(int(token)) for token in index.header_at(2)]
    assert describe == [
        "BOS",
        "TEMPO 50",
        "TEMPO_FRACTION 128/256",
        "NUM 3",
        "DEN 4",
        "PART 0",
        "PROG 5",
    ]
    window = index.window(2, 3)
    assert [V.describe(int(token)) for token in window.ids[7:]] == [
        "BAR", "PART 0", "PED down", "PITCH C4 (60)", "VEL 80", "DUR 96/96",
    ]  # fmt: skip


def test_only_a_window_that_reaches_the_end_has_an_end() -> None:
    index = BarIndex(slow_tune(), TOKENIZER)
    assert index.window(0, 4).ids[-1] == V.EOS
    assert index.window(0, 3).ids[-1] != V.EOS
    np.testing.assert_array_equal(index.window(0, 4).ids, slow_tune())


def test_bars_out_of_range_are_refused() -> None:
    index = BarIndex(slow_tune(), TOKENIZER)
    with pytest.raises(InputError, match=r"bars \[3, 5\) are not in this piece of 4 bars"):
        index.window(3, 5)
    with pytest.raises(InputError, match=r"completion_bar must be in \[0, 2\], got 3"):
        index.window(0, 2, completion_bar=3)
    with pytest.raises(InputError, match="the ids are not a piece"):
        BarIndex(np.array([V.BAR], dtype=np.uint16), TOKENIZER)


def test_as_many_bars_as_fit_are_taken() -> None:
    for seed in range(40):
        rng = np.random.default_rng(seed)
        index = BarIndex(TOKENIZER.encode(random_score(rng, ticks=480, free=True)), TOKENIZER)
        start = int(rng.integers(index.num_bars))
        whole = [index.window(start, stop).ids for stop in range(start + 1, index.num_bars + 1)]
        for most in {len(ids) + more for ids in whole for more in (-1, 0, 1)}:
            fitting = [ids for ids in whole if len(ids) <= most]
            if fitting:
                np.testing.assert_array_equal(index.fitting(start, most), fitting[-1])


def test_a_bar_that_is_too_long_is_cut_behind_a_note() -> None:
    score = symusic.Score(96)
    track = symusic.Track("", 5, False)
    for pitch in range(60, 70):
        track.notes.append(symusic.Note(0, 96, pitch, 80))
    score.tracks.append(track)
    index = BarIndex(TOKENIZER.encode(score), TOKENIZER)
    whole = index.window(0, 1).ids
    # BOS TEMPO NUM DEN PART PROG BAR PART, then three tokens a note, then EOS.
    assert len(whole) == 8 + 10 * 3 + 1
    for most, taken in ((11, 11), (13, 11), (14, 14), (38, 38), (39, 39)):
        np.testing.assert_array_equal(index.fitting(0, most), whole[:taken])
    with pytest.raises(InputError, match=r"does not begin within 10 tokens, its header alone ta"):
        index.fitting(0, 10)


def test_a_stored_bar_index_gives_the_same_windows() -> None:
    ids = slow_tune()
    stored = index_bars(ids, V).tobytes()
    index = BarIndex(ids, TOKENIZER, np.frombuffer(stored, dtype=BAR_ROW))
    for bar in range(4):
        np.testing.assert_array_equal(
            index.window(bar, 4).ids, BarIndex(ids, TOKENIZER).window(bar, 4).ids
        )
    first, _, last, _ = index_bars(ids, V)
    assert (first["pedals"], last["pedals"]) == (0, 1)
    assert BAR_ROW.itemsize == 24
