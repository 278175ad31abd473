"""ABC tunes are played in the order that their repeats, jumps and parts give, on request."""

import pytest

from rwkv_music.score import score_from_bytes
from rwkv_music.score.abc.abc_reader import read_abc

LETTERS = {60: "C", 62: "D", 64: "E", 65: "F", 67: "G", 69: "A"}
Rows = list[tuple[float, float, int]]


def rows(body: str, *, head: str = "", unfold_repeats: bool = True) -> Rows:
    """Onset and duration in quarters and pitch of all notes, sorted."""
    text = f"X:1\nM:4/4\nL:1/4\n{head}K:C\n{body}\n"
    loaded = read_abc(text.encode(), name="it.abc", unfold_repeats=unfold_repeats)
    assert loaded.notes_missing == 0
    quarter = loaded.score.ticks_per_quarter
    return sorted(
        (note.time / quarter, note.duration / quarter, note.pitch)
        for track in loaded.score.tracks
        for note in track.notes
    )


def letters(body: str, *, head: str = "", unfold_repeats: bool = True) -> str:
    notes = rows(body, head=head, unfold_repeats=unfold_repeats)
    return "".join(LETTERS[pitch] for _, _, pitch in notes)


@pytest.mark.parametrize(
    ("body", "played"),
    [
        ("C4!fine!|D4!D.C.!|", "CDC"),
        ("C4|!fine!D4|E4|!D.C.!", "CDECD"),
        ('C4 "^Fine"|D4|E4"^D.C. al Fine"|', "CDEC"),
        ('"C"C4|"Dm"D4|"D.C."E4|', "CDECDE"),
        ("C4|!segno!D4|E4!D.S.!|", "CDEDE"),
        ("C4|D4!coda!|E4!D.C.alcoda!|!coda!F4|", "CDECDF"),
        ("C4|!segno!D4!dacoda!|E4!D.S.alcoda!|!coda!F4|", "CDEDF"),
        ("|:C4!fine!:|D4!D.C.alfine!|", "CCDC"),
        ("|:C4|1D4:|2E4!D.C.!|]", "CDCECE"),
        ("C4 [1-3 D4:|4 E4|]", "CDCDCDCE"),
    ],
)
def test_jumps_and_endings_are_played_on_request(body: str, played: str) -> None:
    assert letters(body) == played
    assert letters(body, unfold_repeats=False) == "".join(dict.fromkeys(played))


@pytest.mark.parametrize(
    ("order", "body", "played"),
    [
        ("AABA", "P:A\nC4|\nP:B\nD4|", "CCDC"),
        ("A(BC)2.A", "P:A\nC4|\nP:B\nD4|\nP:C\nE4|", "CDEDEC"),
        ("B3A", "P:A\n|:C4:|\nP:B\nD4|", "DDDCC"),
        ("AXB", "G4|[P:A]C4|[P:B]D4|", "GCD"),
        ("AA", "C4|", "C"),
        ("", "P:B\nC4|\nP:A\nD4|", "CD"),
    ],
)
def test_parts_are_played_in_the_order_of_the_head(order: str, body: str, played: str) -> None:
    assert letters(body, head=f"P:{order}\n") == played


def test_a_tune_whose_parts_change_places_says_so() -> None:
    head = b"X:1\nM:4/4\nL:1/4\nP:%s\nK:C\nP:A\nC4|\nP:B\nD4|\n"
    assert read_abc(head % b"BA", name="it.abc").has_repeats
    assert not read_abc(head % b"AB", name="it.abc").has_repeats


def test_endless_parts_are_skipped_and_reported() -> None:
    text = b"X:1\nP:((((A99)99)99)99)\nK:C\nP:A\nC4|\n"
    loaded = read_abc(text, name="it.abc", unfold_repeats=True)
    assert loaded.notes_read == 1
    assert "more than 2000 parts" in loaded.repairs[0]


def test_a_tie_over_a_repeat_sign_leads_to_the_note_that_is_played_next() -> None:
    assert rows("C4-|:C4:|", unfold_repeats=False) == [(0, 8, 60)]
    assert rows("C4-|:C4:|") == [(0, 8, 60), (8, 4, 60)]
    endings = "|:C4|1D4-:|2D4|]"
    assert rows(endings, unfold_repeats=False) == [(0, 4, 60), (4, 8, 62)]
    assert rows(endings) == [(0, 4, 60), (4, 4, 62), (8, 4, 60), (12, 4, 62)]


def test_ties_over_several_bars_and_in_overlays_are_joined() -> None:
    assert rows("C4-|C4-|C2D2|") == [(0, 10, 60), (10, 2, 62)]
    assert rows("C4-&E4-|C4&E2F2|") == [(0, 6, 64), (0, 8, 60), (6, 2, 65)]
    assert rows("[CE]4-|[CE]4|") == [(0, 8, 60), (0, 8, 64)]
    assert rows("^C4-|C2C2|") == [(0, 6, 61), (6, 2, 60)]


@pytest.mark.parametrize("first", ["c", "e", "g", "z"])
def test_a_line_may_begin_with_a_note_and_a_repeat_sign(first: str) -> None:
    score = score_from_bytes(f"X:1\nL:1/4\nK:C\nC4|D3\n{first}:|E4|\n".encode(), name="it.abc")
    assert score.note_num() == 3 + (first != "z")


@pytest.mark.parametrize(
    ("macro", "body", "played"),
    [
        ("~C2=C/D/C", "~C2 E|", "CDCE"),
        ("~n2=(3n/o/n/", "~C2 ~D2|", "CDCDED"),
        ("n5=h/n/p/", "A5|", "BAC"),
    ],
)
def test_macros_are_replaced(macro: str, body: str, played: str) -> None:
    letters_of = {**LETTERS, 72: "C", 59: "B"}
    notes = rows(body, head=f"m:{macro}\n")
    assert "".join(letters_of[pitch] for _, _, pitch in notes) == played


def test_a_macro_does_not_match_the_beginning_of_a_longer_note() -> None:
    assert rows("~C24|", head="m:~C2=D\n") == [(0, 24, 60)]


def test_a_field_goes_on_behind_a_plus_sign() -> None:
    text = "X:1\nL:1/4\nK:C\nCDEF|\nw: one two\n+: three four\n"
    (track,) = score_from_bytes(text.encode(), name="it.abc").tracks
    assert [lyric.text for lyric in track.lyrics] == ["one", "two", "three", "four"]
