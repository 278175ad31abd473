"""The Humdrum reader follows every spine, and keeps time in all of them."""

import pytest

from rwkv_music.errors import InputError
from rwkv_music.score import bar_starts
from rwkv_music.score.humdrum.kern_tokens import read_token
from rwkv_music.score.loaded_score import LoadedScore
from rwkv_music.score.text_formats import ReadRequest, parse_request
from tests.score.musicxml_documents import notes


def read(*lines: str, unfold_repeats: bool = False) -> LoadedScore:
    """Read lines whose columns are separated by spaces; `~` is a space inside a column."""
    text = "\n".join(line.replace(" ", "\t").replace("~", " ") for line in lines)
    return parse_request(ReadRequest(text.encode(), "humdrum", unfold_repeats))


def pitches(loaded: LoadedScore) -> list[int]:
    return [note[2] for note in notes(loaded.score)]


def test_sub_spines_are_kept_through_splits_and_merges() -> None:
    loaded = read(
        "**kern **kern",
        "4C 4c",
        "* *^",
        "4D 4d 4f",
        "* *^ *",
        "4E 4e 4g 4b",
        "* *v *v *",
        "4F 4f 4a",
        "* *v *v",
        "4G 4g",
        "*- *-",
    )
    assert notes(loaded.score) == [
        (0, 1, 48), (0, 1, 60), (1, 1, 50), (1, 1, 62), (1, 1, 65), (2, 1, 52), (2, 1, 64),
        (2, 1, 67), (2, 1, 71), (3, 1, 53), (3, 1, 65), (3, 1, 69), (4, 1, 55), (4, 1, 67),
    ]  # fmt: skip
    assert (loaded.reader, loaded.notes_in_source, loaded.repairs) == ("rwkv-music", 14, ())


def test_merged_sub_spines_wait_for_the_longer_one() -> None:
    loaded = read("**kern", "*^", "4c 2e", "4d .", "*v *v", "4f", "*-")
    assert notes(loaded.score) == [(0, 1, 60), (0, 2, 64), (1, 1, 62), (2, 1, 65)]


def test_merges_of_two_parts_on_one_line_stay_separate() -> None:
    loaded = read("**kern **kern", "*^ *^", "4C 4E 4c 4e", "*v *v *v *v", "4D 4d", "*- *-")
    assert [sorted(n.pitch for n in t.notes) for t in loaded.score.tracks] == [
        [60, 62, 64],
        [48, 50, 52],
    ]


def test_spines_are_swapped_added_and_ended() -> None:
    loaded = read(
        "**kern **kern",
        "4C 4c",
        "*x *x",
        "4d 4D",
        "* *+",
        "* * **kern",
        "4e 4E 4g",
        "*- * *",
        "4F 4a",
        "*- *-",
    )
    assert [[n.pitch for n in t.notes] for t in loaded.score.tracks] == [
        [67, 69],
        [60, 62, 64],
        [48, 50, 52, 53],
    ]


def test_a_file_can_begin_again() -> None:
    assert notes(read("**kern", "2c", "*-", "**kern **kern", "4d 4D", "*- *-").score) == [
        (0, 2, 60), (2, 1, 50), (2, 1, 62),
    ]  # fmt: skip


def test_ties_join_notes_across_bar_lines_and_sub_spines() -> None:
    loaded = read("**kern", "[2c", "=2", "4c_~4e", "*^", "4c] 4g", "*v *v", "4c", "*-")
    assert notes(loaded.score) == [(0, 4, 60), (2, 1, 64), (3, 1, 67), (4, 1, 60)]


def test_enharmonic_notes_are_tied() -> None:
    loaded = read("**kern", "[4g#", "4a-]", "4b", "*-")
    assert notes(loaded.score) == [(0, 2, 68), (2, 1, 71)]
    assert loaded.notes_missing == 0


def test_a_tie_leads_to_a_note_that_begins_too_early() -> None:
    loaded = read("**kern **kern", "4.c [4.e", "8d .", "*clefF4 *", "4f 4e]", "*- *-")
    assert notes(loaded.score) == [(0, 1.5, 60), (0, 3, 64), (1.5, 0.5, 62), (2, 1, 65)]
    loaded = read("**kern", "*^", "[4.e 4c", ". 4e]", "8r .", "*v *v", "*-")
    assert notes(loaded.score) == [(0, 1, 60), (0, 2, 64)]
    assert loaded.notes_missing == 0


