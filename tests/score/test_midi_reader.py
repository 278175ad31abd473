"""Reading MIDI: channels, rhythm parts, text, lyrics and the number of notes."""

from pathlib import Path

import pytest
import symusic

from rwkv_music.score import load_score, save_score
from rwkv_music.score.loaded_score import LoadedScore
from rwkv_music.score.midi.midi_reader import read_midi
from tests.score.test_midi_repair import END, midi

GS_DRUMS = bytes((0xF0, 10, 0x41, 0x10, 0x42, 0x12, 0x40))
XG_ON = bytes((0, 0xF0, 8, 0x43, 0x10, 0x4C, 0, 0, 0x7E, 0, 0xF7))


def meta(meta_type: int, text: bytes, delta: int = 0) -> bytes:
    return bytes((delta, 0xFF, meta_type, len(text))) + text


def program(channel: int, number: int, delta: int = 0) -> bytes:
    return bytes((delta, 0xC0 | channel, number))


def control(channel: int, number: int, value: int, delta: int = 0) -> bytes:
    return bytes((delta, 0xB0 | channel, number, value))


def note(channel: int, pitch: int, ticks: int = 96) -> bytes:
    return bytes((0, 0x90 | channel, pitch, 80, ticks, 0x80 | channel, pitch, 0))


def read(*tracks: bytes, file_format: int = 1) -> LoadedScore:
    content = midi(*(track + END for track in tracks), file_format=file_format)
    return read_midi(content, name="it")


def parts(loaded: LoadedScore) -> list[tuple[int, bool, list[tuple[int, int, int]]]]:
    """Program, drums and (onset, duration, pitch) of every part."""
    return [
        (track.program, track.is_drum, [(n.time, n.duration, n.pitch) for n in track.notes])
        for track in loaded.score.tracks
    ]


def test_a_program_of_another_track_holds_for_its_channel() -> None:
    setup = program(0, 40) + program(1, 73) + program(0, 41, 96)
    melody = note(0, 60) + note(0, 62)
    loaded = read(setup, melody, note(1, 64), note(2, 65))
    assert parts(loaded) == [
        (40, False, [(0, 96, 60)]), (41, False, [(96, 96, 62)]), (73, False, [(0, 96, 64)]),
        (0, False, [(0, 96, 65)]),
    ]  # fmt: skip
    assert loaded.notes_missing == 0


def test_tracks_that_share_a_channel_keep_the_programs_that_they_set_themselves() -> None:
    oboe, strings = program(0, 68) + note(0, 60), program(0, 48) + note(0, 64)
    assert [part[0] for part in parts(read(oboe, strings))] == [68, 48]
    late = note(0, 60) + program(0, 68) + note(0, 62)
    assert [part[0] for part in parts(read(strings, late))] == [48, 48, 68]


def test_channels_of_different_ports_are_different() -> None:
    port = meta(0x21, b"\x01")
    loaded = read(program(0, 40) + note(0, 60), port + program(0, 19) + note(0, 61))
    assert [part[0] for part in parts(loaded)] == [40, 19]
    assert [part[0] for part in parts(read(program(0, 40), port + note(0, 61)))] == [0]


@pytest.mark.parametrize("number", [120, 123, 124, 127])
def test_controllers_end_notes(number: int) -> None:
    hanging = bytes((0, 0x90, 60, 80)) + bytes((0, 0x91, 65, 80))
    loaded = read(hanging + control(0, number, 0, 96) + note(0, 62) + control(1, number, 0, 96))
    assert parts(loaded) == [
        (0, False, [(0, 96, 60), (96, 96, 62)]), (0, False, [(0, 288, 65)]),
    ]  # fmt: skip
    assert (loaded.notes_in_source, loaded.notes_missing, loaded.repairs) == (3, 0, ())


def test_a_controller_of_another_track_ends_notes_of_its_channel() -> None:
    loaded = read(bytes((0, 0x90, 60, 80)), control(0, 123, 0, 96))
    assert parts(loaded) == [(0, False, [(0, 96, 60)])]


def test_notes_that_never_end_sound_to_the_end_of_their_track() -> None:
    loaded = read(bytes((0, 0x90, 60, 80)) + note(1, 62))
    assert parts(loaded) == [(0, False, [(0, 96, 60)]), (0, False, [(0, 96, 62)])]
    assert loaded.repairs == ("track 1: note that never ends sounds to the end of the track",)
    assert loaded.notes_missing == 0


