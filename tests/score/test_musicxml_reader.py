"""The MusicXML reader decides what sounds as the format says."""

import pytest

from rwkv_music.errors import InputError
from rwkv_music.score import bar_starts
from tests.score.musicxml_documents import (
    TIME,
    backup,
    document,
    notes,
    pitch,
    read,
    rest,
    tie,
)


def velocities(text: str) -> list[tuple[int, int]]:
    score = read(text).score
    return [(note.pitch, note.velocity) for track in score.tracks for note in track.notes]


def tempos(text: str) -> list[tuple[float, float]]:
    score = read(text).score
    return [(tempo.time / score.ticks_per_quarter, round(tempo.qpm, 1)) for tempo in score.tempos]


def metronome(per_minute: str, unit: str = "quarter", dots: int = 0) -> str:
    return (
        f"<direction-type><metronome><beat-unit>{unit}</beat-unit>{'<beat-unit-dot/>' * dots}"
        f"<per-minute>{per_minute}</per-minute></metronome></direction-type>"
    )


def test_cue_and_grace_notes_are_silent_and_only_cue_notes_take_time() -> None:
    grace = "<note><grace/><pitch><step>A</step><octave>4</octave></pitch></note>"
    loaded = read(document(pitch("C4") + pitch("E4", before="<cue/>") + grace + pitch("G4", 8)))
    assert notes(loaded.score) == [(0, 1, 60), (2, 2, 67)]
    assert (loaded.notes_in_source, loaded.notes_missing) == (2, 0)


@pytest.mark.parametrize(
    ("direction", "qpm"),
    [
        (metronome("120") + '<sound tempo="132"/>', 132),
        (metronome("c. 66") + '<sound tempo="67.5"/>', 67.5),
        (metronome("c. 66"), 66),
        (metronome("60", "quarter", dots=1), 90),
        (metronome("60", "half"), 120),
        (metronome("fast"), 120),
        (metronome("90") + '<sound tempo="0"/>', 90),
    ],
)
def test_a_tempo_for_playback_replaces_a_printed_one(direction: str, qpm: float) -> None:
    assert tempos(document(f"<direction>{direction}</direction>" + pitch("C4", 16))) == [(0, qpm)]


def test_a_sound_of_the_measure_replaces_a_mark_at_the_same_moment() -> None:
    text = document(
        pitch("C4", 8)
        + '<sound tempo="50"/>'
        + f"<direction>{metronome('99')}</direction>"
        + rest(8)
    )
    assert tempos(text) == [(0, 120), (2, 50)]


def test_ties_join_notes_of_other_staves_voices_and_measures() -> None:
    lower = "<voice>5</voice><staff>2</staff>"
    upper = "<voice>1</voice><staff>1</staff>"
    text = document(
        pitch("G4", 16, tie("start") + lower),
        pitch("G4", 16, tie("stop", "start") + upper),
        pitch("G4", 8, tie("stop") + lower) + rest(8),
        attributes="<staves>2</staves>",
    )
    loaded = read(text)
    assert notes(loaded.score) == [(0, 10, 67)]
    assert loaded.notes_in_source == 1


def test_a_tie_can_skip_time_as_in_an_arpeggio() -> None:
    text = document(
        pitch("C4", 4, tie("start")) + pitch("E4", 4, tie("start")) + pitch("G4", 8)
        + rest(16) + backup(16)
        + pitch("C4", 16, tie("stop")) + pitch("E4", 16, tie("stop"), before="<chord/>")
    )  # fmt: skip
    assert notes(read(text).score) == [(0, 8, 60), (1, 7, 64), (2, 2, 67)]


def test_a_tie_end_without_a_beginning_is_struck() -> None:
    text = document(pitch("C4", 4, tie("start")) + pitch("D4", 12, tie("stop")))
    loaded = read(text)
    assert notes(loaded.score) == [(0, 1, 60), (1, 3, 62)]
    assert loaded.notes_missing == 0


