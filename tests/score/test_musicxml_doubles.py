"""MusicXML: notes that sound in two octaves, and ties that are only printed."""

import pytest

from rwkv_music.score.notation.source_count import count_musicxml_notes
from tests.score.musicxml_documents import backup, document, notes, pitch, read, tie


def transposed(inside: str, number: str = "") -> str:
    return f"<transpose{number}><chromatic>0</chromatic>{inside}</transpose>"


@pytest.mark.parametrize(
    ("double", "octave"), [("<double/>", 48), ('<double above="yes"/>', 72), ("", None)]
)
def test_notes_are_doubled_in_another_octave(double: str, octave: int | None) -> None:
    loaded = read(document(pitch("C4", 16), attributes=transposed(double)))
    expected = [60] if octave is None else sorted([60, octave])
    assert notes(loaded.score) == [(0, 4, sounding) for sounding in expected]
    assert loaded.notes_missing == 0


def test_a_doubling_holds_for_its_staff_until_it_ends() -> None:
    lower = pitch("C3", 8, "<staff>2</staff>")
    text = document(
        pitch("C4", 8, "<staff>1</staff>") + backup(8) + lower
        + "<attributes>" + transposed("", ' number="2"') + "</attributes>" + lower,
        attributes=transposed("<double/>", ' number="2"'),
    )  # fmt: skip
    loaded = read(text)
    assert notes(loaded.score) == [(0, 2, 36), (0, 2, 48), (0, 2, 60), (2, 2, 48)]
    assert loaded.notes_missing == 0


def test_doubled_notes_are_tied() -> None:
    text = document(
        pitch("C4", 16, tie("start")), pitch("C4", 16, tie("stop")),
        attributes=transposed("<double/>"),
    )  # fmt: skip
    loaded = read(text)
    assert notes(loaded.score) == [(0, 8, 48), (0, 8, 60)]
    assert loaded.notes_missing == 0


def test_a_printed_tie_can_continue_and_ringing_on_is_no_tie() -> None:
    def tied(kind: str) -> str:
        return f'<notations><tied type="{kind}"/></notations>'

    chain = [pitch("C4", 4, tied(kind)) for kind in ("start", "continue", "stop", "let-ring")]
    text = document("".join(chain))
    assert notes(read(text).score) == [(0, 3, 60), (3, 1, 60)]
    assert count_musicxml_notes(text) == 2
