"""General MIDI programs and drums of instruments that a file only names."""

import re

_PROGRAMS = (
    ("piccolo", 72), ("flute", 73), ("recorder", 74), ("flauto", 73), ("flöte", 73),
    ("english horn", 69), ("cor anglais", 69), ("oboe", 68), ("clarinet", 71), ("klarinette", 71),
    ("contrabassoon", 70), ("bassoon", 70), ("fagott", 70),
    ("soprano sax", 64), ("alto sax", 65), ("tenor sax", 66), ("baritone sax", 67), ("sax", 65),
    ("french horn", 60), ("trumpet", 56), ("trombone", 57), ("tuba", 58),
    ("horn", 60), ("corno", 60), ("harpsichord", 6), ("clavichord", 7), ("organ", 19),
    ("accordion", 21), ("harmonica", 22), ("celesta", 8), ("glockenspiel", 9), ("vibraphone", 11),
    ("marimba", 12), ("xylophone", 13), ("timpani", 47), ("dulcimer", 15),
    ("violoncello", 42), ("cello", 42), ("contrabass", 43), ("double bass", 43),
    ("violin", 40), ("viola", 41), ("harp", 46), ("guitar", 24), ("bass guitar", 33),
    ("electric bass", 33), ("electric guitar", 27), ("lute", 24), ("mandolin", 24), ("banjo", 105),
    ("soprano", 52), ("mezzo", 52), ("alto", 52), ("tenor", 52), ("baritone", 52),
    ("voice", 52), ("vocals", 52), ("choir", 52), ("chorus", 52), ("electric piano", 4),
    ("piano", 0), ("strings", 48),
)  # fmt: skip
"""Words of an instrument's name and the program, counted from 0; the longest match counts."""

_DRUMS = (
    ("acoustic bass drum", 35), ("bass drum", 36), ("kick", 36), ("side stick", 37),
    ("rim", 37), ("snare", 38), ("clap", 39), ("floor tom", 43), ("low tom", 45), ("mid tom", 47),
    ("high tom", 50), ("tom", 47), ("hi hat pedal", 44), ("pedal hi hat", 44),
    ("open hi hat", 46), ("hi hat open", 46), ("hi hat", 42), ("hihat", 42),
    ("crash", 49), ("ride bell", 53), ("ride", 51), ("china", 52), ("splash", 55), ("cymbal", 49),
    ("tambourine", 54), ("cowbell", 56), ("vibraslap", 58), ("high bongo", 60), ("low bongo", 61),
    ("bongo", 60), ("conga", 63), ("timbale", 65), ("agogo", 67), ("cabasa", 69), ("maraca", 70),
    ("whistle", 72), ("guiro", 74), ("claves", 75), ("high wood block", 76), ("woodblock", 76),
    ("wood block", 76), ("cuica", 79), ("mute triangle", 80), ("triangle", 81),
)  # fmt: skip


def program_of(sound: str, name: str) -> int | None:
    """Return the program of an instrument, counted from 0; None if it is not known.

    Args:
        sound: MusicXML's id, such as "strings.violin".
        name: Its printed name.

    Example:
        >>> program_of("strings.violin", ""), program_of("", "Viola II")
        (40, 41)
    """
    return _longest_match(_PROGRAMS, sound, name)


def drum_of(sound: str, name: str) -> int | None:
    """Return the MIDI pitch of a drum; None if it is not known.

    Example:
        >>> drum_of("metal.triangle", "Open Triangle")
        81
    """
    return _longest_match(_DRUMS, sound, name)


def _longest_match(table: tuple[tuple[str, int], ...], sound: str, name: str) -> int | None:
    for text in (name, sound):
        words = f" {re.sub(r'[^0-9a-zà-ÿ]+', ' ', text.lower())} "
        matches = [(len(key), value) for key, value in table if f" {key}" in words]
        if matches:
            return max(matches, key=lambda match: match[0])[1]
    return None
