"""Layouts of one piece, for evaluation."""

import numpy as np
import symusic

from rwkv_music.evaluation.comparison.layouts import LAYOUTS, in_layout
from rwkv_music.tokenizer import Tokenizer
from tests.music import tune

TOKENIZER = Tokenizer()


def band() -> symusic.Score:
    """Two piano parts, the first one higher, a violin, and drums."""
    score = tune(bars=4)
    violin = symusic.Track("violin", 40, False)
    violin.notes.append(symusic.Note(0, 96, 50, 80))
    drums = symusic.Track("drums", 0, True)
    drums.notes.append(symusic.Note(96, 96, 36, 80))
    for track in (violin, drums):
        score.tracks.append(track)
    return score


def tracks_in(layout: str, score: symusic.Score) -> list[tuple[int, bool, list[tuple[int, int]]]]:
    ids = in_layout(TOKENIZER.encode(score), layout, TOKENIZER.vocabulary)
    assert ids is not None
    back = TOKENIZER.decode(ids)
    np.testing.assert_array_equal(TOKENIZER.encode(back), ids)
    return [
        (track.program, track.is_drum, [(note.time, note.pitch) for note in track.notes])
        for track in back.tracks
    ]


def test_each_layout_stores_the_same_music_otherwise() -> None:
    score = band()
    first, second, violin, drums = tracks_in("as stored", score)
    merged = sorted({*first[2], *second[2], *violin[2]})
    assert [(program, sorted(notes)) for program, _, notes in tracks_in("one piano", score)] == [
        (0, merged)
    ]
    assert tracks_in("no melody", score) == [second, violin, drums]
    assert tracks_in("reordered", score) == [second, first, violin, drums]
    shifted = tracks_in("off the bars", score)
    assert [[(time - 132, pitch) for time, pitch in track[2]] for track in shifted] == [
        track[2] for track in (first, second, violin, drums)
    ]


def test_a_layout_that_changes_nothing_is_none() -> None:
    single = TOKENIZER.encode(tune(bars=3, parts=1))
    changed = {name: in_layout(single, name, TOKENIZER.vocabulary) for name in LAYOUTS}
    assert {name for name, ids in changed.items() if ids is None} == {
        "one piano", "no melody", "reordered",
    }  # fmt: skip
