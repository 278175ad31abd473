"""MusicXML written here says what the score says, for music21 and for a second reader."""

from fractions import Fraction
from pathlib import Path

import pytest
import symusic
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rwkv_music.score import load_score, save_score, score_from_bytes
from rwkv_music.score.musicxml.musicxml_writer import to_musicxml
from rwkv_music.score.musicxml.note_writer import note_values, spell
from rwkv_music.score.notation.quantization import quantize_for_notation
from rwkv_music.score.timing import bar_starts
from tests.score.plain_musicxml import sounding_in
from tests.score.test_lossless import SEEDS, pedals, rich_score

QUARTER = 24
PRINTED = {
    "breve": Fraction(8), "whole": Fraction(4), "half": Fraction(2), "quarter": Fraction(1),
    "eighth": Fraction(1, 2), "16th": Fraction(1, 4), "32nd": Fraction(1, 8),
    "64th": Fraction(1, 16),
}  # fmt: skip
"""Quarters of each printed length."""


def everything(score: symusic.Score) -> dict[str, object]:
    """What MusicXML holds of a score, in quarters; parts without notes left out."""
    quarter = score.ticks_per_quarter
    parts = [track for track in score.tracks if len(track.notes)]
    end = int(bar_starts(score)[-1])
    return {
        "parts": [(track.name, track.program, track.is_drum) for track in parts],
        "notes": [
            sorted((n.time / quarter, n.duration / quarter, n.pitch, n.velocity) for n in t.notes)
            for t in parts
        ],
        "pedals": [
            [(min(tick, end) / quarter, is_down) for tick, is_down in pedals(track) if tick < end
             or not is_down]
            for track in parts
        ],
        "lyrics": [
            [(lyric.time / quarter, lyric.text) for lyric in track.lyrics] for track in parts
        ],
        "tempos": [
            (tempo.time / quarter, tempo.mspq) for tempo in score.tempos if tempo.time < end
        ],
        "keys": [
            (key_signature.time / quarter, key_signature.key, key_signature.tonality)
            for key_signature in score.key_signatures if key_signature.time < end
        ],
        "markers": [
            (marker.time / quarter, marker.text) for marker in score.markers if marker.time < end
        ],
        "bars": [tick / quarter for tick in bar_starts(score)],
    }  # fmt: skip


def sparse_pedals(score: symusic.Score) -> symusic.Score:
    """The score with every pedal lifted at last, as notation lifts it."""
    for track in score.tracks:
        if pedals(track)[-1:] and pedals(track)[-1][1]:
            end = max(track.end(), pedals(track)[-1][0])
            track.controls.append(symusic.ControlChange(end, 64, 0))
    return score


@settings(max_examples=10)
@given(SEEDS, st.sampled_from([96, 480, 1000]))
@example(330, 96)  # a rest of a short measure above a second voice that ends earlier
@example(14, 96)  # equal pitches of different velocity, tied over the same bar line
@example(0, 480)  # a first bar that a time signature cuts short
def test_all_that_musicxml_holds_comes_back(seed: int, ticks: int) -> None:
    score = sparse_pedals(rich_score(seed, ticks=ticks))
    back = score_from_bytes(to_musicxml(score, title="it"), name="it.musicxml")
    expected, actual = everything(quantize_for_notation(score)), everything(back)
    for name, value in expected.items():
        assert actual[name] == value, name


@given(SEEDS)
def test_rounding_again_changes_nothing(seed: int) -> None:
    once = quantize_for_notation(rich_score(seed))
    assert everything(quantize_for_notation(once)) == everything(once)


@settings(max_examples=20)
@given(SEEDS)
def test_a_second_reader_hears_the_same_notes(seed: int) -> None:
    score = quantize_for_notation(rich_score(seed))
    heard = sounding_in(to_musicxml(score, title="it"))
    notes = [note for track in score.tracks for note in track.notes]
    assert heard == sorted(
        (Fraction(note.time, QUARTER), Fraction(note.duration, QUARTER), note.pitch)
        for note in notes
    )


def test_real_music_goes_through_musicxml_and_back(shared_data: Path) -> None:
    """MusicXML -> score -> MusicXML -> score, in songs with pickups, tuplets, lyrics and pedals."""
    songs = sorted((shared_data / "openscore_lieder").rglob("*.mxl"))[::220]
    assert len(songs) > 4
    for path in songs:
        score = load_score(path)
        text = to_musicxml(score, title=path.stem)
        expected = everything(quantize_for_notation(score))
        actual = everything(score_from_bytes(text, name="again.musicxml"))
        for name, value in expected.items():
            assert actual[name] == value, (path.name, name)
        pitches = sorted(note.pitch for track in score.tracks for note in track.notes)
        assert sorted(note.pitch for note in sounding_in(text)) == pitches


def small_score(*names: str) -> symusic.Score:
    """Two bars of 4/4, a whole note and a half one in each part."""
    score = symusic.Score(480)
    score.time_signatures.append(symusic.TimeSignature(0, 4, 4))
    for name in names:
        track = symusic.Track(name, 0, False)
        track.notes.append(symusic.Note(0, 1920, 60, 80))
        track.notes.append(symusic.Note(1920, 960, 61, 80))
        score.tracks.append(track)
    return score


