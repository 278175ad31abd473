"""Location of a SoundFont with the instruments for MIDI playback."""

import importlib.util
import os
import sys
from pathlib import Path

from rwkv_music.errors import InputError

_SYSTEM_PATHS = (
    "/usr/share/sounds/sf2/FluidR3_GM.sf2",
    "/usr/share/sounds/sf2/default-GM.sf2",
    "/usr/share/soundfonts/FluidR3_GM.sf2",
    "/usr/share/soundfonts/default.sf2",
    "/opt/homebrew/share/soundfonts/default.sf2",
    "/usr/local/share/soundfonts/default.sf2",
)
_VARIABLES = ("RWKV_MUSIC_SOUNDFONT", "SDL_SOUNDFONTS")


def find_soundfont() -> Path | None:
    """Find a General MIDI SoundFont on this machine.

    Search order: the environment variables RWKV_MUSIC_SOUNDFONT and SDL_SOUNDFONTS, the usual
    system paths, and the SoundFont of the installed pretty_midi.

    Returns:
        Its path, or None.

    Raises:
        InputError: If an environment variable names a file that is not a SoundFont.
    """
    return next(iter(find_soundfonts()), None)


def find_soundfonts() -> list[Path]:
    """Find all SoundFonts, the one that `find_soundfont` chooses first.

    Raises:
        InputError: If an environment variable names a file that is not a SoundFont.
    """
    paths = []
    for variable in _VARIABLES:
        value = os.environ.get(variable)
        if value:
            paths.append(_checked(Path(value.split(os.pathsep)[0]), variable))
    known = (*map(Path, _SYSTEM_PATHS), *_inside_pretty_midi())
    paths.extend(path for path in known if is_soundfont(path))
    return list(dict.fromkeys(paths))


def is_soundfont(path: Path) -> bool:
    """Return whether a file has a SoundFont header. SDL plays silence from other files."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        start = file.read(12)
    return start[:4] == b"RIFF" and start[8:12] == b"sfbk"


def needs_soundfont() -> bool:
    """Return whether pygame needs a SoundFont; Windows has its own instruments."""
    return sys.platform != "win32"


def _checked(path: Path, variable: str) -> Path:
    if not is_soundfont(path):
        raise InputError(
            f"{variable} names {path}, which is not a SoundFont (.sf2) file: correct or unset it"
        )
    return path


def _inside_pretty_midi() -> list[Path]:
    """Return the SoundFonts in the installed pretty_midi, without importing it."""
    spec = importlib.util.find_spec("pretty_midi")
    if spec is None or spec.origin is None:
        return []
    return sorted(Path(spec.origin).parent.glob("*.sf2"))
