"""Random correct notation of every text format is read note for note.

Each generator knows what its text means without reading it: (onset, duration, pitch) in quarters.
"""

from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import pytest

from rwkv_music.score.abc.abc_reader import read_abc
from rwkv_music.score.loaded_score import LoadedScore
from rwkv_music.score.text_formats import ReadRequest, parse_request
from tests.score.musicxml_documents import notes

Rows = list[tuple[Fraction, Fraction, int]]
LETTERS = {"c": 60, "d": 62, "e": 64, "f": 65, "g": 67, "a": 69, "b": 71}


class Generated(NamedTuple):
    """A text and the notes that it means."""

    text: str
    rows: Rows


def _choice(rng: np.random.Generator, options: list[str]) -> str:
    return options[int(rng.integers(len(options)))]


# Humdrum: columns split, merge, change places, begin and end; notes are tied across columns.


class _Spines:
    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.tracks = list(range(int(rng.integers(1, 4))))
        self.next_track = len(self.tracks)
        self.lines = [["**kern"] * len(self.tracks)]
        self.rows: Rows = []
        self.tied: dict[str, Fraction] = {}
        """Onset of the notes that wait for their continuation."""
        self.now = Fraction(0)

    def change(self) -> None:
        """Add a line that changes the columns."""
        count = len(self.tracks)
        marks = ["*"] * count
        place = int(self.rng.integers(count))
        same = [i for i in range(1, count) if self.tracks[i] == self.tracks[i - 1]]
        match int(self.rng.integers(5)):
            case 0 if count < 7:
                marks[place] = "*^"
                self.tracks.insert(place, self.tracks[place])
            case 1 if same:
                # All of a spine's columns that stand together merge into one.
                first = last = int(self.rng.choice(same))
                while first > 0 and self.tracks[first - 1] == self.tracks[last]:
                    first -= 1
                while last + 1 < count and self.tracks[last + 1] == self.tracks[first]:
                    last += 1
                marks[first : last + 1] = ["*v"] * (last + 1 - first)
                del self.tracks[first:last]
            case 2 if count > 1:
                place = max(1, place)
                marks[place - 1 : place + 1] = ["*x", "*x"]
                pair = self.tracks[place - 1 : place + 1]
                self.tracks[place - 1 : place + 1] = pair[::-1]
            case 3 if count < 7:
                marks[place] = "*+"
                self.tracks.insert(place + 1, self.next_track)
                self.next_track += 1
                self.lines.append(marks)
                marks = ["*"] * (count + 1)
                marks[place + 1] = "**kern"
            case 4 if count > 1:
                marks[place] = "*-"
                del self.tracks[place]
        self.lines.append(marks)

    def play(self, *, is_last: bool) -> None:
        """Add a line of quarter notes."""
        free = [letter for letter in LETTERS if letter not in self.tied]
        waiting = list(self.tied)
        self.rng.shuffle(free)
        self.rng.shuffle(waiting)
        fields = ["4r"] * len(self.tracks)
        columns = self.rng.permutation(len(self.tracks)).tolist()
        for column, letter in zip(columns, [*waiting, *free], strict=False):
            onset = self.tied.pop(letter, self.now)
            continues, is_tied = onset < self.now, not is_last and self.rng.random() < 0.3
            sign = ("4%s]", "4%s_") if continues else ("4%s", "[4%s")
            fields[column] = sign[is_tied] % letter
            if is_tied:
                self.tied[letter] = onset
            else:
                self.rows.append((onset, self.now + 1 - onset, LETTERS[letter]))
        # A tie without a column to end in is only as long as its notes.
        for letter in waiting[len(columns) :]:
            onset = self.tied.pop(letter)
            self.rows.append((onset, self.now - onset, LETTERS[letter]))
        self.lines.append(fields)
        self.now += 1


def humdrum(rng: np.random.Generator) -> Generated:
    """Columns that change between lines of quarters; ties may lead into any column."""
    spines = _Spines(rng)
    length = int(rng.integers(3, 20))
    for index in range(length):
        spines.play(is_last=index + 1 == length)
        for _ in range(int(rng.integers(3))):
            spines.change()
    spines.lines.append(["*-"] * len(spines.tracks))
    return Generated("\n".join("\t".join(line) for line in spines.lines) + "\n", spines.rows)


# ABC: voices in turn, overlays, tuplets, chords, grace notes, rests of bars.


def _abc_bar(rng: np.random.Generator, start: Fraction) -> Generated:
    """A bar of 4/4 in two halves, with a unit length of a quarter."""
    text, rows, now = "", [], start
    for _ in range(2):
        letters = [_choice(rng, list(LETTERS)) for _ in range(3)]
        pitches = [LETTERS[letter] + 12 for letter in letters]
        half = Fraction(2)
        match int(rng.integers(6)):
            case 0:
                text += f"{letters[0]}>{letters[1]} "
                rows += [
                    (now, half * 3 / 4, pitches[0]),
                    (now + half * 3 / 4, half / 4, pitches[1]),
                ]
            case 1:
                text += "(3" + "".join(letters) + " "
                rows += [(now + i * half / 3, half / 3, pitches[i]) for i in range(3)]
            case 2:
                text += f"(3:2:2{letters[0]}2{letters[1]} "
                third = half / 3
                rows += [(now, 2 * third, pitches[0]), (now + 2 * third, third, pitches[1])]
            case 3:
                chosen = sorted(set(letters))
                text += f"{{/{letters[0]}}}[{''.join(chosen)}]2 "
                rows += [(now, half, LETTERS[letter] + 12) for letter in chosen]
            case 4:
                text += f'z!fermata!"Am"{letters[0]}'
                rows.append((now + 1, Fraction(1), pitches[0]))
            case _:
                text += f"{letters[0]}/{{c}}{letters[1]}3/"
                rows += [(now, half / 4, pitches[0]), (now + half / 4, half * 3 / 4, pitches[1])]
        now += half
    if rng.random() < 0.3:
        letter = _choice(rng, list(LETTERS))
        text += f"& x2 {letter.upper()}2"
        rows.append((start + 2, Fraction(2), LETTERS[letter]))
    return Generated(text, rows)


