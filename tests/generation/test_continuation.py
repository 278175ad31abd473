"""Continuations: whole bars after an unchanged prompt, reproducible by seed."""

import numpy as np
import pytest
import symusic
import torch

from rwkv_music.errors import InputError
from rwkv_music.generation import Constraints, continue_score
from rwkv_music.generation.request.request import candidate_seed
from rwkv_music.generation.sampling.prefill import prefill
from rwkv_music.model import RWKV7, Decoder, ModelConfig, MusicModel, initialize
from rwkv_music.score import bar_starts
from rwkv_music.tokenizer import Tokenizer, TokenType
from tests.music import tune
from tests.tokenizer.judge import fault_of
from tests.tokens import notes_of

TOKENIZER = Tokenizer()


def model(seed: int = 0) -> MusicModel:
    """An untrained model with every parameter moved from its initial value."""
    made = RWKV7(ModelConfig(vocab_size=TOKENIZER.vocab_size, num_layers=1, dim=64))
    initialize(made, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in made.parameters():
            value.add_(torch.randn(value.shape, generator=generator), alpha=0.05)
    return MusicModel(made.eval(), TOKENIZER.settings)


MODEL = model()
DECODER = Decoder(MODEL.network)


def in_signature(numerator: int, denominator: int, bars: int) -> symusic.Score:
    """A tune of eighth notes that fills some bars of a time signature."""
    score = symusic.Score(480)
    score.tempos.append(symusic.Tempo(0, qpm=77.7))
    score.time_signatures.append(symusic.TimeSignature(0, numerator, denominator))
    track = symusic.Track("melody", 11, False)
    end = bars * 4 * 480 * numerator // denominator
    for onset in range(0, end, 240):
        track.notes.append(symusic.Note(onset, 240, 60 + onset // 240 % 7, 81))
    score.tracks.append(track)
    return score


@pytest.mark.parametrize("sign", [(4, 4), (3, 4), (6, 8), (5, 4)])
def test_the_requested_bars_are_added_at_the_bar_line(sign: tuple[int, int]) -> None:
    prompt = in_signature(*sign, 2)
    length = 4 * 480 * sign[0] // sign[1]
    for piece in continue_score(MODEL, prompt, bars=3, candidates=2, seed=1):
        assert piece.continuation_start == 2 * length
        assert TOKENIZER.num_bars(piece.tokens) == 3
        assert piece.tokens[0] == TOKENIZER.vocabulary.BAR
        assert all(note[2] >= 0 for note in notes_of(piece.new))


def test_the_prompt_is_returned_unchanged() -> None:
    prompt = in_signature(4, 4, 2)
    prompt.tracks[0].notes[3].velocity = 83
    prompt.tracks[0].notes[4].time += 7
    before = prompt.dumps_midi()
    for piece in continue_score(MODEL, prompt, bars=1, candidates=2):
        kept = [note for note in notes_of(piece.score) if note[2] < piece.continuation_start]
        assert kept == notes_of(prompt)
        assert round(piece.score.tempos[0].qpm, 1) == 77.7
        assert len(piece.score.tempos) >= 1
    assert prompt.dumps_midi() == before


def test_no_note_sounds_beyond_the_last_bar_line() -> None:
    prompt = in_signature(4, 4, 1)
    clipped = 0
    for piece in continue_score(MODEL, prompt, bars=2, candidates=6, seed=3):
        signs = [
            (time_signature.numerator, time_signature.denominator)
            for time_signature in piece.new.time_signatures
        ]
        if signs == [(4, 4)]:
            ends = [onset + duration for _, _, onset, duration, _, _ in notes_of(piece.new)]
            assert max(ends, default=0) <= 2 * 1920
            clipped += 2 * 1920 in ends
    assert clipped > 0


def test_a_prompt_that_ends_inside_a_bar_continues_at_the_next_bar_line() -> None:
    prompt = in_signature(4, 4, 2)
    del prompt.tracks[0].notes[-3:]
    assert continue_score(MODEL, prompt, bars=1, candidates=1)[0].continuation_start == 3840


def test_a_last_note_extends_the_prompt_only_if_it_ends_well_inside_the_next_bar() -> None:
    prompt = in_signature(4, 4, 2)
    prompt.tracks[0].notes[-1].duration += 60
    assert continue_score(MODEL, prompt, bars=1, candidates=1)[0].continuation_start == 3840
    prompt.tracks[0].notes[-1].duration += 900
    assert continue_score(MODEL, prompt, bars=1, candidates=1)[0].continuation_start == 5760


def test_a_seed_gives_the_same_music_for_any_number_of_candidates() -> None:
    prompt = tune(bars=2)
    three = continue_score(MODEL, prompt, bars=1, candidates=3, seed=5, precision="float32")
    one = continue_score(MODEL, prompt, bars=1, candidates=1, seed=5, precision="float32")
    other = continue_score(MODEL, prompt, bars=1, candidates=1, seed=6)
    np.testing.assert_array_equal(three[0].tokens, one[0].tokens)
    # Three sequences may be added up in another order than one: a last bit of float32 each.
    assert three[0].nats == pytest.approx(one[0].nats, rel=1e-6)
    assert not np.array_equal(one[0].tokens, other[0].tokens)
    # A candidate's own seed makes it again, alone.
    again = continue_score(
        MODEL, prompt, bars=1, candidates=1, seed=three[2].seed, precision="float32"
    )
    np.testing.assert_array_equal(three[2].tokens, again[0].tokens)
    assert three[2].seed == candidate_seed(5, 2)


def test_every_candidate_continues_the_prompt_as_a_canonical_stream() -> None:
    """The judge shares no code with the library."""
    prompt = TOKENIZER.encode(tune(bars=2)).tolist()
    assert fault_of(prompt) == ""
    vocabulary = TOKENIZER.vocabulary
    types: set[str] = set()
    free = Constraints.free()
    for piece in continue_score(
        MODEL, tune(bars=2), bars=2, candidates=4, seed=2, constraints=free, precision="float32"
    ):
        tokens = piece.tokens.tolist()
        types |= {TokenType(value).name for value in vocabulary.types_of(piece.tokens)}
        assert fault_of([*prompt[:-1], *tokens, vocabulary.EOS]) == ""
        assert fault_of([*prompt[:-1], *tokens[:-1], vocabulary.EOS]) != ""
        assert fault_of(TOKENIZER.encode(piece.score).tolist()) == ""
    assert {"BEAT", "SUBBEAT", "PITCH", "DUR", "PART"} <= types


def test_nats_equal_those_of_one_parallel_forward() -> None:
    prompt = tune(bars=2)
    piece = continue_score(MODEL, prompt, bars=2, candidates=2, seed=4, precision="float32")[1]
    whole = np.concatenate([TOKENIZER.encode(prompt)[:-1], piece.tokens]).astype(np.int64)
    with torch.no_grad():
        logits, _ = MODEL(torch.from_numpy(whole)[None])
    nats = torch.log_softmax(logits[0, :-1], -1)[torch.arange(len(whole) - 1), whole[1:]]
    expected = -float(nats[-len(piece.tokens) :].sum())
    # 1e-7 apart; with one token more and one less the sum would be 4e-4 off.
    assert piece.nats == pytest.approx(expected, rel=1e-6)


def test_a_prompt_read_in_chunks_gives_the_same_state(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ids = TOKENIZER.encode(tune(bars=6))
    logits, state = prefill(DECODER, ids)
    monkeypatch.setattr("rwkv_music.generation.sampling.prefill.PREFILL_CHUNK", 50)
    in_pieces, same = prefill(DECODER, ids)
    assert len(ids) > 100
    # 5e-7 apart, and less than 1e-5 where sums are in another order; the logits reach 2.
    torch.testing.assert_close(in_pieces, logits, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(same.wkv, state.wkv, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(same.shifts, state.shifts, rtol=1e-5, atol=1e-5)


def test_the_state_has_the_same_size_after_any_prompt() -> None:
    _, short = prefill(DECODER, TOKENIZER.encode(tune(bars=1)))
    _, long = prefill(DECODER, TOKENIZER.encode(tune(bars=40)))
    assert short.num_values == long.num_values


def test_stopping_early_returns_the_tokens_so_far() -> None:
    asked: list[int] = []

    def enough() -> bool:
        asked.append(1)
        return len(asked) > 10

    pieces = continue_score(MODEL, tune(bars=1), bars=8, candidates=2, should_stop=enough)
    assert [len(piece.tokens) for piece in pieces] == [11, 11]


def test_progress_counts_whole_bars() -> None:
    completed: list[int] = []
    pieces = continue_score(MODEL, tune(bars=1), bars=3, candidates=2, on_bar=completed.append)
    steps = max(len(piece.tokens) for piece in pieces)
    assert len(completed) == steps
    # Of the slower candidate: the number of bars that its tokens so far have ended.
    bars = [np.cumsum(piece.tokens == TOKENIZER.vocabulary.BAR) - 1 for piece in pieces]
    padded = [np.concatenate([bar, np.repeat(bar[-1:], steps - len(bar))]) for bar in bars]
    assert completed == np.minimum(*padded).tolist()
    assert set(completed) == {0, 1, 2}


def test_empty_tracks_of_the_prompt_keep_their_position() -> None:
    prompt = tune(bars=1, parts=2, program=19)
    prompt.tracks.insert(0, symusic.Track("empty", 19, False))
    piece = continue_score(MODEL, prompt, bars=1, candidates=1)[0]
    assert [track.name for track in piece.score.tracks] == ["empty", "part 0", "part 1"]
    assert not len(piece.score.tracks[0].notes)


def test_a_prompt_on_another_grid_keeps_its_ticks() -> None:
    prompt = symusic.Score(120)
    track = symusic.Track("", 0, False)
    track.notes.append(symusic.Note(0, 480, 60, 80))
    prompt.tracks.append(track)
    piece = continue_score(MODEL, prompt, bars=1, candidates=1, seed=1)[0]
    assert piece.score.ticks_per_quarter == piece.new.ticks_per_quarter == 120
    assert bar_starts(piece.score)[1] == piece.continuation_start == 480


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bars": 0}, "`bars` must be at least 1, got 0"),
        ({"candidates": 0}, "`candidates` must be at least 1, got 0"),
        ({"seed": -1}, "`seed` must be at least 0, got -1"),
        ({"top_p": 2.0}, "`top_p` must be in"),
    ],
)
def test_numbers_out_of_range_are_refused(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        continue_score(MODEL, tune(bars=1), **arguments)


def test_an_empty_prompt_and_a_model_without_tokenizer_are_refused() -> None:
    with pytest.raises(InputError, match="the score has no notes"):
        continue_score(MODEL, symusic.Score(480))
    bare = model()
    bare.tokenizer_settings = None
    remedy = r"tokenizer is unknown: .* load_model\('model.pth', tokenizer_settings="
    with pytest.raises(InputError, match=remedy):
        continue_score(bare, tune(bars=1))
    bare.tokenizer_settings = {**TOKENIZER.settings, "steps_per_quarter": 480}
    with pytest.raises(InputError, match="2048 tokens, its tokenizer's settings make 3072"):
        continue_score(bare, tune(bars=1))
