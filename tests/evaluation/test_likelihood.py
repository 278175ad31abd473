"""Nats counted by hand: by token, by note, by second, by kind; of completions and of everything."""

import math

import numpy as np
import pytest
import symusic
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rwkv_music.data import Example, Windows
from rwkv_music.errors import InputError
from rwkv_music.evaluation import HeldOut, Likelihood, NGramModel, baselines
from rwkv_music.evaluation.held_out import window_seconds
from rwkv_music.evaluation.likelihood import count, model_nats
from rwkv_music.model import RWKV7, ModelConfig, MusicModel, initialize
from rwkv_music.score.timing import bar_line, bar_starts
from rwkv_music.tokenizer import Tokenizer
from tests.music import BAR, TICKS, piece, tune

TOKENIZER = Tokenizer()
VOCABULARY = TOKENIZER.vocabulary
PIECES = [piece(bars, seed=bars) for bars in (3, 5, 6)]
WINDOWS = Windows(PIECES, TOKENIZER, prompt_bars=2, completion_bars=2)


def perturbed_model() -> MusicModel:
    network = RWKV7(ModelConfig(vocab_size=TOKENIZER.vocab_size, num_layers=1, dim=64))
    initialize(network, seed=0)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for value in network.parameters():
            value.add_(0.05 * torch.randn(value.shape, generator=generator))
    return MusicModel(network)


def test_every_ratio_is_the_sum_over_what_its_name_says() -> None:
    pitch, duration = VOCABULARY.pitch.start, VOCABULARY.duration.start
    targets = np.array([VOCABULARY.BAR, pitch, duration, pitch + 1, duration + 5])
    nats = np.array([0.5, 2.0, 1.0, 3.0, 0.25])
    actual = count(targets, nats, VOCABULARY, seconds=4.0)
    assert actual.nats_per_token == pytest.approx(6.75 / 5)
    assert actual.nats_per_note == pytest.approx(6.75 / 2)
    assert actual.bits_per_second == pytest.approx(6.75 / math.log(2) / 4)
    assert actual.by_type == pytest.approx({"BAR": 0.5, "PITCH": 2.5, "DUR": 0.625})
    assert list(actual.by_type) == ["BAR", "PITCH", "DUR"]


def test_two_counts_add_up_as_if_they_had_been_one() -> None:
    rng = np.random.default_rng(0)
    targets, nats = rng.integers(0, VOCABULARY.num_used, 40), rng.random(40)
    one, other = (
        count(targets[part], nats[part], VOCABULARY, seconds=2.0)
        for part in (slice(13), slice(13, 40))
    )
    whole = count(targets, nats, VOCABULARY, seconds=4.0)
    added = Likelihood() + one + other
    assert added.figures() == {key: pytest.approx(value) for key, value in whole.figures().items()}


def test_music_without_notes_has_no_finite_nats_per_note() -> None:
    actual = count(np.array([VOCABULARY.BAR]), np.array([1.0]), VOCABULARY, seconds=0.0)
    assert actual.nats_per_note == actual.bits_per_second == math.inf
    assert actual.figures()["nats_per_note"] is None


def test_a_windows_completion_lasts_as_long_as_its_bars() -> None:
    # Three bars of 4/4 at 120 quarters per minute: two seconds each. The second half of bar 3 is
    # silent, and still lasts.
    score = tune(bars=3, qpm=120.0, parts=1)
    for track in score.tracks:
        track.notes = [note for note in track.notes if note.time < 2.5 * BAR]
    ids = TOKENIZER.encode(score)
    bars = np.flatnonzero(ids == VOCABULARY.BAR)
    seconds = window_seconds(Example(ids=ids, completion_start=int(bars[1])), TOKENIZER)
    assert seconds == pytest.approx((4.0, 6.0))


