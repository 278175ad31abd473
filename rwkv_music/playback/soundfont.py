"""Finding a SoundFont, from which the bundled synthesizer takes its instruments."""

import importlib.util
import os
import sys
from pathlib import Path

from rwkv_music.errors import InputError

_SYSTEM_PLACES = (
    "/usr/share/sounds/sf2/FluidR3_GM.sf2",
    "/usr/share/sounds/sf2/default-GM.sf2",
    "/usr/share/soundfonts/FluidR3_GM.sf2",
    "/usr/share/soundfonts/default.sf2",
    "/opt/homebrew/share/soundfonts/default.sf2",
    "/usr/local/share/soundfonts/default.sf2",
)
_CHOSEN_BY = ("RWKV_MUSIC_SOUNDFONT", "SDL_SOUNDFONTS")


def find_soundfont() -> Path | None:
    """A General MIDI SoundFont on this machine.

    Looked for in this order: the file named by the environment variable RWKV_MUSIC_SOUNDFONT, then
    SDL_SOUNDFONTS, the system's usual places, and the one inside the installed pretty_midi.

    Returns:
        Its path; None if there is none.

    Raises:
        InputError: If an environment variable names a file that is no SoundFont.
    """
    for variable in _CHOSEN_BY:
        chosen = os.environ.get(variable)
        if chosen:
            return _checked(Path(chosen.split(os.pathsep)[0]), variable)
    for place in (*map(Path, _SYSTEM_PLACES), *_inside_pretty_midi()):
        if is_soundfont(place):
            return place
    return None


def is_soundfont(path: Path) -> bool:
    """Whether a file begins as a SoundFont does. SDL plays silence from one that does not."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        start = file.read(12)
    return start[:4] == b"RIFF" and start[8:12] == b"sfbk"


def needs_soundfont() -> bool:
    """Whether pygame needs one here: Windows brings instruments of its own."""
    return sys.platform != "win32"


def _checked(path: Path, variable: str) -> Path:
    if not is_soundfont(path):
        raise InputError(
            f"{variable} names {path}, which is no SoundFont (.sf2) file: correct or unset it"
        )
    return path


def _inside_pretty_midi() -> list[Path]:
    """The copy pretty_midi is installed with, found without importing it."""
    spec = importlib.util.find_spec("pretty_midi")
    if spec is None or spec.origin is None:
        return []
    return sorted(Path(spec.origin).parent.glob("*.sf2"))