def test_doubled_signs_tie_notes_over_measures() -> None:
    loaded = read("**kern", "[[4c", "=2", "4d", "=3", "4e", "=4", "[4c", "=5", "4c]]", "4c]", "*-")
    assert notes(loaded.score) == [(0, 5, 60), (1, 1, 62), (2, 1, 64), (3, 3, 60)]
    assert loaded.notes_missing == 0


def test_ties_that_end_without_a_beginning_leave_other_ties_alone() -> None:
    loaded = read(
        "**kern", "*^",
        "[4c 4c]",  # a tie leads to a later note
        "4c] 4e",
        "*v *v", "[8qg", "4g]",  # the tie of a grace note
        "[4f]", "4f]",
        "=", "4r", "=", "4f]", "*-",
    )  # fmt: skip
    assert notes(loaded.score) == [
        (0, 1, 60), (0, 2, 60), (1, 1, 64), (2, 1, 67), (3, 2, 65), (6, 1, 65),
    ]  # fmt: skip
    assert loaded.notes_missing == 0


def test_a_chord_of_which_one_note_is_marked_as_grace_is_grace() -> None:
    loaded = read("**kern", "8qf~8a", "4c", "*-")
    assert notes(loaded.score) == [(0, 1, 60)]
    assert loaded.notes_missing == 0


@pytest.mark.parametrize(
    ("token", "quarters", "pitch"),
    [
        ("4c", 1, 60), ("4.cc#", 1.5, 73), ("8BB--", 0.5, 45), ("0C", 8, 48), ("00c", 16, 60),
        ("3%2c", 8 / 3, 60), ("12f#L", 1 / 3, 66), ("16..ggnJ", 0.4375, 79), ("2e-_", 2, 63),
        ("2b]-", 2, 70), ("4f_L##", 1, 67), ("8c.L", 0.75, 60), ("4.e.", 1.75, 64),
    ],
)  # fmt: skip
def test_tokens_give_length_and_pitch(token: str, quarters: float, pitch: int) -> None:
    actual = read_token(token)
    assert actual is not None
    assert (float(actual.quarters), actual.notes[0].pitch) == (pytest.approx(quarters), pitch)


def test_grace_notes_rests_and_null_tokens_do_not_sound() -> None:
    loaded = read("**kern", "8qc", "4d", "4r", "4ryy", ".", "qqe", "4f", "*-")
    assert notes(loaded.score) == [(0, 1, 62), (3, 1, 65)]
    assert loaded.notes_missing == 0


def test_members_of_a_chord_can_have_lengths_of_their_own() -> None:
    assert notes(read("**kern", "4c~2e~g", "4d", "*-").score) == [
        (0, 1, 60), (0, 2, 64), (0, 2, 67), (1, 1, 62),
    ]  # fmt: skip


def test_percussion_sounds_as_its_instrument() -> None:
    loaded = read(
        "**kern **kern **kern", "*clefX *clefX *clefG2", "*Itrian * *", '* *I"Snare~drum *',
        "4R 4e 4c", "4R 4e 4d", "*- *- *-",
    )  # fmt: skip
    assert [
        (track.is_drum, [note.pitch for note in track.notes]) for track in loaded.score.tracks
    ] == [(False, [60, 62]), (True, [38, 38]), (True, [81, 81])]
    assert loaded.notes_missing == 0


def test_ottava_marks_and_clefs_change_no_pitch() -> None:
    assert pitches(read("**kern", "*8va", "*clefGv2", "4c", "*X8va", "4c", "*-")) == [60, 60]


