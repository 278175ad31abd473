"""The vocabulary of the RWKV-4 and RWKV-5 music models: ids by hand, and round trips."""

import numpy as np
import pytest
import symusic

from rwkv_music.errors import InputError
from rwkv_music.tokenizer.midi_llm import (
    END,
    SIZE,
    START,
    decode_midi_llm,
    encode_midi_llm,
    ids_of_text,
    loudness_of,
    token_text,
    velocity_of,
)
from tests.music import tune

PIANO_C4 = 128 + 8 * 1536 + 60 * 12
"""Bin 8, note 60, loudness 0."""


def one_note(**settings: int) -> symusic.Score:
    """A quarter of 500 ms: 62.5 steps of 8 ms."""
    score = symusic.Score(480)
    score.tempos.append(symusic.Tempo(0, qpm=120))
    track = symusic.Track("", settings.get("program", 0), bool(settings.get("is_drum", 0)))
    track.notes.append(symusic.Note(480, 480, 60, settings.get("velocity", 80)))
    score.tracks.append(track)
    return score


def texts(score: symusic.Score) -> list[str]:
    return [token_text(token) for token in encode_midi_llm(score).tolist()]


def test_one_note_by_hand() -> None:
    # The silence before the note is not written. It is struck at 62.5 steps, rounded to 63, and
    # ends at 125. Loudness: 128 (0.5 ** (80 / 128) - 1) / -0.5 = 90.0, by 128 / 11 gives 7.7.
    ids = encode_midi_llm(one_note())
    assert ids.tolist() == [START, PIANO_C4 + 8, 3 + 62 - 1, PIANO_C4, END]
    assert ids.dtype == np.uint16
    assert texts(one_note()) == ["<start>", "pi:3c:8", "t62", "pi:3c:0", "<end>"]


def test_the_text_of_ids_by_hand() -> None:
    assert token_text(PIANO_C4 + 7) == "pi:3c:7"
    assert [token_text(token) for token in (0, 1, 2, 3, 127, 128)] == [
        "<pad>", "<start>", "<end>", "t1", "t125", "p:0:0",
    ]  # fmt: skip
    assert token_text(SIZE - 1) == "pa:7f:b"
    with pytest.raises(InputError, match="no id 20096 in this vocabulary: ids go from 0 to 20095"):
        token_text(SIZE)


def test_the_text_of_every_id_reads_back() -> None:
    words = [token_text(token) for token in range(SIZE)]
    assert len(set(words)) == SIZE
    ids = ids_of_text(" ".join(words))
    assert ids.tolist() == list(range(SIZE))
    assert ids.dtype == np.uint16
    assert ids_of_text(" \n").tolist() == []


@pytest.mark.parametrize(
    "word", ["t0", "t126", "t\u0661", "pi:80:1", "pi:3c:c", "pi:3c", "xx:3c:1", "<eos>", "pi:3C:1"]
)
def test_an_unknown_word_is_refused(word: str) -> None:
    with pytest.raises(InputError, match=f"'{word}' is not a word of the RWKV-4 and RWKV-5 music"):
        ids_of_text(f"<start> {word} <end>")


def test_loudness_and_velocity_by_hand() -> None:
    # 1: 128 (1 - 0.5 ** (1 / 128)) / 0.5 = 1.38 of 11.6; 127: 127.3 of 11.6.
    assert loudness_of(np.array([0.0, 1.0, 64.0, 127.0])).tolist() == [0, 1, 7, 11]
    # The largest velocity of bin 1 is below -128 log2(1 - 0.5 / 11) = 8.6, of bin 11 it is 127.
    assert velocity_of(np.array([0, 1, 11])).tolist() == [0, 8, 127]
    bins = np.arange(12)
    assert loudness_of(velocity_of(bins).astype(float)).tolist() == bins.tolist()


