"""The native scan of MIDI files gives the answers of the Python scan."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rwkv_music.native import load_library
from rwkv_music.score.midi.scan import MidiScan, scan_midi, scan_midi_in_python
from tests.fuzz import hostile_file
from tests.score.test_midi_reader import control, meta, note, program
from tests.score.test_midi_repair import END, midi

needs_library = pytest.mark.skipif(
    load_library().functions is None, reason="the native library was not built"
)
LONG = bytes(range(90))


@pytest.mark.parametrize(
    ("track", "num_notes"),
    [
        (note(0, 60) + note(3, 62), 2),
        (bytes((0, 0x90, 60, 80, 5, 62, 80, 5, 60, 0, 0x81, 5, 62, 0)), 2),  # running status
        (bytes((0, 0xC0, 5, 9, 6)) + note(0, 60), 1),
        (bytes((0, 0xE0, 0, 64, 0, 0xD0, 5, 0, 0xA0, 60, 5)) + note(0, 60), 1),
        (control(0, 0, 119) + control(0, 121, 0) + note(0, 60), 1),
        (meta(1, b"text") + meta(1, b"@") + meta(0x7F, LONG) + note(0, 60), 1),
        (bytes((0, 0xF0, 6, 0x41, 1, 2, 3, 4, 0xF7)) + note(0, 60), 1),
        (bytes((0, 0xF0, 8, 0x7E, 1, 2, 3, 4, 5, 6, 0xF7)) + note(0, 60), 1),
        (meta(0x21, b"\0") + meta(0x51, b"\0\0\1") + meta(0x58, bytes((4, 7, 0, 0))), 0),
        (meta(0x59, bytes((249, 1))) + meta(0x59, bytes((7, 0))), 0),
        (b"\xff\xff\xff" + note(0, 60), 1),
    ],
)
def test_plain_files_are_counted(track: bytes, num_notes: int) -> None:
    content = midi(track + END)
    assert scan_midi(content) == scan_midi_in_python(content) == MidiScan(True, num_notes)


@pytest.mark.parametrize(
    "track",
    [
        meta(5, b"la"), meta(1, b"@KMIDI"), meta(3, "ä".encode()), meta(0x21, b"\1"),
        meta(0x51, b"\0\0\0"), meta(0x51, b"\1\1"), meta(0x58, bytes((0, 2, 0, 0))),
        meta(0x58, bytes((4, 8, 0, 0))), meta(0x59, bytes((8, 0))), meta(0x59, bytes((0, 2))),
        control(0, 120, 0), control(0, 123, 0), control(0, 127, 0), control(0, 0, 120),
        bytes((0, 0xB0, 7, 9, 0, 123, 0)), bytes((0, 0xF0, 7, 0x41, 1, 2, 3, 4, 5, 0xF7)),
        bytes((0, 0xF7, 1, 1)), bytes((0, 0xF8)), bytes((0, 0x90, 60)), bytes((0, 0x90, 200, 5)),
        bytes((0, 60, 80)), END, bytes((0, 0xFF, 1, 0x80, 1, 9)), b"\xff\xff\xff\xff\x00",
        bytes((0, 0xFF, 0x90, 0)),
    ],
)  # fmt: skip
def test_files_that_have_to_be_read_event_by_event_are_recognised(track: bytes) -> None:
    before = note(0, 60) + meta(1, b"")
    for content in (midi(track + END), midi(before + track + note(0, 60) + END)):
        assert scan_midi(content) == scan_midi_in_python(content) == MidiScan(False, 0)


def test_a_program_that_may_hold_for_another_track_is_recognised() -> None:
    own, other = program(0, 5) + note(0, 60) + END, note(1, 60) + END
    for tracks, is_plain in (((own, other), True), ((own, note(0, 62) + END), False)):
        content = midi(*tracks)
        assert scan_midi(content).is_plain == scan_midi_in_python(content).is_plain == is_plain


@needs_library
@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**31 - 1))
def test_both_scans_agree_on_damaged_files(number: int) -> None:
    content = hostile_file(number).content
    assert scan_midi(content) == scan_midi_in_python(content)


@needs_library
def test_both_scans_agree_on_real_files(shared_data: Path) -> None:
    paths = sorted(path for path in shared_data.rglob("*.mid") if path.is_file())[::37]
    assert len(paths) > 50
    for path in paths:
        content = path.read_bytes()
        assert scan_midi(content) == scan_midi_in_python(content), path
