"""Files that a strict parser rejects are repaired if possible, and every repair is reported."""

import json
from pathlib import Path

import numpy as np
import pytest
import symusic
from hypothesis import given, settings
from hypothesis import strategies as st

from rwkv_music.errors import ScoreFileError
from rwkv_music.score import read_score
from rwkv_music.score.midi.midi_reader import read_midi
from rwkv_music.score.midi.midi_writer import to_midi
from rwkv_music.score.midi.repair import MAX_REPAIR_BYTES, parse_midi
from rwkv_music.score.midi.score_builder import build_score
from tests.music import tune
from tests.tokens import notes_of, random_score

END = bytes((0, 0xFF, 0x2F, 0))
NOTE = bytes((0, 0x90, 60, 100, 96, 0x80, 60, 0))


def midi(*tracks: bytes, file_format: int = 1, announced: int | None = None) -> bytes:
    """A file at 96 ticks per quarter."""
    count = len(tracks) if announced is None else announced
    header = b"MThd" + bytes((0, 0, 0, 6, 0, file_format, 0, count, 0, 96))
    return header + b"".join(b"MTrk" + len(track).to_bytes(4, "big") + track for track in tracks)


def notes(content: bytes) -> list[tuple[int, ...]]:
    """(onset, duration, pitch, velocity) of every note after the repair."""
    score = read_midi(content, name="it").score
    return [note[2:] for note in notes_of(score)]


@pytest.mark.parametrize(
    ("track", "change", "expected"),
    [
        (bytes((0, 0xC0, 255)) + NOTE + END, "program above 127 left out", [(0, 96, 60, 100)]),
        (
            bytes((0, 0x90, 60, 128, 96, 0x80, 60, 0)) + END,
            "velocity above 127 set to 127",
            [(0, 96, 60, 127)],
        ),
        (
            bytes((0, 0xB0, 7, 200)) + NOTE + END,
            "controller value above 127 set to 127",
            [(0, 96, 60, 100)],
        ),
        (
            NOTE + bytes((0, 0x90, 200, 9)) + END,
            "pitch above 127 left out",
            [(0, 96, 60, 100)],
        ),
        (
            bytes((0, 0xFF, 0x51, 3, 0, 0, 0)) + NOTE + END,
            "tempo of 0 left out",
            [(0, 96, 60, 100)],
        ),
        (
            bytes((0, 0xFF, 0x58, 4, 0, 2, 24, 8)) + NOTE + END,
            "time signature without length left out",
            [(0, 96, 60, 100)],
        ),
        (
            bytes((0, 0xFF, 0x58, 4, 4, 255, 24, 8)) + NOTE + END,
            "time signature without length left out",
            [(0, 96, 60, 100)],
        ),
        (
            bytes((0, 0xFF, 0x59, 2, 9, 5)) + NOTE + END,
            "key signature that does not exist left out",
            [(0, 96, 60, 100)],
        ),
        (
            bytes((0, 0xF4)) + NOTE + END,
            "message that is not allowed in a file left out",
            [(0, 96, 60, 100)],
        ),
        (
            bytes((0, 0x90, 60, 100, 48, 0xFF, 0x2F, 0)),
            "note that never ends sounds to the end of the track",
            [(0, 48, 60, 100)],
        ),
        (
            NOTE + bytes((0x80, 0x80, 0x80, 0x80, 0x10, 0x90, 61, 9, 4, 61, 0)) + END,
            "number of more than 4 bytes read",
            [(0, 96, 60, 100), (112, 4, 61, 9)],
        ),
        (
            NOTE + bytes((0, 0xF0, 2, 1, 0xF7, 0, 62, 64, 8, 62, 0)) + END,
            "status byte missing after a meta or system event",
            None,
        ),
        (NOTE + bytes((0, 0x90, 61)), "cut off inside an event at byte 30", [(0, 96, 60, 100)]),
    ],
)
def test_an_error_in_a_track_is_repaired_and_reported(
    track: bytes, change: str, expected: list[tuple[int, ...]] | None
) -> None:
    loaded = read_midi(midi(track), name="it")
    assert f"track 1: {change}" in loaded.repairs
    if expected is not None:
        assert notes(midi(track)) == expected