def test_instruments_have_their_bins() -> None:
    programs = {"celesta": 8, "cello": 42, "timpani": 47, "oboe": 68, "fiddle": 110}
    struck = {
        name: texts(one_note(program=program))[1].split(":")[0]
        for name, program in programs.items()
    }
    assert struck == {"celesta": "m", "cello": "b", "timpani": "p", "oboe": "s", "fiddle": "v"}
    assert texts(one_note(is_drum=1))[1].startswith("p:3c:")
    with pytest.raises(InputError, match="no note of the score has an instrument"):
        encode_midi_llm(one_note(program=127))


def test_a_long_wait_repeats_and_a_longer_one_is_cut() -> None:
    score = one_note()
    # At 2.5 s, 312.5 steps, rounded to 313: 250 steps after the first one, which takes 62.
    score.tracks[0].notes.append(symusic.Note(480 * 5, 48, 62, 80))
    assert texts(score)[2:6] == ["t62", "pi:3c:0", "t125", "t63"]
    score.tracks[0].notes.append(symusic.Note(480 * 100, 48, 64, 80))
    assert texts(score).count("t125") == 1 + 10
    assert END not in encode_midi_llm(score)[:-1]


def test_a_silent_score_is_refused() -> None:
    score = one_note()
    score.tracks[0].controls.append(symusic.ControlChange(0, 7, 0))
    with pytest.raises(InputError, match="every note of the score is silent"):
        encode_midi_llm(score)


def test_simultaneous_events_are_sorted_by_bin_and_an_end_precedes_a_new_note() -> None:
    score = one_note()
    score.tracks[0].notes.append(symusic.Note(960, 480, 60, 80))
    drums = symusic.Track("", 0, True)
    drums.notes.append(symusic.Note(960, 480, 36, 80))
    score.tracks.append(drums)
    assert texts(score)[3:6] == ["p:24:8", "pi:3c:0", "pi:3c:8"]


def test_the_pedal_lengthens_notes_and_the_volume_softens_them() -> None:
    score = one_note()
    controls = score.tracks[0].controls
    controls.append(symusic.ControlChange(480, 64, 127))
    controls.append(symusic.ControlChange(480 * 3, 64, 0))
    controls.append(symusic.ControlChange(0, 7, 64))
    # Half the velocity, 40: 128 (1 - 0.5 ** (40.3 / 128)) / 0.5 = 50.2, by 11.6 gives 4.3.
    assert texts(score)[:2] == ["<start>", "pi:3c:5"]
    assert sum(int(text[1:]) for text in texts(score) if text.startswith("t")) == 125


def test_music_comes_back_within_half_a_step() -> None:
    score = tune(bars=4, parts=1)
    back = decode_midi_llm(encode_midi_llm(score))
    seconds = 60 / 100 / 96  # of a tick of the tune
    for note, actual in zip(score.tracks[0].notes, back.tracks[0].notes, strict=True):
        assert actual.pitch == note.pitch
        assert abs(actual.time / 960 - note.time * seconds) <= 0.0051
        assert abs(actual.duration / 960 - note.duration * seconds) <= 0.0102


def test_decoded_music_encodes_to_the_same_ids() -> None:
    for seed in range(5):
        ids = encode_midi_llm(tune(bars=3, seed=seed, parts=3, program=24))
        np.testing.assert_array_equal(encode_midi_llm(decode_midi_llm(ids)), ids)


def test_a_note_that_never_ends_lasts_five_seconds() -> None:
    score = decode_midi_llm(np.array([START, PIANO_C4 + 5, END]))
    assert score.tracks[0].notes[0].duration == 5 * 960
    struck_again = decode_midi_llm(np.array([PIANO_C4 + 5, 3 + 99, PIANO_C4 + 5, 3 + 9, PIANO_C4]))
    assert [note.duration for note in struck_again.tracks[0].notes] == [768, 77]


def test_ids_of_another_tokenizer_are_refused() -> None:
    with pytest.raises(InputError, match=r"id 20096 is not in the vocabulary .* another tokenizer"):
        decode_midi_llm(np.array([START, SIZE]))
