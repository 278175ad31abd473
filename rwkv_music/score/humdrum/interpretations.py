"""Tandem interpretations of Humdrum: meter, key, tempo, names and instruments."""

import re
from dataclasses import dataclass

from rwkv_music.score.humdrum.kern_tokens import UNPITCHED
from rwkv_music.score.musicxml.instrument_sounds import drum_of, program_of
from rwkv_music.score.notation.written import TrackInfo

_METER = re.compile(r"\*M(\d{1,3}(?:\+\d{1,3})*)/(\d{1,2})(?:%\d+)?$")
_SIGNATURE = re.compile(r"\*k\[((?:[a-g](?:#+|-+|n)?)*)\]$")
_KEY = re.compile(r"\*([A-Ga-g])(#|-)?:$")
_TEMPO = re.compile(r"\*MM(\d+(?:\.\d+)?)$")
_FIFTHS = "FCGDAEB"
_MAX_BEATS = 255
_CODES = {
    "soprn": 52, "mezzo": 52, "calto": 52, "alto": 52, "tenor": 52, "barit": 52, "bass": 52,
    "vox": 52, "cor": 60, "corno": 60, "piano": 0, "cemba": 6, "clavi": 6, "forte": 0, "organ": 19,
    "harmo": 20, "violn": 40, "viola": 41, "cello": 42, "cbass": 43, "contr": 43, "harp": 46,
    "guitr": 24, "liuto": 24, "lute": 24, "flt": 73, "picco": 72, "flts": 73, "recor": 74,
    "oboe": 68, "cangl": 69, "clars": 71, "clara": 71, "clarb": 71, "fagot": 70, "cfago": 70,
    "tromp": 56, "tromt": 57, "tromb": 57, "tuba": 58, "timpa": 47, "saxsp": 64, "saxal": 65,
    "saxtn": 66, "saxbr": 67, "vdgam": 42, "celst": 8, "glock": 9, "marim": 12, "xylo": 13,
}  # fmt: skip
"""Humdrum's codes of instruments, and programs counted from 0."""
_DRUM_CODES = {
    "sdrum": "snare", "bdrum": "bass drum", "tom": "tom", "piatt": "crash", "cymba": "cymbal",
    "trian": "triangle", "tambu": "tambourine", "caste": "claves", "claps": "clap",
}  # fmt: skip
_SNARE = 38


@dataclass
class SpineInfo:
    """Name, instrument and part of a spine."""

    name: str = ""
    part: str = ""
    program: int | None = None
    code: str = ""
    """Humdrum's code of the instrument."""
    is_drum: bool | None = None
    """Whether it is unpitched percussion, as its first clef says."""

    def read(self, token: str) -> None:
        """Take what an interpretation says; the first name and instrument count."""
        if token.startswith('*I"'):
            self.name = self.name or " ".join(token[3:].split())
        elif token.startswith("*part"):
            self.part = token[5:]
        elif token.startswith("*clef"):
            self.is_drum = token.endswith("X") if self.is_drum is None else self.is_drum
        elif code := re.fullmatch(r"\*I([a-z]\w*)", token):
            self.code = self.code or code[1]
            if self.program is None:
                self.program = _CODES.get(code[1])

    def sounding_pitch(self, pitch: int) -> int:
        """Return the MIDI number of a note; percussion has that of its instrument."""
        if self.is_drum is None and pitch == UNPITCHED:
            self.is_drum = True
        if not self.is_drum:
            return pitch
        drum = drum_of(_DRUM_CODES.get(self.code, self.code), self.name)
        return _SNARE if drum is None else drum

    def track_info(self) -> TrackInfo:
        """Return the track of the spine; its name decides if no instrument is given."""
        program = self.program
        if program is None:
            program = program_of("", self.name) or 0
        return TrackInfo(self.name, program, is_drum=bool(self.is_drum))


def read_meter(token: str) -> tuple[int, int] | None:
    """Return numerator and denominator; a numerator of 0 for free time; None for another token."""
    if token in {"*MX", "*MZ"}:
        return (0, 4)
    meter = _METER.match(token)
    if meter is None:
        return None
    beats = sum(map(int, meter[1].split("+")))
    unit = int(meter[2])
    if unit == 0 and beats:
        beats, unit = 2 * beats, 1  # breves
    if not 0 < beats <= _MAX_BEATS or unit not in {1, 2, 4, 8, 16, 32, 64}:
        return None
    return beats, unit


def read_key(token: str) -> tuple[int, int | None] | None:
    """Return sharps (negative: flats), and 1 for minor, 0 for major, None if not said.

    A signature with an unusual order of accidentals is not a key.
    """
    if signature := _SIGNATURE.match(token):
        accidentals = re.findall(r"[a-g](#|-)", signature[1])
        if len(set(accidentals)) > 1 or len(accidentals) > 7:
            return None
        return (len(accidentals) * (-1 if "-" in accidentals else 1), None)
    if key := _KEY.match(token):
        is_minor = key[1].islower()
        alter = {"#": 7, "-": -7, None: 0}[key[2]]
        sharps = _FIFTHS.index(key[1].upper()) - 1 + alter - 3 * is_minor
        return (sharps, int(is_minor)) if -7 <= sharps <= 7 else None
    return None


def read_tempo(token: str) -> float | None:
    """Return the quarters a minute of a metronome mark; None for another token."""
    tempo = _TEMPO.match(token)
    return float(tempo[1]) if tempo and 0 < float(tempo[1]) < 100_000 else None