def test_wrong_lengths_and_counts_and_surrounding_bytes_are_repaired() -> None:
    good = NOTE + END
    content = midi(good, good)
    assert read_midi(content, name="it").repairs == ()
    wrong_length = content.replace(len(good).to_bytes(4, "big"), (999).to_bytes(4, "big"), 1)
    loaded = read_midi(wrong_length, name="it")
    assert loaded.repairs == (f"track 1: the length is 999 bytes, read as {len(good)}",)
    assert loaded.score.note_num() == 2
    loaded = read_midi(midi(good, good, good, announced=1), name="it")
    assert loaded.repairs == ("the header announces 1 tracks, there are 3",)
    assert loaded.score.note_num() == 3
    loaded = read_midi(b"junk" + content, name="it")
    assert loaded.repairs == ("4 bytes before the header left out",)
    longer = content[:4] + bytes((0, 0, 0, 10)) + content[8:14] + b"more" + content[14:]
    assert read_midi(longer, name="it").repairs == ("a header of 10 bytes shortened to 6",)


def test_unknown_chunks_are_skipped_silently() -> None:
    content = midi(NOTE + END)
    chunk = b"XFIH" + (5).to_bytes(4, "big") + b"hello"
    loaded = read_midi(content[:14] + chunk + content[14:], name="it")
    assert (loaded.repairs, loaded.score.note_num()) == ((), 1)


def test_pieces_of_format_2_are_concatenated_at_bar_lines() -> None:
    slow = bytes((0, 0xFF, 0x51, 3, 0x0F, 0x42, 0x40))
    in_three = bytes((0, 0xFF, 0x58, 4, 3, 2, 24, 8))
    loaded = read_midi(midi(slow + in_three + NOTE + END, NOTE + END, file_format=2), name="it")
    assert loaded.repairs == ("format 2: 2 pieces concatenated",)
    assert [note[2] for note in notes_of(loaded.score)] == [0, 3 * 96]
    assert [(tempo.time, tempo.mspq) for tempo in loaded.score.tempos] == [
        (0, 1_000_000), (288, 500_000),
    ]  # fmt: skip
    signs = [
        (time_signature.time, time_signature.numerator)
        for time_signature in loaded.score.time_signatures
    ]
    assert signs == [(0, 3), (288, 4)]


def test_data_that_is_not_music_is_rejected_with_its_offset() -> None:
    with pytest.raises(ScoreFileError, match=r"^it, byte 23: is damaged beyond repair"):
        read_midi(midi(bytes((1, 2)) * 400), name="it")
    with pytest.raises(ScoreFileError, match="at most 8388608 can be repaired"):
        parse_midi(bytes(MAX_REPAIR_BYTES + 1), name="it")


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_the_repairing_reader_reads_valid_files_like_the_strict_one(seed: int) -> None:
    content = random_score(np.random.default_rng(seed)).dumps_midi()
    built = build_score(parse_midi(content, name="it"))
    assert built.repairs == ()
    strict = symusic.Score.from_midi(content)
    assert notes_of(built.score) == notes_of(strict)
    for field in ("tempos", "time_signatures", "key_signatures", "markers"):
        assert list(getattr(strict, field)) == list(getattr(built.score, field))
    for old, new in zip(strict.tracks, built.score.tracks, strict=True):
        assert list(old.controls) == list(new.controls)
        assert old.name == new.name
        # symusic writes drums of two programs on one channel, of which the last one counts.
        assert old.is_drum or old.program == new.program


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_a_repaired_file_needs_no_repair_when_saved(seed: int, share: float) -> None:
    content = bytearray(tune(bars=2, seed=seed % 7).dumps_midi())
    position = 22 + int(share * (len(content) - 23))
    content[position] = seed & 0xFF
    try:
        score = read_midi(bytes(content), name="it").score
    except ScoreFileError:
        return
    again = read_midi(to_midi(score), name="it")
    assert again.repairs == ()
    assert notes_of(again.score) == notes_of(score)


def test_odd_files_are_read_or_rejected_as_their_manifest_demands(shared_data: Path) -> None:
    folder = shared_data / "odd_midi" / "synthetic"
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    for entry in manifest["files"]:
        path = folder / entry["file"]
        try:
            loaded = read_score(path)
        except ScoreFileError:
            assert entry["must"] in {"refuse", "either"}, path.name
        else:
            assert entry["must"] != "refuse", path.name
            if entry["notes"] is not None:
                assert loaded.score.note_num() == entry["notes"], path.name
