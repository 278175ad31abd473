"""Round trips through pretty_midi and music21 keep everything that they can represent."""

from pathlib import Path

import numpy as np
import pytest
import symusic
from hypothesis import given, settings
from hypothesis import strategies as st

from rwkv_music.errors import InputError
from rwkv_music.score import TempoMap, load_score, to_music21, to_pretty_midi, to_score
from tests.tokens import random_score

SEEDS = st.integers(0, 2**32 - 1)


def rich_score(seed: int, *, ticks: int = 480) -> symusic.Score:
    """Return a random score with keys, lyrics, markers, bends and overlapping notes."""
    rng = np.random.default_rng(seed)
    score = random_score(rng, ticks=ticks, free=True)
    # Of several tempos at one tick only the last one counts; a repeated tempo has no effect.
    micro = {0: 500_000} | {tempo.time: tempo.mspq for tempo in score.tempos}
    score.tempos = [symusic.Tempo(tick, mspq=micro[tick]) for tick in sorted(micro)]
    score.key_signatures.append(symusic.KeySignature(0, int(rng.integers(-5, 7)), 0))
    score.key_signatures.append(symusic.KeySignature(ticks, int(rng.integers(-5, 7)), 1))
    score.markers.append(symusic.TextMeta(2 * ticks, "verse"))
    for index, track in enumerate(score.tracks):
        track.name = f"part {index}"
        track.controls = list({control.time: control for control in track.controls}.values())
        first = min(track.notes, key=lambda note: note.time)
        track.lyrics.append(symusic.TextMeta(first.time, "la-"))
        track.notes.append(symusic.Note(first.time, first.duration + 7, first.pitch, 99))
        track.pitch_bends.append(symusic.PitchBend(int(rng.integers(ticks)), -300))
    return score


def notes(score: symusic.Score) -> list[tuple[object, ...]]:
    """Return name, program, drums and notes of every track."""
    return [
        (
            track.name,
            track.program,
            track.is_drum,
            sorted((note.time, note.duration, note.pitch, note.velocity) for note in track.notes),
        )
        for track in score.tracks
    ]


def timing(score: symusic.Score) -> tuple[list[tuple[int, ...]], ...]:
    return (
        [(tempo.time, tempo.mspq) for tempo in score.tempos],
        sorted(
            (time_signature.time, time_signature.numerator, time_signature.denominator)
            for time_signature in score.time_signatures
        ),
        [
            (key_signature.time, key_signature.key, key_signature.tonality)
            for key_signature in score.key_signatures
        ],
    )


def pedals(track: symusic.Track) -> list[tuple[int, bool]]:
    """Return the ticks at which the pedal is pressed and released."""
    switches: list[tuple[int, bool]] = []
    for message in sorted(track.controls, key=lambda control: control.time):
        is_down = message.value >= 64
        if message.number == 64 and is_down != (bool(switches) and switches[-1][1]):
            switches.append((message.time, is_down))
    return switches


@settings(max_examples=40)
@given(SEEDS)
def test_a_pretty_midi_round_trip_keeps_what_it_can_represent(seed: int) -> None:
    score = rich_score(seed)
    score.tracks[0].notes.append(symusic.Note(3, 0, 60, 70))
    back = to_score(to_pretty_midi(score))
    assert notes(back) == notes(score)
    assert timing(back) == timing(score)
    lyrics = [(lyric.time, lyric.text) for track in score.tracks for lyric in track.lyrics]
    assert [(lyric.time, lyric.text) for lyric in back.tracks[0].lyrics] == sorted(lyrics)
    for old, new in zip(score.tracks, back.tracks, strict=True):
        assert [(c.time, c.number, c.value) for c in new.controls] == [
            (c.time, c.number, c.value) for c in old.controls
        ]
        assert [(b.time, b.value) for b in new.pitch_bends] == [
            (b.time, b.value) for b in old.pitch_bends
        ]


@settings(max_examples=12)
@given(SEEDS, st.sampled_from([96, 480, 1000]))
def test_a_music21_round_trip_keeps_what_it_can_represent(seed: int, ticks: int) -> None:
    score = rich_score(seed, ticks=ticks)
    score.tracks[0].notes.append(symusic.Note(3, 0, 60, 70))
    back = to_score(to_music21(score))
    scale, rest = divmod(back.ticks_per_quarter, ticks)
    assert rest == 0
    finer = score.resample(back.ticks_per_quarter, min_dur=0)
    assert notes(back) == notes(finer)
    assert timing(back) == timing(finer)
    assert [(marker.time, marker.text) for marker in back.markers] == [(2 * scale * ticks, "verse")]
    for old, new in zip(finer.tracks, back.tracks, strict=True):
        assert [(lyric.time, lyric.text) for lyric in new.lyrics] == [
            (lyric.time, lyric.text) for lyric in old.lyrics
        ]
        held = pedals(old)
        if held and held[-1][1]:
            held.append((max(held[-1][0], old.end()), False))
        assert pedals(new) == held


@pytest.mark.parametrize("program", [112, 113, 115, 116, 117])
def test_melodic_percussion_stays_a_part_with_pitches_in_music21(program: int) -> None:
    score = symusic.Score(480)
    track = symusic.Track("", program, False)
    track.notes.append(symusic.Note(0, 480, 60, 80))
    score.tracks.append(track)
    assert notes(to_score(to_music21(score))) == notes(score)


def test_real_files_survive_a_pretty_midi_round_trip_with_equal_times(shared_data: Path) -> None:
    chosen = [
        path
        for folder in ("pop909", "freedoom", "groove")
        for path in sorted((shared_data / folder).rglob("*.mid"))[::97][:4]
    ]
    assert len(chosen) > 8
    for path in chosen:
        score = load_score(path)
        held = to_pretty_midi(score)
        assert notes(to_score(held)) == notes(score), path.name
        clock = TempoMap(score)
        for track, part in zip(score.tracks, held.instruments, strict=True):
            onsets = clock.ticks_to_seconds(track.notes.numpy()["time"])
            np.testing.assert_allclose(onsets, [note.start for note in part.notes], atol=1e-6)


def test_onsets_agree_with_pretty_midi_reading_the_same_file(shared_data: Path) -> None:
    """pretty_midi parses the file itself here."""
    import pretty_midi

    for path in sorted((shared_data / "pop909").rglob("*.mid"))[::160]:
        score = load_score(path)
        clock = TempoMap(score)
        ours = np.sort(
            np.concatenate(
                [clock.ticks_to_seconds(track.notes.numpy()["time"]) for track in score.tracks]
            )
        )
        parsed = pretty_midi.PrettyMIDI(str(path))
        theirs = np.sort([note.start for part in parsed.instruments for note in part.notes])
        assert len(ours) == len(theirs), path.name
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_music_too_long_for_pretty_midi_is_rejected() -> None:
    score = symusic.Score(480)
    track = symusic.Track("", 0, False)
    track.notes.append(symusic.Note(20_000_000, 10, 60, 80))
    score.tracks.append(track)
    with pytest.raises(InputError, match="ends at tick 20000010, but pretty_midi supports at most"):
        to_pretty_midi(score)
