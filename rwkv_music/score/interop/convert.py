"""Convert scores to and from pretty_midi objects and music21 streams."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rwkv_music.errors import InputError
from rwkv_music.score.files import load_score
from rwkv_music.score.interop.music21_export import to_music21
from rwkv_music.score.interop.music21_streams import from_music21
from rwkv_music.score.interop.pretty_midi_objects import from_pretty_midi, to_pretty_midi
from rwkv_music.score.timing import num_bars
from rwkv_music.score.validation import check_score

if TYPE_CHECKING:
    import symusic

__all__ = ["to_music21", "to_pretty_midi", "to_score"]


def to_score(music: Any) -> "symusic.Score":  # noqa: ANN401 - whatever a user holds
    """Convert a score, a path, a `pretty_midi.PrettyMIDI` or a music21 object to a score.

    `rwkv_music.score.interop.pretty_midi_objects` and `rwkv_music.score.interop.music21_streams`
    list what a conversion loses.

    Args:
        music: Object to convert. A score is returned as it is.

    Raises:
        InputError: If the type is another one, there are no notes, a value is out of range, or
            there are more than 250,000 bars.
    """
    import symusic

    if isinstance(music, str | Path):
        return load_score(music)
    module = type(music).__module__.split(".")[0]
    if isinstance(music, symusic.core.ScoreTick):
        score = music
    elif module == "pretty_midi" and hasattr(music, "instruments"):
        score = from_pretty_midi(music)
    elif module == "music21":
        score = from_music21(music)
    else:
        raise InputError(
            f"cannot read music from a {type(music).__name__}: pass a path, a symusic.Score in "
            "ticks, a pretty_midi.PrettyMIDI or a music21 stream"
        )
    check_score(score)
    num_bars(score)  # raises if there are too many
    return score
