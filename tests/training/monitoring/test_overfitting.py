"""Warnings: of a held-out loss that rises, and of samples that quote."""

import numpy as np

from rwkv_music.data import Piece, Windows
from rwkv_music.score import take_bars
from rwkv_music.tokenizer import Tokenizer
from rwkv_music.training.monitoring.overfitting import CopyDetector, EarlyStopping
from rwkv_music.training.monitoring.samples import HeldOutSamples
from tests.music import BAR, piece, tune

TOKENIZER = Tokenizer()


def test_a_rise_over_two_evaluations_gives_a_warning() -> None:
    best = EarlyStopping()
    assert best.update(10, 2.0)
    assert best.update(20, 1.5)
    assert not best.update(30, 1.6)
    assert best.warning(1.6) is None
    assert not best.update(40, 1.6)
    said = best.warning(1.6)
    assert said is not None
    assert said.startswith(
        "the held-out loss rises: 1.600 after 1.500 at step 20, whose checkpoint"
    )
    # Hardly above the best is no rise.
    assert best.warning(1.501) is None
    assert EarlyStopping(**best.to_dict()) == best
    assert best.update(50, 1.4)
    assert best.evaluations_since_best == 0


def test_a_sample_that_quotes_a_training_piece_gives_a_warning() -> None:
    training = tune(bars=12, seed=3, parts=1)
    pieces = [Piece("a", TOKENIZER.encode(training), "a"), piece(8, seed=9)]
    detector = CopyDetector(pieces, TOKENIZER)
    quoting = take_bars(training, 2, 10)
    own = tune(bars=8, seed=77, parts=1)
    quoted, invented = (detector.longest_run(score, 2 * BAR) for score in (quoting, own))
    notes = sum(note.time >= 2 * BAR for note in quoting.tracks[0].notes)
    assert quoted == notes > 12
    assert invented < 12
    assert CopyDetector.warning(invented, 0) is None
    said = CopyDetector.warning(quoted, invented)
    assert said is not None
    assert f"quotes {quoted} notes in a row from a training piece" in said
    # Composers who repeat each other as much are no model learning by heart.
    assert CopyDetector.warning(quoted, quoted // 2 + 1) is None


def test_prompts_come_from_the_longest_pieces_with_their_continuations() -> None:
    windows = Windows(
        [piece(bars, seed=bars) for bars in (3, 9, 2, 6)],
        TOKENIZER,
        prompt_bars=4,
        completion_bars=2,
    )
    samples = HeldOutSamples.of(windows, num_prompts=3, seed=0)
    assert [prompt.name for prompt in samples.prompts] == ["tune-9-9", "tune-6-6", "tune-3-3"]
    # Four bars given, or one less than there are; up to four of the composer's own behind.
    assert [prompt.continuation_start for prompt in samples.prompts] == [4 * BAR, 4 * BAR, 2 * BAR]
    ends = [int(np.ceil(score.end() / BAR)) for score in samples.originals()]
    assert ends == [8, 6, 3]
    assert len(HeldOutSamples.of(windows, num_prompts=9, seed=0).prompts) == 4


def test_a_prompt_begins_where_the_last_part_enters() -> None:
    score = tune(bars=20, seed=5, parts=2)
    late = score.tracks[1]
    late.notes = type(late.notes)([note for note in late.notes if note.time >= 9 * BAR])
    assert late.notes
    entering = Piece("late", TOKENIZER.encode(score), "late")
    windows = Windows([entering], TOKENIZER, prompt_bars=4, completion_bars=2)
    prompt = HeldOutSamples.of(windows, num_prompts=1, seed=0).prompts[0].prompt
    expected = take_bars(score, 9, 13)
    assert [track.notes[0].pitch for track in prompt.tracks] == [
        track.notes[0].pitch for track in expected.tracks
    ]


def test_a_prompt_leaves_the_bars_that_are_to_be_completed() -> None:
    score = tune(bars=10, seed=5, parts=2)
    late = score.tracks[1]
    late.notes = type(late.notes)([note for note in late.notes if note.time >= 8 * BAR])
    assert late.notes
    entering = Piece("late", TOKENIZER.encode(score), "late")
    windows = Windows([entering], TOKENIZER, prompt_bars=4, completion_bars=2)
    sample = HeldOutSamples.of(windows, num_prompts=1, seed=0).prompts[0]
    # Two bars without the late part, four to give, four to complete: all of the ten.
    assert sample.continuation_start == 4 * BAR
    assert int(np.ceil(sample.original.end() / BAR)) == 8
