"""Parse the values of ABC information fields: meter, length, tempo, key, clef and voice."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import NamedTuple

_FIFTHS_OF_LETTER = {"F": -1, "C": 0, "G": 1, "D": 2, "A": 3, "E": 4, "B": 5}
_FIFTHS_OF_MODE = {
    "maj": 0, "ion": 0, "min": -3, "aeo": -3, "m": -3, "mix": -1, "dor": -2, "phr": -4, "lyd": 1,
    "loc": -5,
}  # fmt: skip
_MINOR_MODES = ("min", "aeo", "m")
_SHARPS_ORDER = "FCGDAEB"
_ALTERATIONS = {"^^": 2, "^": 1, "=": 0, "_": -1, "__": -2}
_TONIC = re.compile(r"(HP|Hp|[A-G])([#b]?)\s*([A-Za-z]*)")
_GLOBAL_ACCIDENTAL = re.compile(r"(\^\^?|__?|=)([A-Ga-g])(?![a-z])")
_PROPERTY = re.compile(r'([A-Za-z]+)\s*=\s*("[^"]*"|[^\s"]+)|([^\s=]+)')
_CLEF = re.compile(
    r"(treble|alto|tenor|bass|soprano|mezzosoprano|baritone|perc|none|[GCF])(\d*)([+-](?:8|15))?$"
)
_FRACTION = re.compile(r"(\d{1,4})\s*/\s*(\d{1,4})")
_MIN_QPM, _MAX_QPM = 4, 60_000


class Meter(NamedTuple):
    """A time signature."""

    numerator: int
    denominator: int

    @property
    def whole_notes(self) -> Fraction:
        """Length of a bar in whole notes."""
        return Fraction(self.numerator, self.denominator)

    @property
    def is_compound(self) -> bool:
        """Whether beats divide into three (6/8, 9/8, 12/8)."""
        return self.numerator % 3 == 0 and self.numerator > 3


class Key(NamedTuple):
    """A key signature with its accidentals."""

    sharps: int = 0
    """Number of sharps; negative for flats."""
    is_minor: bool = False
    alterations: Mapping[str, int] = {}
    """Alteration in semitones by upper-case letter."""


class VoiceProperties(NamedTuple):
    """Properties of a voice from V: and K: fields; None where a field does not set them."""

    name: str | None = None
    octave: int | None = None
    transposition: int | None = None
    clef_octave: int | None = None
    is_percussion: bool | None = None

    def updated(self, later: "VoiceProperties") -> "VoiceProperties":
        """Return the properties with those that a later field sets."""
        changes = {name: value for name, value in later._asdict().items() if value is not None}
        return self._replace(**changes)

    @property
    def semitones(self) -> int:
        """Semitones between written and sounding pitch."""
        return 12 * ((self.octave or 0) + (self.clef_octave or 0)) + (self.transposition or 0)


@dataclass(frozen=True)
class Settings:
    """Everything in the head of a tune that its voices start with."""

    meter: Meter | None = None
    unit_length: Fraction | None = None
    key: Key = field(default_factory=Key)
    program: int = 0
    is_drum: bool = False
    voice: VoiceProperties = field(default_factory=VoiceProperties)

    @property
    def length(self) -> Fraction:
        """The unit note length in whole notes; by default it depends on the meter."""
        if self.unit_length is not None:
            return self.unit_length
        is_short = self.meter is not None and self.meter.whole_notes < Fraction(3, 4)
        return Fraction(1, 16) if is_short else Fraction(1, 8)

    def with_fixed_length(self) -> "Settings":
        """Return settings whose unit length no longer depends on the meter."""
        return replace(self, unit_length=self.length)


def parse_meter(text: str) -> Meter | None:
    """Parse an M: field; None for free meter.

    Raises:
        ValueError: If it is not a meter.
    """
    text = text.strip()
    if text.lower() in {"none", ""}:
        return None
    if text[0] in "Cc":
        return Meter(2, 2) if text[1:2] == "|" else Meter(4, 4)
    match = re.match(r"\(?\s*(\d{1,3}(?:\s*\+\s*\d{1,3})*)\s*\)?\s*/\s*(\d{1,3})", text)
    if match is None:
        raise ValueError(f"meter '{text}'")
    numerator = sum(int(beats) for beats in match[1].split("+"))
    denominator = int(match[2])
    if not 1 <= numerator <= 255 or denominator not in {1, 2, 4, 8, 16, 32, 64, 128}:
        raise ValueError(f"meter '{text}'")
    return Meter(numerator, denominator)


def parse_length(text: str) -> Fraction:
    """Parse an L: field in whole notes.

    Raises:
        ValueError: If it is not a length.
    """
    match = _FRACTION.match(text.strip())
    if match is None:
        if text.strip() == "1":
            return Fraction(1)
        raise ValueError(f"unit note length '{text.strip()}'")
    if not int(match[1]) or not int(match[2]):
        raise ValueError(f"unit note length '{text.strip()}'")
    return Fraction(int(match[1]), int(match[2]))


def parse_tempo(text: str, unit_length: Fraction) -> Fraction | None:
    """Parse a Q: field in quarters per minute; None if it names no number.

    Args:
        text: For example `1/4=120`, `"Allegro" 3/8=80`, `120` or `C3=40`.
        unit_length: Unit note length, for the forms that count it.

    Raises:
        ValueError: If it is not a tempo.
    """
    bare = re.sub(r'"[^"]*"', " ", text).strip()
    if not bare:
        return None
    beats, equals, speed = bare.rpartition("=")
    match = re.match(r"(\d{1,6}(?:\.\d{1,6})?)", speed.strip())
    if match is None:
        raise ValueError(f"tempo '{text.strip()}'")
    if not equals:
        length = unit_length
    elif fractions := _FRACTION.findall(beats):
        length = sum((Fraction(int(a), int(b) or 1) for a, b in fractions), Fraction(0))
    elif units := re.match(r"\s*[Cc](\d{0,3})", beats):
        length = unit_length * int(units[1] or 1)
    else:
        raise ValueError(f"tempo '{text.strip()}'")
    qpm = 4 * length * Fraction(match[1])
    if not _MIN_QPM <= qpm <= _MAX_QPM:
        raise ValueError(f"tempo '{text.strip()}'")
    return qpm


def parse_key(text: str) -> tuple[Key | None, VoiceProperties]:
    """Parse a K: field; the key is None if the field only sets a clef or other properties."""
    text = text.strip()
    properties = parse_properties(text, is_voice=False)
    # No space before "=": in "D =c" it makes C natural.
    bare = re.sub(r"""[A-Za-z]+=\s*(?:"[^"]*"|[^\s"]+)""", " ", text).strip()
    alterations = {
        letter.upper(): _ALTERATIONS[sign] for sign, letter in _GLOBAL_ACCIDENTAL.findall(bare)
    }
    first = bare.split(maxsplit=1)[0] if bare else ""
    tonic = None if _CLEF.match(first) and first not in _SHARPS_ORDER else _TONIC.match(bare)
    if tonic is None:
        if first.lower() in {"none", "exp"} or alterations:
            return Key(0, False, alterations), properties
        return (Key() if not text else None), properties
    if tonic[1] in {"HP", "Hp"}:
        pipes = {"F": 1, "C": 1} if tonic[1] == "Hp" else {}
        return Key(len(pipes), False, pipes | alterations), properties
    mode = tonic[3].lower()
    offset = next((_FIFTHS_OF_MODE[key] for key in (mode[:3], mode) if key in _FIFTHS_OF_MODE), 0)
    accidental = {"#": 7, "b": -7}.get(tonic[2], 0)
    sharps = _FIFTHS_OF_LETTER[tonic[1]] + accidental + offset
    is_explicit = "exp" in bare.lower().split()
    key_alterations = {} if is_explicit else _alterations_of(sharps)
    is_minor = mode[:3] in _MINOR_MODES or mode == "m"
    return Key(sharps, is_minor, key_alterations | alterations), properties


def _alterations_of(sharps: int) -> dict[str, int]:
    if sharps >= 0:
        return dict.fromkeys(_SHARPS_ORDER[:sharps], 1)
    return dict.fromkeys(_SHARPS_ORDER[sharps:], -1)


def parse_voice(text: str) -> tuple[str, VoiceProperties]:
    """Parse a V: field into the voice's id and its properties."""
    voice_id, _, rest = text.strip().partition(" ")
    return voice_id, parse_properties(rest)


def parse_properties(text: str, *, is_voice: bool = True) -> VoiceProperties:
    """Parse the properties of a V: or K: field.

    Args:
        text: For example `clef=treble-8 name="Tenor" octave=-1`.
        is_voice: Whether bare words such as `bass` and properties such as `name` count.
    """
    values: dict[str, str] = {}
    clef = ""
    for name, value, word in _PROPERTY.findall(text):
        if name:
            values[name.lower()] = value.strip('"')
        elif _CLEF.match(word) and (len(word) > 1 or is_voice):
            clef = word
    clef = values.get("clef", clef)
    match = _CLEF.match(clef)
    name = values.get("name", values.get("nm")) if is_voice else None
    return VoiceProperties(
        name=name,
        octave=_integer(values.get("octave")),
        transposition=_integer(values.get("transpose", values.get("t"))),
        clef_octave={"+8": 1, "-8": -1, "+15": 2, "-15": -2}.get(match[3] or "", 0)
        if match
        else None,
        is_percussion=match[1] == "perc" if match else None,
    )


def _integer(text: str | None) -> int | None:
    if text is None or not re.fullmatch(r"[+-]?\d{1,2}", text):
        return None
    return int(text)