def test_signatures_tempos_names_and_instruments_are_read() -> None:
    score = read(
        "**kern **kern",
        "*part2 *part1",
        "*Icello *Ivioln",
        '*I"Low *I"High',
        "*k[f#c#] *k[f#c#]",
        "*b: *b:",
        "*M3/4 *M3/4",
        "*MM72 *MM72",
        "2.C 2.cc",
        "=2 =2",
        "*M2/4 *M2/4",
        "*MM60 *MM60",
        "2C 2cc",
        "*- *-",
    ).score
    quarter = score.ticks_per_quarter
    assert [(t.name, t.program) for t in score.tracks] == [("High", 40), ("Low", 42)]
    assert [(k.time, k.key, k.tonality) for k in score.key_signatures] == [(0, 2, 1)]
    assert [(s.time / quarter, s.numerator) for s in score.time_signatures] == [(0, 3), (3, 2)]
    assert [(t.time / quarter, round(t.qpm)) for t in score.tempos] == [(0, 72), (3, 60)]


def test_pickups_and_free_measures_keep_their_bar_lines() -> None:
    score = read("**kern", "*M3/4", "4c", "=1", "2.d", "=2", "*MX", "1e", "=3", "0f", "*-").score
    assert [tick / score.ticks_per_quarter for tick in bar_starts(score)] == [0, 1, 4, 8, 16]


def test_pedals_and_lyrics_are_read() -> None:
    score = read(
        "**kern **kern **text",
        "*part2 *part1 *part1",
        "*ped * *",
        "4C 4c Ky-",
        "*Xped * *",
        "4D 4d -rie",
        "*- *- *-",
    ).score
    quarter = score.ticks_per_quarter
    voice, piano = score.tracks
    assert [(lyric.time / quarter, lyric.text) for lyric in voice.lyrics] == [(0, "Ky"), (1, "rie")]
    assert [(c.time / quarter, c.value) for c in piano.controls] == [(0, 127), (1, 0)]
    assert not voice.controls


def test_labelled_sections_are_played_in_their_order() -> None:
    lines = ("**kern", "*>[A,B,A]", "*>A", "4c", "=", "*>B", "4d", "*-")
    assert pitches(read(*lines)) == [60, 62]
    assert read(*lines).has_repeats
    assert pitches(read(*lines, unfold_repeats=True)) == [60, 62, 60]


def test_repeat_signs_are_played_where_no_order_is_given() -> None:
    lines = ("**kern", "1c", "=2:|!|:", "1d", "=3:|!", "1e", "==", "*-")
    assert pitches(read(*lines, unfold_repeats=True)) == [60, 60, 62, 62, 64]
    assert pitches(read(*lines)) == [60, 62, 64]


def test_a_voice_that_lacks_a_rest_does_not_move_the_others() -> None:
    loaded = read("**kern **kern", "4C 2c", "* *", ". .", "4D 4d", "*- *-")
    assert notes(loaded.score) == [(0, 1, 48), (0, 2, 60), (2, 1, 50), (2, 1, 62)]
    assert loaded.repairs == ("1 lines where the rhythms of spines do not agree",)


def test_notes_outside_of_midi_are_reported_as_missing() -> None:
    loaded = read("**kern", "4ccccccccc", "4c", "*-")
    assert loaded.repairs == ("1 notes outside of MIDI's range left out",)
    assert loaded.notes_missing == 1


def test_humdrum_without_kern_is_refused() -> None:
    with pytest.raises(InputError, match=r"has no \*\*kern spine"):
        read("**text", "la", "*-")


def test_splits_into_too_many_spines_are_refused_at_once() -> None:
    many = "\t".join(["*^4000"] * 3)
    with pytest.raises(InputError, match="more than 4096 spines"):
        read("**kern", "*^3", many.replace("\t", " "), "4c 4c 4c", "*-")


def test_columns_of_several_spines_merge_on_one_line() -> None:
    loaded = read(
        "**kern **kern", "*^ *^", "4C 4E 4c 4e", "*v *v *v *v", "4D 4d", "*- *-"
    )  # fmt: skip
    assert pitches(loaded) == [48, 52, 60, 64, 50, 62]
    assert loaded.notes_missing == 0


def test_columns_of_two_spines_merge_if_the_next_line_is_as_narrow_as_that() -> None:
    loaded = read(
        "**kern **kern", "*^ *", "4C 8c 4cc", ". 8d .", "*v *v *v", "4E", "*-"
    )  # fmt: skip
    assert sorted(pitches(loaded)) == [48, 52, 60, 62, 72]
    assert loaded.notes_missing == 0
