"""Which parts of a score are asked for: by name, by instrument, or by index."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rwkv_music.errors import InputError
from rwkv_music.score.instruments import program_name, program_of_name
from rwkv_music.tokenizer.vocabulary import DRUM_PROGRAM

if TYPE_CHECKING:
    import symusic


@dataclass(frozen=True)
class PartChoice:
    """A track of a score, or a new one."""

    track: int | None
    """Index in the score; None for a new track."""
    name: str
    program: int
    is_drum: bool


def choose_parts(score: "symusic.Score", parts: Sequence[str | int] | None) -> list[PartChoice]:
    """Return the tracks that are asked for.

    Args:
        score: The score.
        parts: Names of tracks, names of instruments or indices; all tracks when None. A name is
            compared with the names of the tracks and then with their instruments, without regard to
            case; the name of a General MIDI instrument, or "drums", that no track has is a new
            track.

    Raises:
        InputError: If a part is not in the score and no instrument, or is asked for twice.
    """
    if parts is None:
        return [_of_track(score, index) for index in range(len(score.tracks))]
    if isinstance(parts, str) or not parts:
        raise InputError(f"parts must be a list of names or indices, got {parts!r}")
    chosen: list[PartChoice] = []
    for part in parts:
        choice = _choose(score, part)
        if choice in chosen:
            raise InputError(f"the part {part!r} is asked for twice: leave one out")
        chosen.append(choice)
    return chosen


def _choose(score: "symusic.Score", part: str | int) -> PartChoice:
    if isinstance(part, int):
        if not 0 <= part < len(score.tracks):
            raise InputError(
                f"part {part} is not in the score: {_existing(score)}; indices count from 0"
            )
        return _of_track(score, part)
    folded_name = part.strip().casefold()
    names = [track.name.strip().casefold() for track in score.tracks]
    by_name = [index for index, name in enumerate(names) if name == folded_name]
    by_instrument = [
        index
        for index, track in enumerate(score.tracks)
        if program_name(track.program, is_drum=track.is_drum).casefold() == folded_name
    ]
    matches = by_name or by_instrument
    if len(matches) > 1:
        raise InputError(
            f"{len(matches)} tracks are called '{part}': choose by index, one of "
            f"{', '.join(map(str, matches))}"
        )
    if matches:
        return _of_track(score, matches[0])
    program = program_of_name(part)
    if program is None:
        raise InputError(
            f"the part '{part}' is not in the score and is no General MIDI instrument: "
            f"{_existing(score)}"
        )
    is_drum = program == DRUM_PROGRAM
    program = 0 if is_drum else program
    return PartChoice(None, program_name(program, is_drum=is_drum), program, is_drum)


def _of_track(score: "symusic.Score", index: int) -> PartChoice:
    track = score.tracks[index]
    return PartChoice(index, track.name, track.program, track.is_drum)


def _existing(score: "symusic.Score") -> str:
    """Return the tracks as text for messages."""
    names = [
        f"{index} {track.name or program_name(track.program, is_drum=track.is_drum)}"
        for index, track in enumerate(score.tracks)
    ]
    return f"choose from {', '.join(names)}"