@pytest.mark.parametrize(
    ("setup", "drums"),
    [
        (b"", False),
        (b"\x00" + GS_DRUMS + bytes((0x1A, 0x15, 1, 0x10, 0xF7)), True),
        (b"\x00" + GS_DRUMS + bytes((0x1A, 0x15, 0, 0x11, 0xF7)), False),
        (b"\x00" + GS_DRUMS + bytes((0x1B, 0x15, 1, 0x0F, 0xF7)), False),
        (XG_ON + control(10, 0, 127) + program(10, 0), True),
        (control(10, 0, 127) + control(10, 32, 0) + program(10, 25), True),
        (control(10, 0, 120) + program(10, 0), True),
        (control(10, 0, 127) + control(10, 0, 0), False),
        (control(10, 0, 121) + program(10, 0), False),
        (control(10, 0, 8), False),
        (XG_ON + bytes((0, 0xF0, 8, 0x43, 0x10, 0x4C, 8, 10, 7, 2, 0xF7)), True),
    ],
    ids=[
        "nothing", "GS on", "GS off", "GS of another part", "XG bank", "bank alone", "GM2 bank",
        "bank taken back", "GM2 melody", "other bank", "XG part mode",
    ],
)  # fmt: skip
def test_rhythm_parts_of_gs_xg_and_gm2(setup: bytes, drums: bool) -> None:
    assert [part[1] for part in parts(read(setup + note(10, 36)))] == [drums]
    assert [part[1] for part in parts(read(setup, note(10, 36)))] == [drums]


def test_gs_makes_the_drum_channel_melodic() -> None:
    setup = b"\x00" + GS_DRUMS + bytes((0x10, 0x15, 0, 0x1B, 0xF7))
    assert [part[1] for part in parts(read(setup + note(9, 60)))] == [False]
    assert [part[1] for part in parts(read(note(9, 60)))] == [True]


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("latin-1", "Flöte"), ("cp1252", "Cœur d'été"), ("cp932", "ピアノ"), ("gbk", "主旋律"),
        ("utf-8", "Čello ♪"),
    ],
)  # fmt: skip
def test_text_is_decoded_and_saved_as_utf_8(encoding: str, text: str, tmp_path: Path) -> None:
    raw = text.encode(encoding)
    track = meta(3, raw) + meta(5, raw) + meta(6, raw) + note(0, 60)
    score = read(track).score
    again = load_score(save_score(score, tmp_path / "again.mid"))
    for music in (score, again):
        assert [part.name for part in music.tracks] == [text]
        assert [lyric.text for lyric in music.tracks[0].lyrics] == [text]
        assert [marker.text for marker in music.markers] == [text]
    assert text.encode() in (tmp_path / "again.mid").read_bytes()


def test_lyrics_stay_with_the_notes_they_are_sung_to(tmp_path: Path) -> None:
    sung = meta(3, b"Voice") + meta(5, b"La") + note(0, 60) + meta(5, b"li") + note(0, 62)
    piano = meta(3, b"Piano") + note(1, 40)
    (voice, _) = read(sung, piano).score.tracks
    assert [(lyric.time, lyric.text) for lyric in voice.lyrics] == [(0, "La"), (96, "li")]
    words = meta(3, b"Words") + meta(5, b"La") + meta(5, b"li", 96)
    loaded = read(piano, note(2, 60) + note(2, 62), words)
    assert [len(track.lyrics) for track in loaded.score.tracks] == [0, 2]
    path = save_score(loaded.score, tmp_path / "song.musicxml")
    text = path.read_text(encoding="utf-8")
    assert text.index("<text>La</text>") < text.index("<text>li</text>")
    assert [len(track.lyrics) for track in load_score(path).tracks] == [0, 2]


def test_lyrics_of_no_part_keep_a_track() -> None:
    words = meta(3, b"Words") + meta(5, b"La", 7) + meta(5, b"li", 50)
    (piano, own) = read(note(1, 40), words).score.tracks
    assert (len(piano.lyrics), own.name, len(own.lyrics), len(own.notes)) == (0, "Words", 2, 0)


