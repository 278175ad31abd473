"""Continuation session: prompt, generate, listen, keep, undo and export in one widget.

The widget shows a `rwkv_music.generation.Session`, a tree of candidates from which nothing is
removed. Buttons start a thread; a user's mistake becomes a message.
"""

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import ipywidgets as widgets
import symusic

from rwkv_music.data import load_prompt
from rwkv_music.errors import InputError
from rwkv_music.generation import Request, Session, SessionNode, stream
from rwkv_music.generation.session.session import unused_path
from rwkv_music.model import MusicModel, Style, load_model, load_style
from rwkv_music.score import num_bars, score_from_bytes, take_bars, to_score
from rwkv_music.shipped_models import DEFAULT_MODEL
from rwkv_music_widgets.closing import close_tree, is_open
from rwkv_music_widgets.export.score_files import save_as
from rwkv_music_widgets.key_guard import guard_keys
from rwkv_music_widgets.messages import MessageBox
from rwkv_music_widgets.player.player import Player
from rwkv_music_widgets.roll.piano_roll import PianoRoll
from rwkv_music_widgets.session.autosave import Autosave, chosen_folder
from rwkv_music_widgets.session.candidate_row import CandidateRows
from rwkv_music_widgets.session.growing_candidates import GrowingCandidates
from rwkv_music_widgets.session.session_controls import SessionControls
from rwkv_music_widgets.session.session_history import SessionHistory
from rwkv_music_widgets.static_picture import StaticPicture