def test_a_change_of_tempo_and_of_signature_counts_from_where_it_stands() -> None:
    # Bar 1: 4/4 at 120, 2 s. Bar 2 from there: 3/4 at 60, 3 s. Bar 3: 3/4 at 60, 3 s.
    score = tune(bars=2, qpm=120.0, parts=1)
    score.time_signatures.append(symusic.TimeSignature(BAR, 3, 4))
    score.tempos.append(symusic.Tempo(BAR, qpm=60.0))
    ids = TOKENIZER.encode(score)
    bars = np.flatnonzero(ids == VOCABULARY.BAR)
    assert len(bars) == 3
    seconds = window_seconds(Example(ids=ids, completion_start=int(bars[1])), TOKENIZER)
    assert seconds == pytest.approx((6.0, 8.0))


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.integers(1, 5), st.sampled_from([2, 4, 8]), st.integers(1, 900)), max_size=3
    ),
    st.integers(1, 8),
)
def test_a_bar_line_is_where_bar_starts_puts_it(
    changes: list[tuple[int, int, int]], bars: int
) -> None:
    score = tune(bars=bars, parts=1)
    tick = 0
    for numerator, denominator, gap in changes:
        tick += gap
        score.time_signatures.append(symusic.TimeSignature(tick, numerator, denominator))
    lines = bar_starts(score).tolist()
    assert [bar_line(score, index) for index in range(len(lines))] == lines
    assert bar_line(tune(bars=2), 5) == 5 * 4 * TICKS


def test_what_the_model_gives_does_not_depend_on_the_batch_and_is_its_softmax() -> None:
    model = perturbed_model()
    examples = list(WINDOWS)
    alone = list(model_nats(model, examples, batch_size=1))
    together = list(model_nats(model, examples, batch_size=5))
    for example, one, other in zip(examples, alone, together, strict=True):
        ids = torch.from_numpy(example.ids.astype(np.int64))
        with torch.no_grad():
            logits = model(ids[None, :-1])[0][0]
        expected = -torch.log_softmax(logits.double(), -1)[torch.arange(len(ids) - 1), ids[1:]]
        # Nats of up to 9 in float32, whose last bit is 1e-6; the next token's are 1 and more away.
        np.testing.assert_allclose(one.nats, expected.numpy(), atol=2e-5)
        np.testing.assert_allclose(other.nats, one.nats, atol=2e-5)
        assert one.targets.tolist() == other.targets.tolist() == ids[1:].tolist()
        assert one.scored.tolist() == other.scored.tolist()
        assert one.scored.sum() == len(ids) - example.completion_start
        assert one.scored[example.completion_start - 1 :].all()


def test_held_out_windows_are_counted_twice_over_completions_and_over_everything() -> None:
    model = perturbed_model()
    model.network.train()
    held_out = HeldOut(WINDOWS, TOKENIZER)
    completion, everything = held_out.likelihood(model)
    assert model.network.training
    examples = list(WINDOWS)
    assert completion.tokens == sum(
        len(example.ids) - example.completion_start for example in examples
    )
    assert everything.tokens == sum(len(example.ids) - 1 for example in examples)
    assert everything.nats > completion.nats > 0
    # Two bars are completed at a time, two given: 14 bars less the first of each of three pieces.
    assert completion.seconds == pytest.approx((14 - 3) * 4 * 60 / 100)
    scored = np.concatenate([example.ids[example.completion_start :] for example in examples])
    assert completion.notes == int((VOCABULARY.types_of(scored) == 16).sum())


def test_a_look_can_be_broken_off() -> None:
    held_out = HeldOut(WINDOWS, TOKENIZER)
    asked: list[int] = []

    def should_stop() -> bool:
        asked.append(1)
        return len(asked) > 2

    model = perturbed_model()
    assert held_out.likelihood_unless(model, should_stop) is None
    assert len(asked) == 3
    assert held_out.likelihood_unless(model, lambda: False) == held_out.likelihood(model)


def test_baselines_are_measured_on_the_same_tokens() -> None:
    held_out = HeldOut(WINDOWS, TOKENIZER)
    streams = [music.ids for music in PIECES]
    actual = baselines(streams, held_out)
    assert list(actual) == ["uniform", "unigram", "5-gram"]
    assert actual["uniform"]["nats_per_token"] == pytest.approx(math.log(VOCABULARY.num_used))
    unigram = NGramModel(streams, vocab_size=TOKENIZER.vocab_size, order=1)
    by_hand = sum(
        unigram.nats(example.ids)[example.completion_start :].sum() for example in held_out.examples
    )
    tokens = sum(len(example.ids) - example.completion_start for example in held_out.examples)
    assert actual["unigram"]["nats_per_token"] == pytest.approx(by_hand / tokens)
    assert {row["tokens"] for row in actual.values()} == {tokens}
    assert actual["5-gram"]["nats_per_token"] < actual["unigram"]["nats_per_token"]
    assert actual["5-gram"]["trained_tokens"] == sum(map(len, streams))


def test_nothing_to_measure_is_refused() -> None:
    with pytest.raises(InputError, match="no examples to measure"):
        HeldOut([], TOKENIZER)