def test_a_tie_does_not_reach_over_more_than_a_measure() -> None:
    text = document(pitch("C4", 16, tie("start")), rest(16), rest(16), pitch("C4", 16, tie("stop")))
    assert notes(read(text).score) == [(0, 4, 60), (12, 4, 60)]


def test_equal_pitches_are_tied_inside_their_voice() -> None:
    text = document(
        pitch("C4", 16, tie("start") + "<voice>1</voice>") + backup(16)
        + pitch("C4", 16, tie("start") + "<voice>2</voice>"),
        pitch("C4", 4, tie("stop") + "<voice>1</voice>") + backup(4)
        + pitch("C4", 8, tie("stop") + "<voice>2</voice>"),
    )  # fmt: skip
    assert notes(read(text).score) == [(0, 5, 60), (0, 6, 60)]


def test_a_member_of_a_chord_keeps_its_own_length() -> None:
    text = document(pitch("C4", 8) + pitch("E4", 4, before="<chord/>") + pitch("G4", 8))
    assert notes(read(text).score) == [(0, 1, 64), (0, 2, 60), (2, 2, 67)]


def test_a_note_without_duration_lasts_as_its_printed_value() -> None:
    triplet = (
        "<type>quarter</type><dot/><time-modification><actual-notes>3</actual-notes>"
        "<normal-notes>2</normal-notes></time-modification>"
    )
    text = document(pitch("C4", 0, triplet) + pitch("D4"))
    assert notes(read(text).score) == [(0, 1, 60), (1, 1, 62)]


UNPITCHED = (
    "<note>{}<unpitched><display-step>E</display-step><display-octave>4</display-octave></unpitched>"
    "<duration>4</duration>{}</note>"
)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ('<score-instrument id="I1"><instrument-name>x</instrument-name></score-instrument>'
         '<midi-instrument id="I1"><midi-unpitched>82</midi-unpitched></midi-instrument>', 81),
        ('<score-instrument id="I1"><instrument-name>Snare Drum</instrument-name>'
         "</score-instrument>", 38),
        ('<score-instrument id="I1"><instrument-name>x</instrument-name><instrument-sound>'
         "metal.triangle</instrument-sound></score-instrument>", 81),
        ("", 64),
    ],
)  # fmt: skip
def test_an_unpitched_note_sounds_as_the_instrument_of_its_part(entry: str, expected: int) -> None:
    score = read(document(UNPITCHED.format("", ""), entry=entry)).score
    assert [(t.is_drum, n.pitch) for t in score.tracks for n in t.notes] == [(True, expected)]


def test_each_unpitched_note_sounds_as_the_instrument_that_it_names() -> None:
    entry = "".join(
        f'<midi-instrument id="I{key}"><midi-channel>10</midi-channel>'
        f"<midi-unpitched>{key}</midi-unpitched></midi-instrument>"
        for key in (36, 39)
    )
    text = document(
        "".join(UNPITCHED.format("", f'<instrument id="I{n}"/>') for n in (39, 36)), entry=entry
    )
    assert [note[2] for note in notes(read(text).score)] == [38, 35]


def test_a_part_that_changes_its_instrument_becomes_two_tracks() -> None:
    entry = (
        '<score-instrument id="I1"><instrument-name>Flute</instrument-name></score-instrument>'
        '<midi-instrument id="I1"><midi-program>74</midi-program></midi-instrument>'
    )
    change = (
        '<direction><sound><midi-instrument id="I1"><midi-program>73</midi-program>'
        "</midi-instrument></sound></direction>"
    )
    score = read(document(pitch("C4", 8) + change + pitch("D4", 8), entry=entry)).score
    assert [(t.name, t.program, [n.pitch for n in t.notes]) for t in score.tracks] == [
        ("Part", 73, [60]),
        ("Part", 72, [62]),
    ]


