"""Write scores as ABC notation, version 2.1 of the standard (abcnotation.com).

Times are rounded to 32nds and triplet 16ths. Lengths that are not a power-of-two fraction are
written as tuplets of one note. Notes are cut at bar lines and at changes of tempo or meter, and
tied. A part whose notes overlap is written as several voices; of two equal notes one is kept.
Velocities, pedals, pitch bends, lyrics between notes and fractions of a tempo are lost.
"""

from fractions import Fraction
from typing import TYPE_CHECKING

from rwkv_music.score.notation.quantization import TICKS_PER_QUARTER, quantize_for_notation
from rwkv_music.score.notation.voices import Chord, ChordSlice, cut, voices, with_rests
from rwkv_music.score.timing import bar_starts, signatures

if TYPE_CHECKING:
    import symusic

_LETTERS = ("C", "^C", "D", "^D", "E", "F", "^F", "G", "^G", "A", "^A", "B")
_FIFTHS = "FCGDAEB"
_DRUM_CHANNEL = 10
_TRIPLET = "(3:2:1"
_MIDDLE_OCTAVE = 5


def to_abc(score: "symusic.Score", *, title: str) -> str:
    """Return a score as one ABC tune.

    Args:
        score: In ticks.
        title: Title of the tune; line breaks become spaces.
    """
    score = quantize_for_notation(score)
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
        for chords in voices(track):
            voice += 1
            name = " ".join(track.name.replace('"', "'").split())
            lines.append(f'V:{voice} name="{name}"')
            if track.is_drum:
                lines.append(f"%%MIDI channel {_DRUM_CHANNEL}")
            lines.append(f"%%MIDI program {track.program}")
            lines.append(_body(chords, bars, fields))
    return "\n".join(lines) + "\n"


def _keys(score: "symusic.Score") -> dict[int, str]:
    """Return key names by tick, the first at 0. All notes have accidentals of their own."""
    names = {0: "C"}
    for key in sorted(score.key_signatures, key=lambda event: event.time):
        if -7 <= key.key <= 7:
            # Along the circle of fifths from F; the tonic of a minor key is three steps further.
            sharps, index = divmod(key.key + 1 + 3 * bool(key.tonality), 7)
            letter = _FIFTHS[index] + ("#" * sharps if sharps > 0 else "b" * -sharps)
            names[key.time] = letter + "m" * bool(key.tonality)
    return names


def _tempos(score: "symusic.Score") -> dict[int, str]:
    """Return tempo fields by tick, the first at 0."""
    speeds = {0: "1/4=120"}
    for tempo in sorted(score.tempos, key=lambda event: event.time):
        speeds[tempo.time] = f"1/4={round(60_000_000 / max(1, tempo.mspq))}"
    return speeds


def _body(chords: list[Chord], bars: list[int], fields: dict[int, str]) -> str:
    """Return the bars of one voice, one per line."""
    bar_lines = set(bars)
    cuts = sorted(bar_lines | {tick for tick in fields if tick < bars[-1]})
    words: list[str] = []
    cells = cut(list(with_rests(chords, bars[-1])), cuts)
    for since, until, cell in zip(cuts, cuts[1:], cells, strict=False):
        words.append(fields.get(since, ""))
        words.extend(map(_word, cell))
        if until in bar_lines:
            words.append("|\n")
    return " ".join(word for word in words if word).replace("\n ", "\n").rstrip()


def _word(piece: ChordSlice) -> str:
    """Return a chord or rest, or a part of one with a tie if it continues."""
    tuplet, length = _length(piece.end - piece.onset)
    pitches = [_pitch(note.pitch) for note in piece.chord.notes]
    if not pitches:
        return f"{tuplet}z{length}"
    tie = "" if piece.is_last else "-"
    chord = pitches[0] if len(pitches) == 1 else f"[{''.join(pitches)}]"
    return f"{tuplet}{chord}{length}{tie}"


def _length(ticks: int) -> tuple[str, str]:
    """Return the prefix of a note (a tuplet mark or nothing) and its length."""
    quarters = Fraction(ticks, TICKS_PER_QUARTER)
    tuplet = ""
    if quarters.denominator % 3 == 0:
        tuplet, quarters = _TRIPLET, quarters * Fraction(3, 2)
    return tuplet, "" if quarters == 1 else str(quarters)


def _pitch(pitch: int) -> str:
    """Return a pitch with an explicit accidental (natural signs included)."""
    octave, pitch_class = divmod(pitch, 12)
    letter = _LETTERS[pitch_class]
    sign, letter = (letter[0], letter[1]) if len(letter) > 1 else ("=", letter)
    octaves_up = octave - _MIDDLE_OCTAVE
    if octaves_up > 0:
        return sign + letter.lower() + "'" * (octaves_up - 1)
    return sign + letter + "," * -octaves_up
