"""Continuation session: prompt, generate, listen, keep, undo and export in one widget.

It shows a `rwkv_music.generation.Session`. Buttons start a thread; a mistake becomes a message.
"""

from functools import partial
from pathlib import Path
from typing import Any, Literal

import ipywidgets as widgets
import symusic

from rwkv_music.data import load_prompt
from rwkv_music.errors import InputError
from rwkv_music.generation import Session, SessionNode
from rwkv_music.model import MusicModel, Style
from rwkv_music.score import num_bars, take_bars, to_score
from rwkv_music.shipped_models import DEFAULT_MODEL
from rwkv_music_widgets.closing import close_tree, is_open
from rwkv_music_widgets.export.score_files import save_node
from rwkv_music_widgets.key_guard import guard_keys
from rwkv_music_widgets.messages import MessageBox
from rwkv_music_widgets.player.player import Player
from rwkv_music_widgets.roll.piano_roll import PianoRoll
from rwkv_music_widgets.session.autosave import Autosave, chosen_folder
from rwkv_music_widgets.session.background_work import BackgroundWork
from rwkv_music_widgets.session.candidate_generator import CandidateGenerator
from rwkv_music_widgets.session.candidate_row import CandidateRows, new_end
from rwkv_music_widgets.session.rewrite_panel import FillRequest
from rwkv_music_widgets.session.session_controls import SessionControls
from rwkv_music_widgets.session.session_history import SessionHistory
from rwkv_music_widgets.session.session_model import SessionModel
from rwkv_music_widgets.session.session_tools import SessionTools
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
        self._model = SessionModel(model, style)
        self._source: Any = None
        self._source_name = ""
        self.history = SessionHistory(Autosave(chosen_folder(model, autosave)))
        self._is_updating = False
        self.candidates: list[SessionNode] = []
        """The newest continuations of the current prompt."""
        self.controls = SessionControls(model=self._model.name, prompt_bars=prompt_bars)
        self.roll = PianoRoll(height=240)
        self.player = Player(self.roll)
        self.message_box = MessageBox()
        self._work = BackgroundWork(self.message_box)
        self.tools = SessionTools(
            self.roll,
            can_fill=self._model.can_fill,
            fill=lambda request: self._work.start(lambda: self.fill(request())),
            go=lambda node_id: self._work.guarded(partial(self._keep_node, node_id)),
        )
        self.rows = CandidateRows(
            keep=lambda node: self._work.guarded(partial(self._keep_node, node.id)),
            export=self._export_node,
            take=lambda node, roll: self._work.guarded(partial(self.take, node, roll)),
            hover=self._show_difference,
            settings=self.player.settings,
        )
        self._generator = CandidateGenerator(
            self._model, self.controls, self.rows, self.tools.wishes, self._work
        )
        self.controls.choices += self.tools.controls
        if style is not None:
            self.controls.offer_style()
        self.roll.on_switch(lambda: self.rows.play_next(self.player))
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
                self.tools,
                self.controls.batch,
                self.rows,
                self.controls.code_row,
            ]
        )
        guard_keys(self)
        self._picture = StaticPicture(self, lambda: self.history.pictures(self.candidates))
        if prompt is None:
            self._work.start(self._begin)
        elif not self._open_saved(_first_bars(to_score(prompt), prompt_bars)):
            self.set_prompt(prompt)

    def _connect(self) -> None:
        controls = self.controls
        controls.example.observe(
            lambda _change: self._work.start(self._load_example), names=["value"]
        )
        controls.upload.observe(
            lambda _change: self._work.start(self._load_upload), names=["value"]
        )
        controls.prompt_bars.observe(
            lambda _change: self._work.start(self._cut_prompt), names=["value"]
        )
        controls.generate.on_click(lambda _button: self._work.start(self._generate))
        controls.stop.on_click(lambda _button: self._work.stop.set())
        controls.undo.on_click(lambda _button: self._work.guarded(self.undo))
        controls.export.on_click(lambda _button: self._work.guarded(self._export_current))
        controls.batch.observe(lambda _change: self._show_chosen_batch(), names=["value"])
        controls.on_settings(self._show_code)

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
        is_file = isinstance(music, str | Path)
        self._set_source(to_score(music), str(music) if is_file else "music from a variable")

    def generate(self) -> list[SessionNode]:
        """Generate candidates with the settings shown, wait for them, and return them.

        Raises:
            InputError: If there is no prompt or a setting is out of range.
        """
        self._generate()
        return self.candidates

    def fill(self, request: FillRequest) -> list[SessionNode]:
        """Write bars and parts of the current score anew; return the candidates.

        Args:
            request: Such as `self.tools.rewriting.variation()` returns.

        Raises:
            InputError: As `fill_score`.
        """
        settings = self.controls.sampling()
        del settings["bars"]
        wishes = self.tools.wishes.arguments(self.current.score, request)
        self.controls.show_code(request.code({**settings, **wishes}))
        made = self._generator.fill(self.history.opened, request, settings)
        self._save()
        self._show_batch(-1)
        if not made:
            self.message_box.show_status("stopped: nothing was complete yet")
        return made

    def keep(self, index: int) -> SessionNode:
        """Make a candidate the prompt.

        Args:
            index: Its index in `candidates`, counted from 0.

        Raises:
            InputError: If there is no such candidate.
        """
        count = len(self.candidates)
        if not 0 <= index < count:
            raise InputError(f"there is no candidate {index}: there are {count}, counted from 0")
        return self._keep_node(self.candidates[index].id)

    def take(self, node: SessionNode, selected: PianoRoll) -> SessionNode:
        """Take the bars and parts that are selected on a node's roll into the current score.

        Raises:
            InputError: If nothing is selected, or they do not fit.
        """
        if selected.selected_bars is None:
            raise InputError("nothing is selected on the candidate: drag over the bars to take")
        made = self.history.opened.combine(
            node.id, bars=selected.selected_bars, parts=selected.selected_parts or None
        )
        shown = self.candidates
        self._keep_node(made.id)
        self.candidates = shown
        self.rows.show(shown)  # to take more bars from them
        return made

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
        return save_node(self.current, Path(path), part=part)

    def load_model(self) -> MusicModel:
        """Return the model, loading it at first use; `self.session` uses it from then on."""
        model, _ = self._model.load(self.controls.strength.value)
        self.history.opened.model = model
        return model

    def wait(self, timeout_seconds: float = 300) -> None:
        """Wait for the work that a button started.

        Raises:
            TimeoutError: If it takes longer.
        """
        self._work.wait(timeout_seconds)

    def close(self) -> None:
        """Stop generation and sound, and close every widget of the session."""
        if is_open(self):
            self._work.stop.set()
            self.player.stop()
            self.rows.close()
            close_tree(self)

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
        self._set_source(load_prompt(name), name)
        self.message_box.clear()

    def _load_upload(self) -> None:
        if self.controls.upload.value:
            self._set_source(*self.controls.take_upload())

    def _set_source(self, score: symusic.Score, name: str) -> None:
        self._source, self._source_name = score, name
        self._cut_prompt()

    def _cut_prompt(self) -> None:
        """Start a new branch with the chosen number of bars of the source."""
        if self._source is not None and not self._is_updating:
            self._show_loaded()
            self.history.start(_first_bars(self._source, int(self.controls.prompt_bars.value)))
            self._show_current()

    def _show_loaded(self) -> None:
        self._is_updating = True  # limiting the number of bars may change it
        length = num_bars(self._source)
        self.controls.show_loaded(
            self._source_name, bars=length, model=self._model.name or "from a variable"
        )
        self._is_updating = False

    def _generate(self) -> None:
        settings = self.controls.sampling()
        self._show_code()
        try:
            self._generator.continue_score(self.history.opened, settings)
        except BaseException:
            self.rows.show(self.candidates)
            raise
        self._save()
        self._show_batch(-1)
        if self._work.stop.is_set():
            self.message_box.show_status("stopped: the candidates hold what was generated so far")

    def _keep_node(self, node_id: int) -> SessionNode:
        node = self.history.opened.keep(node_id)
        self._save()
        self._show_current()
        return node

    def _export_current(self) -> None:
        self.message_box.show_status("exporting …")
        self.message_box.show_file(self.export(f"continuation{self.controls.format.value}"))

    def _export_node(self, node: SessionNode) -> Path:
        return save_node(node, Path(f"continuation-{node.id}{self.controls.format.value}"))

    # Display.

    def _show_difference(self, node: SessionNode | None) -> None:
        """Lay filled bars over the current score; nothing when there is no node."""
        self.roll.compare(None if node is None or node.new_bars is None else node.score)

    def _show_current(self) -> None:
        session = self.history.opened
        node = session.current
        self.player.stop()
        self.roll.set_score(
            node.score, continuation_start=node.continuation_start, new_end=new_end(node)
        )
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
        self.tools.show(self.history.opened, self.candidates)
        self._picture.update()

    def _show_chosen_batch(self) -> None:
        if not self._is_updating:
            self._work.guarded(lambda: self._show_batch(self.controls.batch.value))

    def _ipython_display_(self) -> None:
        self._picture.display()

    def _show_code(self) -> None:
        limits = self.tools.wishes.arguments(self.current.score)
        self.controls.show_code(self.controls.code(self._model.name or "…", limits))


def _first_bars(score: symusic.Score, bars: int) -> symusic.Score:
    return take_bars(score, 0, min(bars, num_bars(score)))
