"""Scores as ABC notation, version 2.1 of the standard (abcnotation.com).

Moments are rounded to 32nds and triplet 16ths; lengths that are no power-of-two fraction are
written as tuplets of one note. Notes are cut at bar lines and at changes of tempo or meter and
tied. A part whose notes overlap is written as several voices; of two notes of one pitch and place
one is kept. ABC cannot hold velocities, pedals, pitch bends, lyrics between notes and fractions of
a tempo.
"""

from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from rwkv_music.score.notation_grid import TICKS_PER_QUARTER, on_notation_grid
from rwkv_music.score.timing import bar_starts, signatures

if TYPE_CHECKING:
    import symusic

_LETTERS = ("C", "^C", "D", "^D", "E", "F", "^F", "G", "^G", "A", "^A", "B")
_FIFTHS = "FCGDAEB"
_DRUM_CHANNEL = 10
_TRIPLET = "(3:2:1"
_MIDDLE_OCTAVE = 5


class _Chord(NamedTuple):
    onset: int
    end: int
    pitches: tuple[int, ...]


def to_abc(score: "symusic.Score", *, title: str) -> str:
    """The score as one ABC tune.

    Args:
        score: In ticks.
        title: Its name; line breaks become spaces.
    """
    score = on_notation_grid(score)
    signs, tempos = signatures(score), _tempos(score)
    fields = {sign.tick: f"[M:{sign.numerator}/{sign.denominator}]" for sign in signs[1:]}
    keys = _keys(score)
    for tick, name in list(keys.items())[1:]:
        fields[tick] = f"{fields.get(tick, '')}[K:{name}]"
    for tick, speed in list(tempos.items())[1:]:
        fields[tick] = f"{fields.get(tick, '')}[Q:{speed}]"
    lines = [
        "X:1",
        f"T:{' '.join(title.split()) or 'untitled'}",
        f"M:{signs[0].numerator}/{signs[0].denominator}",
        "L:1/4",
        f"Q:{tempos[0]}",
        f"K:{keys[0]}",
    ]
    bars = [int(tick) for tick in bar_starts(score)]
    voice = 0
    for track in score.tracks:
        for chords in _voices(track):
            voice += 1
            name = " ".join(track.name.replace('"', "'").split())
            lines.append(f'V:{voice} name="{name}"')
            if track.is_drum:
                lines.append(f"%%MIDI channel {_DRUM_CHANNEL}")
            lines.append(f"%%MIDI program {track.program}")
            lines.append(_body(chords, bars, fields))
    return "\n".join(lines) + "\n"


def _keys(score: "symusic.Score") -> dict[int, str]:
    """Names of keys by tick, the first at 0; no pitch depends on them, as each has its sign."""
    names = {0: "C"}
    for key in sorted(score.key_signatures, key=lambda event: event.time):
        if -7 <= key.key <= 7:
            # Along the circle of fifths from F; a minor key's tonic stands three further on.
            sharps, place = divmod(key.key + 1 + 3 * bool(key.tonality), 7)
            letter = _FIFTHS[place] + ("#" * sharps if sharps > 0 else "b" * -sharps)
            names[key.time] = letter + "m" * bool(key.tonality)
    return names


def _tempos(score: "symusic.Score") -> dict[int, str]:
    """Quarters per minute by tick, the first at 0."""
    speeds = {0: "1/4=120"}
    for tempo in sorted(score.tempos, key=lambda event: event.time):
        speeds[tempo.time] = f"1/4={round(60_000_000 / max(1, tempo.mspq))}"
    return speeds


def _voices(track: "symusic.Track") -> list[list[_Chord]]:
    """Notes gathered into chords, and chords into as few lines without overlap as will do."""
    together: dict[tuple[int, int], set[int]] = {}
    for note in track.notes:
        if note.duration:
            together.setdefault((note.time, note.time + note.duration), set()).add(note.pitch)
    voices: list[list[_Chord]] = []
    for (onset, end), pitches in sorted(together.items()):
        chord = _Chord(onset, end, tuple(sorted(pitches)))
        free = next((voice for voice in voices if voice[-1].end <= onset), None)
        if free is None:
            voices.append([chord])
        else:
            free.append(chord)
    return voices


def _body(chords: list[_Chord], bars: list[int], fields: dict[int, str]) -> str:
    """The bars of one voice, a line each."""
    timeline = _with_rests(chords, bars[-1])
    bar_lines = set(bars)
    cuts = sorted(bar_lines | {tick for tick in fields if tick < bars[-1]})
    words: list[str] = []
    place = 0
    for since, until in pairwise(cuts):
        words.append(fields.get(since, ""))
        while place < len(timeline) and timeline[place].onset < until:
            words.append(_word(timeline[place], since, until))
            if timeline[place].end > until:
                break
            place += 1
        if until in bar_lines:
            words.append("|\n")
    return " ".join(word for word in words if word).replace("\n ", "\n").rstrip()


def _with_rests(chords: list[_Chord], end: int) -> list[_Chord]:
    """The chords with rests (chords without pitches) between them and up to the end."""
    timeline: list[_Chord] = []
    now = 0
    for chord in [*chords, _Chord(end, end, ())]:
        if chord.onset > now:
            timeline.append(_Chord(now, chord.onset, ()))
        if chord.end > chord.onset:
            timeline.append(chord)
            now = chord.end
    return timeline


def _word(chord: _Chord, since: int, until: int) -> str:
    """The part of a chord between two ticks, tied on if it goes on."""
    ticks = min(chord.end, until) - max(chord.onset, since)
    tuplet, length = _length(ticks)
    if not chord.pitches:
        return f"{tuplet}z{length}"
    tie = "-" if chord.end > until else ""
    names = "".join(_pitch(pitch) for pitch in chord.pitches)
    return f"{tuplet}{f'[{names}]' if len(chord.pitches) > 1 else names}{length}{tie}"


def _length(ticks: int) -> tuple[str, str]:
    """What stands before a note and behind it: one of three in the time of two, and a multiple."""
    quarters = Fraction(ticks, TICKS_PER_QUARTER)
    tuplet = ""
    if quarters.denominator % 3 == 0:
        tuplet, quarters = _TRIPLET, quarters * Fraction(3, 2)
    return tuplet, "" if quarters == 1 else str(quarters)


def _pitch(pitch: int) -> str:
    """A pitch with its accidental, natural signs included, so that no other one is in force."""
    octave, place = divmod(pitch, 12)
    letter = _LETTERS[place]
    sign, letter = (letter[0], letter[1]) if len(letter) > 1 else ("=", letter)
    above = octave - _MIDDLE_OCTAVE
    if above > 0:
        return sign + letter.lower() + "'" * (above - 1)
    return sign + letter + "," * -above
