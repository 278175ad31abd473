"""Control characters become visible; readable text in any script stays."""

import pytest

from rwkv_music.printable import printable


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("夜曲 Nocturne №1 \U0001f3b5", "夜曲 Nocturne №1 \U0001f3b5"),
        ("zero\u200cwidth", "zero\u200cwidth"),  # Persian needs it between letters
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x9b31m", "\\x9b31m"),
        ("a\rb\x7f", "a\\rb\\x7f"),
        ("song\u202egnp.mid", "song\\u202egnp.mid"),
        ("lines\u2028apart", "lines\\u2028apart"),
        ("caf\udce9.mid", "caf\\xe9.mid"),
        ("\ud800", "\\ud800"),
    ],
)
def test_control_characters_become_visible(text: str, expected: str) -> None:
    assert printable(text) == expected


def test_one_line_has_no_line_breaks() -> None:
    assert printable("a\nb\tc\u0085d", one_line=True) == "a\\nb\\tc\\x85d"