def test_of_keys_at_one_moment_the_last_one_is_kept() -> None:
    score = small_score("voice")
    score.key_signatures.append(symusic.KeySignature(0, -3, 0))
    score.key_signatures.append(symusic.KeySignature(0, -3, 1))
    back = score_from_bytes(to_musicxml(score, title="it"), name="it.musicxml")
    assert [(key.key, key.tonality) for key in back.key_signatures] == [(-3, 1)]


@pytest.mark.parametrize("ending", ["musicxml", "mxl", "xml"])
def test_what_a_part_says_is_kept_in_every_form_of_the_file(ending: str, tmp_path: Path) -> None:
    score = small_score("voice")
    score.key_signatures.append(symusic.KeySignature(0, 3, 0))
    score.key_signatures.append(symusic.KeySignature(2400, -4, 1))  # inside the second bar
    score.markers.append(symusic.TextMeta(480, "A"))
    score.tracks[0].lyrics.append(symusic.TextMeta(1920, "Kyrie"))
    for tick, value in ((240, 127), (1200, 0), (1200, 90), (2880, 0)):
        score.tracks[0].controls.append(symusic.ControlChange(tick, 64, value))
    back = load_score(save_score(score, tmp_path / f"it.{ending}"))
    scale = back.ticks_per_quarter // 480
    assert [(key.time // scale, key.key, key.tonality) for key in back.key_signatures] == [
        (0, 3, 0),
        (2400, -4, 1),
    ]
    assert [(mark.time // scale, mark.text) for mark in back.markers] == [(480, "A")]
    assert [(lyric.time // scale, lyric.text) for lyric in back.tracks[0].lyrics] == [
        (1920, "Kyrie")
    ]
    assert [(control.time // scale, control.value) for control in back.tracks[0].controls] == [
        (240, 127),
        (1200, 0),
        (1200, 127),
        (2880, 0),
    ]


@pytest.mark.parametrize("duration", [960, 1920])
def test_two_lyrics_at_a_moment_go_to_two_chords(duration: int) -> None:
    score = small_score("duet")
    score.tracks[0].notes.append(symusic.Note(0, duration, 67, 80))
    score.tracks[0].lyrics.extend([symusic.TextMeta(0, "thau"), symusic.TextMeta(0, "ab")])
    back = score_from_bytes(to_musicxml(score, title="it"), name="it.musicxml")
    assert [lyric.text for lyric in back.tracks[0].lyrics] == ["thau", "ab"]


def test_forty_parts_keep_their_names_and_programs() -> None:
    score = small_score(*(f"part {index}" if index % 3 else "" for index in range(40)))
    for index, track in enumerate(score.tracks):
        track.program, track.is_drum = 3 * index, index % 7 == 5
    back = score_from_bytes(to_musicxml(score, title="it"), name="it.musicxml")
    assert [(part.name, part.program, part.is_drum) for part in back.tracks] == [
        (part.name, part.program, part.is_drum) for part in score.tracks
    ]


@pytest.mark.parametrize("name", ['Voix "haute"', "Äpfel | {x}", "", "V:2 name=x"])
def test_a_part_keeps_its_name_in_abc(name: str, tmp_path: Path) -> None:
    score = small_score("first", name, "third")
    back = load_score(save_score(score, tmp_path / "it.abc"))
    assert [part.name for part in back.tracks] == ["first", name.replace('"', "'"), "third"]
    assert not any(len(part.controls) for part in back.tracks)


def test_names_of_voices_are_read_in_every_form_of_abc() -> None:
    text = """X:1
T:tune
L:1/4
V:1 name="Head one"
V:2 nm=Zwei clef=bass
K:C
V:1
C D E F|
V:2
C,4|
[V:3 name=Drei] z2 G2|
V:1
G4|
"""
    back = score_from_bytes(text.encode(), name="it.abc")
    assert [part.name for part in back.tracks] == ["Head one", "Zwei", "Drei"]


@given(st.integers(0, 10 * QUARTER), st.integers(1, 40 * QUARTER))
def test_printed_values_last_as_long_as_the_note(onset: int, ticks: int) -> None:
    signs = list(note_values(onset, ticks))
    assert sum(sign.ticks for sign in signs) == ticks
    for sign in signs:
        lengthened = PRINTED[sign.kind] * (2 - Fraction(1, 2**sign.dots))
        factor = Fraction(2, 3) if sign.is_triplet else 1
        assert Fraction(sign.ticks, QUARTER) == lengthened * factor


@given(st.integers(0, 127), st.integers(-7, 7))
def test_a_spelled_pitch_sounds_as_it_should(pitch: int, sharps: int) -> None:
    letter, alter, octave = spell(pitch, sharps)
    assert (
        12 * (octave + 1)
        + {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}[letter]
        + alter
        == pitch
    )
    assert abs(alter) <= 2