def abc(rng: np.random.Generator) -> Generated:
    """Voices that alternate by line or inside a line."""
    text, rows = "X:1\nM:4/4\nL:1/4\n%%score (1 2) | 3\nK:C\n", []
    starts = dict.fromkeys(range(1, int(rng.integers(2, 5))), Fraction(0))
    for _ in range(int(rng.integers(2, 12))):
        voice = int(rng.choice(list(starts)))
        if rng.random() < 0.5:
            text += f"[V:{voice}]"
        else:
            text = text.rstrip("\n") + f"\nV:{voice}\n"  # an empty line would end the tune
        if rng.random() < 0.2:
            text += "Z2|"
            starts[voice] += 8
        bar = _abc_bar(rng, starts[voice])
        text += f"{bar.text}|"
        rows += bar.rows
        starts[voice] += 4
    return Generated(text + "\n", rows)


# MusicXML: divisions that change, voices by backup and forward, chords, ties over bar lines.


def _xml_note(letter: str, duration: int, inside: str = "", before: str = "") -> str:
    return (
        f"<note>{before}<pitch><step>{letter.upper()}</step><octave>4</octave></pitch>"
        f"<duration>{duration}</duration>{inside}</note>"
    )


def musicxml(rng: np.random.Generator) -> Generated:
    """Measures of two voices, one of them tied over the bar lines."""
    rows: Rows = []
    measures = ""
    held: Fraction | None = None
    count = int(rng.integers(2, 8))
    for index in range(count):
        start = Fraction(4 * index)
        unit = int(rng.choice([1, 3, 7, 480])) * 2
        body = f"<attributes><divisions>{unit}</divisions></attributes>"
        now = start
        for eighths in (3, 1, 4):
            first, second = rng.permutation(list("cdefg"))[:2].tolist()
            length = Fraction(eighths, 2)
            if rng.random() < 0.3:
                body += "<note><grace/><pitch><step>A</step><octave>3</octave></pitch></note>"
            body += _xml_note(first, eighths * unit // 2)
            rows.append((now, length, LETTERS[first]))
            if rng.random() < 0.4:
                body += _xml_note(second, eighths * unit // 2, before="<chord/>")
                rows.append((now, length, LETTERS[second]))
            now += length
        body += f"<backup><duration>{4 * unit}</duration></backup>"
        if rng.random() < 0.3:
            body += _xml_note("f", unit, before="<cue/>") + _backup(unit)
        is_tied = index + 1 < count and bool(rng.random() < 0.5)
        ties = '<tie type="stop"/>' * (held is not None) + '<tie type="start"/>' * is_tied
        if held is None:
            body += f"<forward><duration>{2 * unit}</duration></forward>"
            held = start + 2
            body += _xml_note("b", 2 * unit, ties)
        else:
            body += _xml_note("b", 4 * unit, ties)
        if not is_tied:
            rows.append((held, start + 4 - held, LETTERS["b"]))
            held = None
        measures += f'<measure number="{index + 1}">{body}</measure>'
    parts = '<part-list><score-part id="P1"><part-name>One</part-name></score-part></part-list>'
    return Generated(
        f'<score-partwise>{parts}<part id="P1">{measures}</part></score-partwise>', rows
    )


def _backup(duration: int) -> str:
    return f"<backup><duration>{duration}</duration></backup>"


def read_humdrum(content: bytes) -> LoadedScore:
    return parse_request(ReadRequest(content, "humdrum"))


def read_musicxml(content: bytes) -> LoadedScore:
    return parse_request(ReadRequest(content, "musicxml"))


def read_tune(content: bytes) -> LoadedScore:
    return read_abc(content, name="it")


@pytest.mark.parametrize(
    ("generate", "read"),
    [(humdrum, read_humdrum), (abc, read_tune), (musicxml, read_musicxml)],
)
def test_random_notation_is_read_note_for_note(
    generate: Callable[[np.random.Generator], Generated], read: Callable[[bytes], LoadedScore]
) -> None:
    for seed in range(150):
        generated = generate(np.random.default_rng(seed))
        expected = sorted(
            (round(float(onset), 3), round(float(duration), 3), pitch)
            for onset, duration, pitch in generated.rows
        )
        if not expected:
            continue
        loaded = read(generated.text.encode())
        assert notes(loaded.score) == expected, (seed, generated.text)
        assert loaded.notes_missing == 0, (seed, generated.text)
        assert not loaded.repairs, (seed, generated.text)