def test_a_part_without_program_plays_the_instrument_that_it_names() -> None:
    entry = (
        '<score-instrument id="I1"><instrument-name>Viola II</instrument-name></score-instrument>'
    )
    assert read(document(pitch("C4"), entry=entry)).score.tracks[0].program == 41


def test_loudness_of_sounds_holds_until_the_next_and_notes_have_their_own() -> None:
    soft, loud = (f'<direction><sound dynamics="{percent}"/></direction>' for percent in (50, 100))
    text = document(
        pitch("C4") + soft + pitch("D4") + pitch("E4", dynamics="20"), loud + pitch("F4")
    )
    assert velocities(text) == [(60, 80), (62, 45), (64, 18), (65, 90)]


def test_loudness_changes_at_its_moment_in_every_voice() -> None:
    loud = '<direction><sound dynamics="100"/></direction>'
    text = document(pitch("C4", 8) + loud + pitch("D4", 8) + backup(16) + pitch("E3") + pitch("F3"))
    assert sorted(velocities(text)) == [(52, 80), (53, 80), (60, 80), (62, 90)]


def test_a_note_of_no_loudness_is_as_soft_as_can_be() -> None:
    text = document(pitch("C4", dynamics="0") + pitch("D4", dynamics="50"))
    assert velocities(text) == [(60, 1), (62, 45)]


def bars(text: str) -> list[float]:
    score = read(text).score
    return [int(tick) / score.ticks_per_quarter for tick in bar_starts(score)]


@pytest.mark.parametrize("time", ["", "<time><senza-misura/></time>"])
def test_measures_without_time_signature_keep_their_bar_lines(time: str) -> None:
    assert bars(document(pitch("C4", 20), pitch("D4", 8), pitch("E4", 28), time=time)) == [
        0, 5, 7, 14,
    ]  # fmt: skip


def test_a_pickup_and_a_cadenza_keep_later_bar_lines_in_place() -> None:
    assert bars(document(pitch("C4", 4), rest(16), pitch("C4", 24), pitch("C4"))) == [
        0, 1, 5, 11, 15,
    ]  # fmt: skip


def test_a_measure_that_misses_its_length_by_rounding_is_a_full_bar() -> None:
    text = document(pitch("C4", 961), pitch("D4", 960)).replace(
        "<divisions>4</divisions>", "<divisions>240</divisions>"
    )
    assert bars(text) == [0, 4, 8]


def test_a_rest_of_a_measure_is_as_long_as_the_bar() -> None:
    whole = '<note><rest measure="yes"/><duration>16</duration></note>'
    time = "<time><beats>3</beats><beat-type>4</beat-type></time>"
    assert bars(document(whole, pitch("C4", 12), time=time)) == [0, 3, 6]


@pytest.mark.parametrize(
    ("time", "length"),
    [
        ("<beats>3+2</beats><beat-type>8</beat-type>", 2.5),
        ("<beats>2</beats><beat-type>4</beat-type><beats>3</beats><beat-type>8</beat-type>", 3.5),
    ],
)
def test_compound_time_signatures_are_added_up(time: str, length: float) -> None:
    text = document(rest(int(4 * length)), pitch("C4"), time=f"<time>{time}</time>")
    assert bars(text)[:2] == [0, length]


def test_a_transposing_part_sounds_as_it_should() -> None:
    clarinet = (
        "<key><fifths>2</fifths></key><transpose><diatonic>-1</diatonic><chromatic>-2</chromatic>"
        "<octave-change>-1</octave-change></transpose>"
    )
    score = read(document(pitch("C5"), attributes=clarinet)).score
    assert [note[2] for note in notes(score)] == [72 - 14]
    assert [key.key for key in score.key_signatures] == [0]


def test_an_accidental_sounds_where_the_alteration_is_left_out() -> None:
    sharp, natural = (f"<accidental>{name}</accidental>" for name in ("sharp", "natural"))
    text = document(
        pitch("C4", 4, sharp) + pitch("C4") + pitch("C4", 4, natural) + pitch("C4"),
        pitch("C4", 8) + pitch("C#4", 4, natural) + pitch("C5"),
    )
    assert [note[2] for note in notes(read(text).score)] == [61, 61, 60, 60, 60, 61, 72]


