"""The model and the style of a session, which are loaded at first use."""

from pathlib import Path

from rwkv_music.errors import CheckpointError, InputError
from rwkv_music.model import MusicModel, Style, load_model, load_style
from rwkv_music.model.checkpoint import stored_hole_fraction


class SessionModel:
    """A model by name, by path or loaded, with a style if there is one.

    Args:
        model: A name, a path or a loaded model.
        style: A style or the path of one.
    """

    def __init__(self, model: MusicModel | str | Path, style: Style | str | Path | None) -> None:
        self._model = model
        self._style = style
        self.name = "" if isinstance(model, MusicModel) else str(model)
        """Name or path; empty for a model that was loaded before."""

    @property
    def can_fill(self) -> bool:
        """Whether the model can rewrite bars, as far as is known before it is loaded."""
        if isinstance(self._model, MusicModel):
            return self._model.hole_fraction != 0
        try:
            return stored_hole_fraction(self._model) != 0
        except (CheckpointError, InputError):
            return True  # `load` reports what is wrong with the file

    def load(self, strength: float) -> tuple[MusicModel, Style | None]:
        """Return the model and the style at a strength."""
        if not isinstance(self._model, MusicModel):
            self._model = load_model(self._model)
        if isinstance(self._style, str | Path):
            self._style = load_style(self._style, self._model)
        return self._model, self._style and self._style.scaled(strength)
