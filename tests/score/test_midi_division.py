"""Time in MIDI files: quarter notes, or SMPTE frames of a fixed length."""

import pytest

from rwkv_music.errors import ScoreFileError
from rwkv_music.score import TempoMap, score_from_bytes
from rwkv_music.score.loaded_score import LoadedScore
from rwkv_music.score.midi.midi_reader import read_midi

NOTE = b"\x00\x90\x3c\x40\x87\x68\x80\x3c\x00"
"""Lasts 1,000 ticks."""
TEMPO = b"\x00\xff\x51\x03\x03\xd0\x90"
END = b"\x00\xff\x2f\x00"


def smpte(rate: int, ticks_per_frame: int, events: bytes = NOTE) -> bytes:
    track = events + END
    header = bytes((0, 0, 0, 6, 0, 0, 0, 1, 256 - rate, ticks_per_frame))
    return b"MThd" + header + b"MTrk" + len(track).to_bytes(4, "big") + track


def seconds(loaded: LoadedScore) -> float:
    (note,) = loaded.score.tracks[0].notes
    return float(TempoMap(loaded.score).ticks_to_seconds(note.end)[0])


@pytest.mark.parametrize(
    ("rate", "ticks_per_frame", "expected"),
    [
        (25, 40, 1.0),
        (24, 10, 1000 / 240),
        (30, 80, 1000 / 2400),
        (29, 80, 1000 * 1001 / (30_000 * 80)),
        (25, 3, 1000 / 75),
    ],
)
@pytest.mark.parametrize("before", [b"", TEMPO])
def test_ticks_of_smpte_frames_last_as_long_as_they_should(
    rate: int, ticks_per_frame: int, expected: float, before: bytes
) -> None:
    loaded = read_midi(smpte(rate, ticks_per_frame, before + NOTE), name="it")
    assert seconds(loaded) == pytest.approx(expected, rel=1e-6)
    assert loaded.notes_missing == 0
    assert "time in SMPTE frames, which have no beats, read as " in loaded.repairs[0]


def test_a_quarter_of_an_odd_number_of_ticks_lasts_a_second() -> None:
    score = score_from_bytes(smpte(25, 3), name="it.mid")
    assert score.ticks_per_quarter == 75
    assert [tempo.mspq for tempo in score.tempos] == [1_000_000]


@pytest.mark.parametrize(("rate", "ticks_per_frame"), [(25, 0), (31, 40), (128, 1)])
def test_frames_that_do_not_exist_are_refused(rate: int, ticks_per_frame: int) -> None:
    reason = rf"byte 12: counts time in {ticks_per_frame} ticks of {rate} SMPTE frames a second"
    with pytest.raises(ScoreFileError, match=reason):
        read_midi(smpte(rate, ticks_per_frame), name="it")
