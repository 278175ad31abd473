"""Readers of MusicXML `<attributes>`: time, key and transposition."""

import re
from fractions import Fraction
from typing import NamedTuple
from xml.etree import ElementTree as ET

_MAX_BEATS = 255
_OCTAVE = 12
_DECIMAL = re.compile(r"\s*([+-]?\d{1,18}(?:\.\d{0,9})?)\s*")


def read_decimal(text: str) -> Fraction:
    """Return a decimal number of divisions.

    Raises:
        ValueError: If it is not a number, or has an exponent or more than 18 digits.
    """
    digits = _DECIMAL.fullmatch(text)
    if digits is None:
        raise ValueError(f"'{text[:20]}' is not a number of divisions")
    return Fraction(digits[1])


def read_time(attributes: ET.Element) -> tuple[int, int] | None:
    """Return numerator and denominator; a numerator of 0 for free time, None without a signature.

    Compound signatures such as 3+2/8 or 2/4+3/8 are added up.
    """
    time = attributes.find("time")
    if time is None:
        return None
    if time.find("senza-misura") is not None:
        return (0, 4)
    numerators = [child.text or "" for child in time if child.tag == "beats"]
    denominators = [child.text or "" for child in time if child.tag == "beat-type"]
    whole = Fraction(0)
    finest = 1
    for beats, unit in zip(numerators, denominators, strict=False):
        count = sum(int(digits) for digits in re.findall(r"\d{1,3}", beats))
        note = re.fullmatch(r"\s*(\d{1,3})\s*", unit)
        if not count or note is None or not int(note[1]):
            return None
        whole += Fraction(count, int(note[1]))
        finest = max(finest, int(note[1]))
    beats_in_all = whole * finest
    is_valid = beats_in_all.denominator == 1 and 0 < beats_in_all <= _MAX_BEATS
    if not is_valid or finest > 64 or finest & (finest - 1):
        return None
    return (int(beats_in_all), finest)


def read_key(attributes: ET.Element, shift: int) -> tuple[int, int] | None:
    """Return sharps (negative: flats) of the sounding key and 1 for minor; None without one.

    Args:
        attributes: The element.
        shift: Steps along the circle of fifths by which the part is transposed.
    """
    key = attributes.find("key")
    if key is None:
        return None
    fifths = re.fullmatch(r"\s*(-?\d{1,2})\s*", key.findtext("fifths", ""))
    if fifths is None:
        return None
    sharps = int(fifths[1])
    if shift:
        sharps = (sharps + shift + 6) % 12 - 6
    if not -7 <= sharps <= 7:
        return None
    return (sharps, int(key.findtext("mode", "").strip() == "minor"))


class Transposition(NamedTuple):
    """From written to sounding pitch."""

    semitones: int = 0
    fifths: int = 0
    """Steps along the circle of fifths."""
    doubling: int = 0
    """Semitones to the octave in which every note sounds as well; 0 if it does not."""


def read_transpositions(attributes: ET.Element) -> dict[str, Transposition]:
    """Return the transpositions by staff; "" means every staff."""
    transpositions = {}
    for element in attributes.iterfind("transpose"):
        chromatic = _whole(element.findtext("chromatic"))
        octaves = _whole(element.findtext("octave-change"))
        fifths = (7 * chromatic + 6) % 12 - 6
        double = element.find("double")
        doubling = 0
        if double is not None:
            doubling = _OCTAVE if double.get("above") == "yes" else -_OCTAVE
        transpositions[element.get("number", "")] = Transposition(
            chromatic + _OCTAVE * octaves, fifths, doubling
        )
    return transpositions


def _whole(text: str | None) -> int:
    return round(float((text or "0").strip() or "0"))