def test_text_events_of_karaoke_files_are_lyrics() -> None:
    head = meta(3, b"Soft karaoke") + meta(1, b"@KMIDI KARAOKE FILE")
    words = meta(3, b"Words") + meta(1, b"@TSong") + meta(1, b"\\La") + meta(1, b"/li ", 96)
    voice = note(0, 60) + note(0, 62)
    (sung,) = read(head, words, voice).score.tracks
    assert [(lyric.time, lyric.text) for lyric in sung.lyrics] == [(0, "La"), (96, "li ")]
    (sung,) = read(head, words, voice + meta(5, b"x")).score.tracks
    assert [lyric.text for lyric in sung.lyrics] == ["x"]
    (silent,) = read(words, voice).score.tracks
    assert not len(silent.lyrics)


def test_bank_121_makes_the_drum_channel_melodic() -> None:
    assert [
        part[:2] for part in parts(read(control(9, 0, 121) + program(9, 40) + note(9, 60)))
    ] == [(40, False)]


@pytest.mark.parametrize(
    "before", [b"", b"DISP\x03\x00\x00\x00abc\x00", b"LIST\x04\x00\x00\x00INFO"]
)
def test_the_data_chunk_of_a_riff_file_is_found_between_others(before: bytes) -> None:
    content = midi(note(0, 60) + END)
    data = b"data" + len(content).to_bytes(4, "little") + content + b"\0" * (len(content) % 2)
    chunks = b"RMID" + before + data + b"LIST\x04\x00\x00\x00INFO"
    loaded = read_midi(b"RIFF" + len(chunks).to_bytes(4, "little") + chunks, name="it.rmi")
    assert parts(loaded) == [(0, False, [(0, 96, 60)])]
    assert loaded.repairs == ()


def test_controllers_before_the_first_note_belong_to_its_program() -> None:
    track = control(0, 7, 90) + program(0, 5) + control(0, 64, 127) + note(0, 60)
    track += control(0, 64, 0) + program(0, 6) + control(0, 7, 50) + note(0, 61)
    first, second = read(track, meta(5, b"La")).score.tracks
    assert [(c.number, c.value) for c in first.controls] == [(7, 90), (64, 127), (64, 0)]
    assert [(c.number, c.value) for c in second.controls] == [(7, 50)]


def test_notes_are_counted_from_the_bytes_of_real_files(shared_data: Path) -> None:
    counts = {"symusic": 0, "rwkv-music": 0}
    for folder in ("freedoom", "groove", "odd_midi", "mutopia"):
        for path in sorted((shared_data / folder).rglob("*.mid"))[::17]:
            try:
                loaded = read_midi(path.read_bytes(), name=path)
            except ValueError:
                continue
            assert loaded.notes_missing == 0, path.name
            counts[loaded.reader] += 1
    assert min(counts.values()) > 1, counts


def test_both_readers_agree_on_real_files(shared_data: Path) -> None:
    from rwkv_music.score.midi.repair import parse_midi
    from rwkv_music.score.midi.scan import scan_midi
    from rwkv_music.score.midi.score_builder import build_score

    compared = 0
    for folder in ("pop909", "freedoom", "groove", "mutopia"):
        for path in sorted((shared_data / folder).rglob("*.mid"))[::40]:
            content = path.read_bytes()
            if not scan_midi(content).is_plain:
                continue
            strict = symusic.Score.from_midi(content)
            built = build_score(parse_midi(content, name=path)).score
            for old, new in zip(strict.tracks, built.tracks, strict=True):
                assert (old.name, old.program, old.is_drum) == (new.name, new.program, new.is_drum)
                assert sorted(map(str, old.notes)) == sorted(map(str, new.notes)), path.name
                assert sorted(map(str, old.controls)) == sorted(map(str, new.controls)), path.name
            compared += 1
    assert compared > 20


def test_a_note_can_be_ended_by_another_track_of_its_channel() -> None:
    start, end = bytes((0, 0x90, 60, 80)), bytes((48, 0x80, 60, 0))
    loaded = read(start + bytes((96, 0xFF, 1, 0)), end)
    assert parts(loaded) == [(0, False, [(0, 48, 60)])]
    assert loaded.repairs == ()


def test_an_end_without_a_note_ends_no_note_of_another_track() -> None:
    loaded = read(note(0, 60), bytes((48, 0x80, 60, 0)) + note(1, 62))
    assert parts(loaded) == [(0, False, [(0, 96, 60)]), (0, False, [(48, 96, 62)])]