class ContinuationSession(widgets.VBox):  # type: ignore[misc] # ipywidgets has no types
    """Choose a prompt, let the model continue it, keep what you like, export it.

    Args:
        model: A name, a path or a loaded model; a model that is not loaded is loaded at first use.
        prompt: A score or anything `to_score` reads; the first example prompt when None.
        prompt_bars: Number of bars of the prompt that the model reads.
        style: A style, or the path of one made with `rwkv-music tune`. A slider sets its strength.
        autosave: Folder in which the session saves itself, and from which it is opened again; a
            folder beside the notebook when True, none when False. Nothing is saved outside a
            notebook unless a folder is given.

    Raises:
        InputError: If `prompt_bars` is below 1 or the prompt cannot be read.

    Example:
        session = ContinuationSession("bach")
        session                                # in a cell of its own: shows it
        session.candidates                     # what was generated, newest last
        session.export("continued.mid")        # the current score; never overwrites a file
    """

    def __init__(
        self,
        model: MusicModel | str | Path = DEFAULT_MODEL,
        prompt: Any = None,
        *,
        prompt_bars: int = 4,
        style: Style | str | Path | None = None,
        autosave: bool | str | Path = True,
    ) -> None:
        if prompt_bars < 1:
            raise InputError(f"prompt_bars must be at least 1, got {prompt_bars}")
        self._model = model
        self._style = style
        self._source: Any = None
        self._source_name = ""
        self.history = SessionHistory(Autosave(chosen_folder(model, autosave)))
        self._is_updating = False
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self.candidates: list[SessionNode] = []
        """The newest continuations of the current prompt."""
        self.controls = SessionControls(
            model="" if isinstance(model, MusicModel) else str(model), prompt_bars=prompt_bars
        )
        self.roll = PianoRoll(height=240)
        self.player = Player(self.roll)
        self.message_box = MessageBox()
        self.rows = CandidateRows(
            keep=lambda node: self._guarded(partial(self._keep_node, node.id)),
            export=self._export_node,
            settings=self.player.settings,
        )
        if style is not None:
            self.controls.offer_style()
        self._connect()
        super().__init__(
            [
                self.controls.source,
                self.controls.loaded,
                self.message_box,
                self.roll,
                self.player,
                self.controls.settings,
                self.controls.actions,
                self.controls.batch,
                self.rows,
                self.controls.code,
            ]
        )
        guard_keys(self)
        self._picture = StaticPicture(self, lambda: self.history.pictures(self.candidates))
        if prompt is None:
            self._start(self._begin)
        elif not self._open_saved(_first_bars(to_score(prompt), prompt_bars)):
            self.set_prompt(prompt)

    def _connect(self) -> None:
        controls = self.controls
        controls.example.observe(lambda _change: self._start(self._load_example), names=["value"])
        controls.upload.observe(lambda _change: self._start(self._load_upload), names=["value"])
        controls.prompt_bars.observe(lambda _change: self._start(self._cut_prompt), names=["value"])
        controls.generate.on_click(lambda _button: self._start(self._generate))
        controls.stop.on_click(lambda _button: self._stop.set())
        controls.undo.on_click(lambda _button: self._guarded(self.undo))
        controls.export.on_click(lambda _button: self._guarded(self._export_current))
        controls.batch.observe(lambda _change: self._show_chosen_batch(), names=["value"])
        controls.on_settings(self._show_code)

    # Methods to call from a cell.

    @property
    def session(self) -> Session | None:
        """The tree of candidates that is shown; None before a prompt was chosen."""
        return self.history.session

    @property
    def current(self) -> SessionNode:
        """The score that is the prompt now.

        Raises:
            InputError: If no prompt was chosen yet.
        """
        return self.history.opened.current

    @property
    def message(self) -> str:
        """The message shown now; empty if there is none."""
        return self.message_box.text

    def set_prompt(self, music: Any) -> None:
        """Start a new branch with the first bars of this music; Undo returns to the one before.

        Raises:
            InputError: If it cannot be read.
        """
        name = str(music) if isinstance(music, str | Path) else "music from a variable"
        self._set_source(to_score(music), name)

    def generate(self) -> list[SessionNode]:
        """Generate candidates with the settings shown, wait for them, and return them.

        Raises:
            InputError: If there is no prompt or a setting is out of range.
        """
        self._generate()
        return self.candidates

    def keep(self, index: int) -> SessionNode:
        """Make a candidate the prompt.

        Args:
            index: Its index in `candidates`, counted from 0.

        Raises:
            InputError: If there is no such candidate.
        """
        if not 0 <= index < len(self.candidates):
            raise InputError(
                f"there is no candidate {index}: there are {len(self.candidates)}, counted from 0"
            )
        return self._keep_node(self.candidates[index].id)

    def undo(self) -> SessionNode:
        """Return to the previous prompt, also of an earlier piece; its candidates are shown again.

        Raises:
            InputError: If no prompt was chosen yet.
        """
        self.history.undo()
        self._save()
        self._show_current()
        return self.history.opened.current

    def export(self, path: str | Path, *, part: Literal["all", "new"] = "all") -> Path:
        """Save the current score; an existing file is never overwritten.

        Args:
            path: The file to write; its suffix chooses the format (MIDI, MusicXML, sound, picture,
                web page; see `SUFFIXES`). If it exists, a number is inserted before the suffix.
            part: The whole score, or the newest bars only.

        Returns:
            The path of the file written.

        Raises:
            InputError: If there is nothing to export, or the file cannot be written.
        """
        node = self.current
        path = unused_path(Path(path))
        if part == "all":
            return save_as(node.score, path, continuation_start=node.continuation_start)
        if node.new is None:
            raise InputError("there are no new bars to export: generate a continuation first")
        return save_as(node.new, path)

    def wait(self, timeout_seconds: float = 300) -> None:
        """Wait for the work that a button started.

        Raises:
            TimeoutError: If it takes longer.
        """
        thread = self._thread
        if thread is not None:
            thread.join(timeout_seconds)
            if thread.is_alive():
                raise TimeoutError(f"still working after {timeout_seconds} seconds")

    def close(self) -> None:
        """Stop generation and sound, and close every widget of the session."""
        if is_open(self):
            self._stop.set()
            self.player.stop()
            self.rows.close()
            close_tree(self)

    # Work that buttons start.

    def _start(self, work: Callable[[], object]) -> None:
        """Run `work` in a thread, unless earlier work is still running."""
        if self._thread is not None and self._thread.is_alive():
            if self._thread is not threading.current_thread():
                self.message_box.show_error("still working: wait until it is done, or press Stop")
            return
        self._thread = threading.Thread(
            target=self._guarded, args=(work,), name="continuation", daemon=True
        )
        self._thread.start()

    def _guarded(self, work: Callable[[], object]) -> None:
        self.message_box.clear()
        try:
            work()
        except InputError as error:
            self.message_box.show_error(str(error))
        except Exception as error:  # noqa: BLE001 - shown where the user clicked
            self.message_box.show_failure(error)

    def _begin(self) -> None:
        """Show the session that was saved last, or the first example."""
        if not self._open_saved():
            self._load_example()

    def _open_saved(self, prompt: Any = None) -> bool:
        """Open the saved sessions; show the last one unless another prompt is wanted."""
        history = self.history
        if not history.open_saved() or not (prompt is None or history.has_prompt(prompt)):
            return False
        self._source, self._source_name = history.opened.nodes[0].score, "the saved session"
        self._show_loaded()
        self._show_current()
        self.message_box.show_status(
            f"opened again: {history.num_candidates} candidates, saved in {history.autosave.folder}"
        )
        return True

    def _save(self) -> None:
        self.history.save()
        if self.history.autosave.problem:
            self.message_box.show_error(self.history.autosave.problem)

    def _load_example(self) -> None:
        name = self.controls.example.value
        self.message_box.show_status(f"reading {name} …")
        score = load_prompt(name)
        self.message_box.clear()
        self._set_source(score, name)

    def _load_upload(self) -> None:
        files = self.controls.upload.value
        if not files:
            return
        name, content = files[0]["name"], bytes(files[0]["content"])
        self.controls.upload.value = ()  # so that the same file can be opened again
        self._set_source(score_from_bytes(content, name=name), name)

    def _set_source(self, score: symusic.Score, name: str) -> None:
        self._source, self._source_name = score, name
        self._cut_prompt()

    def _cut_prompt(self) -> None:
        """Start a new branch with the chosen number of bars of the source."""
        if self._source is None or self._is_updating:
            return
        self._show_loaded()
        self.history.start(_first_bars(self._source, int(self.controls.prompt_bars.value)))
        self._show_current()

    def _show_loaded(self) -> None:
        self._is_updating = True  # limiting the number of bars may change it
        model = self._model if isinstance(self._model, str | Path) else "from a variable"
        length = num_bars(self._source)
        self.controls.show_loaded(self._source_name, bars=length, model=str(model))
        self._is_updating = False

    def _generate(self) -> None:
        session, controls = self.history.opened, self.controls
        settings = controls.sampling()
        self._stop.clear()
        controls.show_generating(bars=settings["bars"])
        try:
            model, style = self._load_model_and_style()
            events = stream(model, session.current.score, Request(**settings), style=style)
            growing = GrowingCandidates(
                self.rows,
                session.current.score,
                num_candidates=settings["candidates"],
                bars=settings["bars"],
                on_bars=controls.show_progress,
            )
            pieces = growing.follow(events, self._stop.is_set)
        except BaseException:
            self.rows.show(self.candidates)
            raise
        finally:
            controls.show_idle()
        if style is not None:
            settings["style_strength"] = controls.strength.value
        session.add(pieces, **settings)
        self._save()
        self._show_batch(-1)
        if self._stop.is_set():
            self.message_box.show_status("stopped: the candidates hold what was generated so far")

    def _load_model_and_style(self) -> tuple[MusicModel, Style | None]:
        """Return the model and the style at the strength shown, loading them at first use."""
        if not isinstance(self._model, MusicModel):
            self._model = load_model(self._model)
        if isinstance(self._style, str | Path):
            self._style = load_style(self._style, self._model)
        style = self._style
        return self._model, style and style.scaled(self.controls.strength.value)

    def _keep_node(self, node_id: int) -> SessionNode:
        node = self.history.opened.keep(node_id)
        self._save()
        self._show_current()
        return node

    def _export_current(self) -> None:
        self.message_box.show_status("exporting …")
        self.message_box.show_file(self.export(f"continuation{self.controls.format.value}"))

    def _export_node(self, node: SessionNode) -> Path:
        path = unused_path(Path(f"continuation-{node.id}{self.controls.format.value}"))
        return save_as(node.score, path, continuation_start=node.continuation_start)

    # Display.

    def _show_current(self) -> None:
        session = self.history.opened
        node = session.current
        self.player.stop()
        self.roll.set_score(node.score, continuation_start=node.continuation_start)
        self._show_batch(-1)
        self.controls.undo.disabled = not self.history.can_undo
        self.controls.show_path(self.history.num_kept(), num_bars(node.score))
        self._show_code()

    def _show_batch(self, index: int) -> None:
        """Show one batch of candidates; -1 is the newest."""
        batches = self.history.batches()
        self.candidates = batches[index] if batches else []
        self._is_updating = True
        self.controls.show_batches(len(batches), chosen=index % max(1, len(batches)))
        self._is_updating = False
        self.rows.show(self.candidates)
        self._picture.update()

    def _show_chosen_batch(self) -> None:
        if not self._is_updating:
            self._guarded(lambda: self._show_batch(self.controls.batch.value))

    def _ipython_display_(self) -> None:
        self._picture.display()

    def _show_code(self) -> None:
        model = self._model if isinstance(self._model, str) else "…"
        self.controls.show_code(str(model))


def _first_bars(score: symusic.Score, bars: int) -> symusic.Score:
    return take_bars(score, 0, min(bars, num_bars(score)))