def test_an_accidental_without_alteration_is_tied_over_the_bar_line() -> None:
    flat = "<accidental>flat</accidental>"
    text = document(
        rest(12) + pitch("B4", 4, flat + tie("start")),
        pitch("B4", 4, tie("stop")) + pitch("B4", 12),
    )
    loaded = read(text)
    assert notes(loaded.score) == [(3, 2, 70), (5, 3, 71)]
    assert loaded.notes_missing == 0


def test_enharmonic_notes_are_tied() -> None:
    loaded = read(document(pitch("G#4", 16, tie("start")), pitch("Ab4", 8, tie("stop")) + rest(8)))
    assert notes(loaded.score) == [(0, 6, 68)]
    assert loaded.notes_missing == 0


def test_unknown_elements_are_passed_over() -> None:
    text = document('<unheard-of kind="x"><note/></unheard-of>' + pitch("C4", 4, "<novelty/>"))
    loaded = read(text)
    assert (loaded.reader, notes(loaded.score)) == ("rwkv-music", [(0, 1, 60)])


def test_a_timewise_document_is_read() -> None:
    measures = "".join(
        f'<measure number="{n}"><part id="P1"><attributes><divisions>4</divisions></attributes>'
        f'{pitch(name, 16)}</part><part id="P2">{pitch(other, 64)}</part></measure>'
        for n, (name, other) in enumerate((("C4", "C3"), ("D4", "D3")))
    )
    text = f"<score-timewise><part-list/>{measures}</score-timewise>"
    assert notes(read(text).score) == [(0, 4, 60), (0, 64, 48), (64, 4, 62), (64, 64, 50)]


@pytest.mark.parametrize(
    ("declared", "encoding"),
    [
        ("UTF-8", "utf-8"), ("UTF-8", "utf-8-sig"), ("UTF-16", "utf-16"), ("UTF-16", "utf-16-le"),
        ("UTF-16", "utf-16-be"), ("ISO-8859-1", "latin-1"), ("windows-1252", "cp1252"),
        ("Shift_JIS", "utf-8"), ("UTF-16", "utf-8"), ("UTF-8", "latin-1"), ("nonsense", "utf-8"),
    ],
)  # fmt: skip
def test_a_document_is_decoded_as_it_is_written(declared: str, encoding: str) -> None:
    name = "Flöte" if encoding != "utf-8" or declared != "Shift_JIS" else "Floete"
    text = document(pitch("C4")).replace("UTF-8", declared, 1)
    text = text.replace("<part-name>Part<", f"<part-name>{name}<")
    assert read(text.encode(encoding)).score.tracks[0].name == name


def test_declared_entities_are_refused() -> None:
    text = document(pitch("C4")).replace(
        "<score-partwise", '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><score-partwise', 1
    )
    with pytest.raises(InputError, match="declares XML entities"):
        read(text)


def test_a_document_that_lasts_for_ever_is_refused() -> None:
    with pytest.raises(InputError, match=r"lasts 99999999999 quarters, at most \d+ are read"):
        read(document(pitch("C4", 4 * 99_999_999_999)))


def test_printed_bars_of_the_longest_part_count() -> None:
    assert TIME in document(rest(16))
    assert bars(document(rest(8) + backup(8) + pitch("C4", 16), pitch("C4", 16))) == [0, 4, 8]


@pytest.mark.parametrize("number", ["1e999999999", "9" * 400, "nan", "1/0"])
def test_numbers_that_would_take_for_ever_are_refused(number: str) -> None:
    for tag in ("divisions", "duration"):
        text = document(pitch("C4")).replace(f"<{tag}>4<", f"<{tag}>{number}<")
        with pytest.raises(InputError, match=r"cannot be read|lasts"):
            read(text)
