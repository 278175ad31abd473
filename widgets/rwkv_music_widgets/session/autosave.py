"""Saves sessions beside the notebook and opens them again after the kernel was restarted."""

import os
from pathlib import Path

import symusic

from rwkv_music.errors import InputError
from rwkv_music.generation import Session
from rwkv_music.model import MusicModel

_SUFFIX = ".rwkvmusic"


class Autosave:
    """A folder with one saved session for each piece that was continued.

    Args:
        folder: Made when the first session is saved; nothing is saved when None.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._paths: dict[int, Path] = {}
        self.problem = ""
        """Why sessions cannot be saved; empty if they can."""

    def open_sessions(self) -> list[Session]:
        """Return the saved sessions, the one that was saved last at the end.

        A session that cannot be read is left out and named in `problem`.
        """
        sessions: list[Session] = []
        for path in self._saved_paths():
            try:
                session = Session.load(path)
            except (InputError, OSError, ValueError, KeyError) as error:
                self.problem = f"{path.name} cannot be opened ({error})"
                continue
            self._paths[id(session)] = path
            sessions.append(session)
        return sessions

    def save(self, session: Session) -> None:
        """Save a session that has candidates; a failure is noted in `problem`."""
        if self.folder is None or len(session.nodes) < 2:
            return
        path = self._paths.setdefault(id(session), self._unused_path(self.folder))
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            session.save(path)
            os.utime(path)
        except (InputError, OSError) as error:
            self.problem = f"the session is not saved ({error})"
        else:
            self.problem = ""

    def _saved_paths(self) -> list[Path]:
        if self.folder is None or not self.folder.is_dir():
            return []
        return sorted(self.folder.glob(f"*{_SUFFIX}"), key=lambda path: path.stat().st_mtime_ns)

    def _unused_path(self, folder: Path) -> Path:
        taken = {path.name for path in (*self._saved_paths(), *self._paths.values())}
        suffix = 1
        while f"{suffix}{_SUFFIX}" in taken:
            suffix += 1
        return folder / f"{suffix}{_SUFFIX}"


def autosave_folder(model_name: str) -> Path | None:
    """Return the folder of this notebook's sessions with a model; None outside a notebook.

    It lies beside the notebook: `01_continue-bach-sessions` for 01_continue.ipynb and the model
    "bach".
    """
    notebook = os.environ.get("JPY_SESSION_NAME", "")
    if not notebook.endswith(".ipynb"):
        return None
    model = "".join(sign if sign.isalnum() or sign in "-_" else "-" for sign in model_name)
    return Path.cwd() / f"{Path(notebook).stem}-{model or 'model'}-sessions"


def chosen_folder(model: MusicModel | str | Path, autosave: bool | str | Path) -> Path | None:
    """Return the folder that the argument `autosave` of a session means; None to save nothing."""
    if isinstance(autosave, bool):
        name = "model" if isinstance(model, MusicModel) else Path(model).stem
        return autosave_folder(name) if autosave else None
    return Path(autosave)


def have_same_notes(first: symusic.Score, second: symusic.Score) -> bool:
    """Return whether two scores have the same notes in the same parts."""
    return _notes(first) == _notes(second)


def _notes(score: symusic.Score) -> list[list[tuple[float, float, int, int]]]:
    scale = score.ticks_per_quarter
    return [
        sorted(
            (note.time / scale, note.duration / scale, note.pitch, note.velocity)
            for note in track.notes
        )
        for track in score.tracks
    ]
