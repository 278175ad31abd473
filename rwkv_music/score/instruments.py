"""General MIDI program names and the sustain pedal."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import symusic

SUSTAIN_PEDAL = 64
"""Controller number of the sustain pedal."""
PEDAL_DOWN_VALUE = 64
"""Smallest controller value at which the pedal is down."""

_FAMILIES = """
Acoustic Grand Piano|Bright Acoustic Piano|Electric Grand Piano|Honky-tonk Piano|Electric Piano 1|Electric Piano 2|Harpsichord|Clavinet
Celesta|Glockenspiel|Music Box|Vibraphone|Marimba|Xylophone|Tubular Bells|Dulcimer
Drawbar Organ|Percussive Organ|Rock Organ|Church Organ|Reed Organ|Accordion|Harmonica|Tango Accordion
Nylon Guitar|Steel Guitar|Jazz Guitar|Clean Guitar|Muted Guitar|Overdriven Guitar|Distortion Guitar|Guitar Harmonics
Acoustic Bass|Finger Bass|Pick Bass|Fretless Bass|Slap Bass 1|Slap Bass 2|Synth Bass 1|Synth Bass 2
Violin|Viola|Cello|Contrabass|Tremolo Strings|Pizzicato Strings|Harp|Timpani
String Ensemble 1|String Ensemble 2|Synth Strings 1|Synth Strings 2|Choir Aahs|Voice Oohs|Synth Voice|Orchestra Hit
Trumpet|Trombone|Tuba|Muted Trumpet|French Horn|Brass Section|Synth Brass 1|Synth Brass 2
Soprano Sax|Alto Sax|Tenor Sax|Baritone Sax|Oboe|English Horn|Bassoon|Clarinet
Piccolo|Flute|Recorder|Pan Flute|Blown Bottle|Shakuhachi|Whistle|Ocarina
Square Lead|Sawtooth Lead|Calliope Lead|Chiff Lead|Charang Lead|Voice Lead|Fifths Lead|Bass and Lead
New Age Pad|Warm Pad|Polysynth Pad|Choir Pad|Bowed Pad|Metallic Pad|Halo Pad|Sweep Pad
Rain|Soundtrack|Crystal|Atmosphere|Brightness|Goblins|Echoes|Sci-fi
Sitar|Banjo|Shamisen|Koto|Kalimba|Bagpipe|Fiddle|Shanai
Tinkle Bell|Agogo|Steel Drums|Woodblock|Taiko Drum|Melodic Tom|Synth Drum|Reverse Cymbal
Guitar Fret Noise|Breath Noise|Seashore|Bird Tweet|Telephone Ring|Helicopter|Applause|Gunshot
"""  # noqa: E501 - a family of eight a line

_NAMES = tuple(_FAMILIES.strip().replace("\n", "|").split("|"))


def program_name(program: int, *, is_drum: bool = False) -> str:
    """Return the General MIDI name of a program.

    Args:
        program: 0 to 127.
        is_drum: Whether the part is a drum part; its name is then "Drums".

    Example:
        >>> program_name(19), program_name(0, is_drum=True)
        ('Church Organ', 'Drums')
    """
    return "Drums" if is_drum else _NAMES[program]


def program_of_name(name: str) -> int | None:
    """Return the program with a General MIDI name, 128 for "drums"; None if there is none.

    Example:
        >>> program_of_name("church organ"), program_of_name("Drums"), program_of_name("kazoo")
        (19, 128, None)
    """
    folded_name = name.strip().casefold()
    if folded_name == "drums":
        return len(_NAMES)
    names = [known.casefold() for known in _NAMES]
    return names.index(folded_name) if folded_name in names else None


def pedal_spans(track: "symusic.Track") -> Iterator[tuple[int, int]]:
    """Yield (down tick, up tick) of the sustain pedal.

    A pedal that is never released comes up at the end of the last note.
    """
    down = None
    for control in sorted(track.controls, key=lambda event: event.time):
        if control.number != SUSTAIN_PEDAL:
            continue
        if control.value >= PEDAL_DOWN_VALUE and down is None:
            down = control.time
        elif control.value < PEDAL_DOWN_VALUE and down is not None:
            yield down, control.time
            down = None
    if down is not None:
        yield down, max(down, track.end())
