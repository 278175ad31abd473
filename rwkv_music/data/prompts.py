"""Built-in prompts: held-out chorales for the model `bach`, the project's own for others."""

import json
from importlib import resources
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING

from rwkv_music.data.corpora import chorales
from rwkv_music.shipped_models import DEFAULT_MODEL

if TYPE_CHECKING:
    import symusic

_CHORALE_MODEL = "bach"


def prompt_names(model: str = DEFAULT_MODEL) -> list[str]:
    """Return the names of the built-in prompts, those that suit a model first.

    Args:
        model: Name or path of the model. For "bach", the first ones are the chorales that it was
            not trained on, by catalogue number; for any other model, the project's own prompts,
            four bars of piano music each.
    """
    songs, held_out = list(_songs()), _held_out_chorales()
    return [*held_out, *songs] if model == _CHORALE_MODEL else [*songs, *held_out]


def load_prompt(name: str) -> "symusic.Score":
    """Load a complete built-in prompt by its name.

    Raises:
        InputError: If there is no prompt of this name.

    Example:
        >>> [track.name for track in load_prompt("ballad").tracks]
        ['MELODY', 'BRIDGE', 'PIANO']
    """
    from rwkv_music.score import score_from_bytes

    songs = _songs()
    if name in songs:
        return score_from_bytes(songs[name].read_bytes(), name=songs[name].name)
    return chorales.load_chorale(name)


def _songs() -> dict[str, Traversable]:
    folder = resources.files("rwkv_music") / "prompts"
    files = sorted(folder.iterdir(), key=lambda path: path.name)
    return {path.name.removesuffix(".mid"): path for path in files if path.name.endswith(".mid")}


def _held_out_chorales() -> list[str]:
    card = resources.files("rwkv_music") / "models" / f"{_CHORALE_MODEL}.json"
    if card.is_file():
        held_out: list[str] = json.loads(card.read_text(encoding="utf-8"))["valid_pieces"]
        return held_out
    return chorales.chorale_names()
