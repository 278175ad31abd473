"""The picture of an example shows the completion mask of the batch."""

import numpy as np
import pytest
from matplotlib.colors import to_rgba

from rwkv_music.data import Batch, Windows, collate, draw_example
from rwkv_music.data.loading.example_picture import GIVEN_COLOR, SCORED_COLOR
from rwkv_music.errors import InputError
from rwkv_music.tokenizer import Tokenizer
from tests.music import piece

TOKENIZER = Tokenizer()


@pytest.fixture
def batch() -> Batch:
    """A short and a long example, so that the first one has padding behind it."""
    windows = Windows([piece(6)], TOKENIZER, prompt_bars=2, completion_bars=2)
    short, long = windows.example(windows.spans()[0]), windows.example(windows.spans()[1])
    assert len(short.ids) < len(long.ids)
    return collate([short, long])


@pytest.mark.parametrize("row", [0, 1])
def test_the_cells_of_the_mask_are_marked(batch: Batch, row: int) -> None:
    _, cells = draw_example(batch, TOKENIZER, row=row).axes
    colors = cells.collections[0].get_facecolor()
    scored = int(batch.completion_mask[row].sum())
    total = int((batch.targets[row] != 0).sum()) + 1
    assert len(colors) == total
    assert (colors == to_rgba(SCORED_COLOR)).all(axis=1).sum() == scored
    assert (colors == to_rgba(GIVEN_COLOR)).all(axis=1).sum() == total - scored
    assert cells.get_title(loc="left") == f"{scored} of {total} tokens count in the loss"


def test_scored_notes_are_framed(batch: Batch) -> None:
    notes, _ = draw_example(batch, TOKENIZER, row=1).axes
    frames = [
        music_set for music_set in notes.collections if (music_set.get_linewidths() == 1.2).all()
    ]
    ends = np.isin(batch.targets[1].numpy(), TOKENIZER.vocabulary.duration)
    assert len(frames[-1].get_paths()) == int((ends & batch.completion_mask[1].numpy()).sum()) > 0
    seam = min(path.vertices[:, 0].min() for path in frames[-1].get_paths())
    assert seam == 2 * 4  # two bars of prompt, in quarters


def test_the_picture_depends_on_the_mask(batch: Batch) -> None:
    batch.completion_mask[1, :-3] = False
    _, cells = draw_example(batch, TOKENIZER, row=1).axes
    assert cells.get_title(loc="left").startswith("3 of ")


def test_a_missing_row_is_refused(batch: Batch) -> None:
    with pytest.raises(InputError, match=r"row must be in \[0, 2\), got 2"):
        draw_example(batch, TOKENIZER, row=2)


def test_every_token_is_drawn_at_its_time() -> None:
    vocabulary = TOKENIZER.vocabulary
    ids = piece(4).ids
    times = TOKENIZER.token_times(ids)
    assert len(times) == len(ids)
    assert (np.diff(times) >= 0).all()
    np.testing.assert_array_equal(times[ids == vocabulary.BAR], 4 * 96 * np.arange(4))
    onsets = sorted(note.time for track in TOKENIZER.decode(ids).tracks for note in track.notes)
    np.testing.assert_array_equal(np.sort(times[np.isin(ids, vocabulary.pitch)]), onsets)
    with pytest.raises(InputError, match="the ids are not a token stream"):
        TOKENIZER.token_times(ids[1:])
