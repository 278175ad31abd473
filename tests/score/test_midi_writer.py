"""Writing MIDI: no channel has two programs at once, and everything is read back."""

import io
from pathlib import Path

import mido
import numpy as np
import pytest
import symusic

from rwkv_music.errors import InputError
from rwkv_music.score import load_score, save_score
from rwkv_music.score.midi.midi_writer import to_midi
from tests.music import score_of
from tests.tokens import random_score


def score_with(
    programs: list[int], *, drums: tuple[int, ...] = (), pedal: bool = False
) -> symusic.Score:
    """One note per part, each with a pitch of its own."""
    score = score_of((0, 480, 20), program=programs[0])
    for index, program in enumerate(programs[1:], start=1):
        score.tracks.append(score_of((0, 480, 20 + index), program=program).tracks[0])
    for index, program in enumerate(drums):
        score.tracks.append(
            score_of((0, 480, 100 + index), program=program, is_drum=True).tracks[0]
        )
    if pedal:
        for track in score.tracks:
            track.controls.append(symusic.ControlChange(0, 64, 127))
    return score


def heard(content: bytes) -> dict[int, tuple[int, bool, tuple[int, int]]]:
    """Program, drums and (port, channel) of each pitch, as a player with ports hears it."""
    events = []
    for track in mido.MidiFile(file=io.BytesIO(content)).tracks:
        now = port = 0
        for message in track:
            now += message.time
            if message.type == "midi_port":
                port = message.port
            elif message.type in {"program_change", "note_on"}:
                # A program change counts for all notes of its time.
                events.append((now, message.type == "note_on", len(events), port, message))
    programs: dict[tuple[int, int], int] = {}
    actual = {}
    for _, _, _, port, message in sorted(events, key=lambda event: event[:3]):
        port_channel = (port, message.channel)
        if message.type == "program_change":
            programs[port_channel] = message.program
        elif message.velocity:
            actual[message.note] = (
                programs.get(port_channel, 0),
                message.channel == 9,
                port_channel,
            )
    return actual


@pytest.mark.parametrize("count", [1, 15, 16, 17, 31, 60])
def test_every_part_sounds_with_its_program(count: int, tmp_path: Path) -> None:
    programs = [(7 * index) % 128 for index in range(count)]
    score = score_with(programs)
    sounds = heard(to_midi(score))
    assert [sounds[20 + index][:2] for index in range(count)] == [(p, False) for p in programs]
    back = load_score(save_score(score, tmp_path / "many.mid"))
    assert [track.program for track in back.tracks] == programs
    assert [track.notes[0].pitch for track in back.tracks] == [20 + n for n in range(count)]


def test_parts_with_equal_programs_share_channels_of_one_port() -> None:
    sounds = heard(to_midi(score_with([index % 5 for index in range(40)])))
    assert {port_channel[0] for _, _, port_channel in sounds.values()} == {0}
    assert len({port_channel for _, _, port_channel in sounds.values()}) == 5


def test_parts_with_pedals_or_equal_notes_do_not_share_a_channel() -> None:
    pedals = heard(to_midi(score_with([3] * 20, pedal=True)))
    assert len({port_channel for _, _, port_channel in pedals.values()}) == 20
    unison = score_with([4] * 20)
    for track in unison.tracks:
        track.notes[0].pitch = 60
    back = load_score_of(to_midi(unison))
    assert [len(track.notes) for track in back.tracks] == [1] * 20
    assert b"\xff\x21\x01\x01" in to_midi(unison)


def test_kits_with_different_programs_get_a_port_each() -> None:
    sounds = heard(to_midi(score_with([0], drums=(0, 25, 0))))
    assert [sounds[pitch][:2] for pitch in (100, 101, 102)] == [(0, True), (25, True), (0, True)]


@pytest.mark.parametrize("seed", range(6))
def test_large_scores_are_read_back_unchanged(seed: int) -> None:
    rng = np.random.default_rng(seed)
    score = random_score(rng, parts=5)
    while len(score.tracks) < 18:
        score.tracks.extend(random_score(rng, parts=5).tracks)
    for index, track in enumerate(score.tracks):
        track.name = f"part {index}"
        track.program = index
        track.lyrics.append(symusic.TextMeta(min(note.time for note in track.notes), "la"))
    back = load_score_of(to_midi(score))
    assert len(back.tracks) == len(score.tracks)
    for old, new in zip(score.tracks, back.tracks, strict=True):
        assert (new.name, new.program, new.is_drum) == (old.name, old.program, old.is_drum)
        assert sorted((n.time, n.pitch, n.velocity) for n in new.notes) == sorted(
            (n.time, n.pitch, n.velocity) for n in old.notes
        )
        assert len(new.controls) == len(old.controls)
        assert [lyric.text for lyric in new.lyrics] == ["la"]
    tempos = [[(tempo.time, tempo.mspq) for tempo in s.tempos] for s in (score, back)]
    assert sorted(tempos[0]) == sorted(tempos[1])


def test_too_many_parts_are_rejected() -> None:
    score = score_with([0])
    loud = symusic.Track("", 0, False)
    loud.notes.append(symusic.Note(0, 480, 60, 80))
    score.tracks = [loud.copy() for _ in range(1921)]
    with pytest.raises(InputError, match="has 1921 parts, a MIDI file can hold at most 1920"):
        to_midi(score)


def load_score_of(content: bytes) -> symusic.Score:
    from rwkv_music.score import score_from_bytes

    return score_from_bytes(content, name="it.mid")
