"""Prompt, continue, listen, keep, undo, export: the main job, in one widget.

The widget is a face on `rwkv_music.generation.Session`, a tree in which nothing is lost. Buttons
only start a thread; every mistake of a user becomes a message.
"""

import html
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import ipywidgets as widgets

from rwkv_music.data import load_prompt
from rwkv_music.errors import InputError
from rwkv_music.generation import Session, SessionNode, continue_score
from rwkv_music.model import MusicModel, Style, load_model, load_style
from rwkv_music.score import num_bars, score_from_bytes, take_bars, to_score
from rwkv_music_widgets.candidate_row import CandidateRow
from rwkv_music_widgets.controls import Controls
from rwkv_music_widgets.piano_roll import PianoRoll
from rwkv_music_widgets.player import Player


class ContinuationSession(widgets.VBox):  # type: ignore[misc] # ipywidgets has no types
    """Pick a prompt, let the model continue it, keep what you like, export it.

    Args:
        model: A name, a path or a loaded model; it is loaded at the first use.
        prompt: A score or anything `to_score` reads; the first built-in beginning when None.
        prompt_bars: Bars of the prompt to give the model.
        style: What the model begins with: a style, or the path of one that `rwkv-music tune` made.
            A slider then sets its strength.

    Example:
        session = ContinuationSession("bach")
        session                                # in a cell of its own: shows it
        session.candidates                     # what was generated, newest last
        session.export("continued.mid")        # the current score, never overwriting
    """

    def __init__(
        self,
        model: MusicModel | str | Path = "bach",
        prompt: Any = None,
        *,
        prompt_bars: int = 4,
        style: Style | str | Path | None = None,
    ) -> None:
        if prompt_bars < 1:
            raise InputError(f"prompt_bars must be at least 1, got {prompt_bars}")
        self._model = model
        self._style = style
        self._source: Any = None
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self.session: Session | None = None
        self.candidates: list[SessionNode] = []
        """The newest continuations of the current prompt."""
        self.controls = Controls(
            model="" if isinstance(model, MusicModel) else str(model), prompt_bars=prompt_bars
        )
        self.roll = PianoRoll(height=240)
        self.player = Player(self.roll)
        self.message_box = widgets.HTML()
        self.rows = widgets.VBox()
        if style is not None:
            self.controls.offer_style()
        self._connect()
        super().__init__(
            [
                self.controls.source,
                self.message_box,
                self.roll,
                self.player,
                self.controls.settings,
                self.controls.actions,
                self.rows,
                self.controls.code,
            ]
        )
        if prompt is not None:
            self.set_prompt(prompt)
        else:
            self._start(self._load_chosen)

    def _connect(self) -> None:
        controls = self.controls
        controls.beginning.observe(lambda _change: self._start(self._load_chosen), names=["value"])
        controls.upload.observe(lambda _change: self._start(self._load_upload), names=["value"])
        controls.prompt_bars.observe(lambda _change: self._start(self._cut_prompt), names=["value"])
        controls.generate.on_click(lambda _button: self._start(self._generate))
        controls.stop.on_click(lambda _button: self._stop.set())
        controls.undo.on_click(lambda _button: self._guarded(self.undo))
        controls.export.on_click(lambda _button: self._guarded(self._export_current))
        controls.on_settings(self._show_code)

    # What a cell can call.

    @property
    def current(self) -> SessionNode:
        """The score that is the prompt now.

        Raises:
            InputError: If no prompt was chosen yet.
        """
        if self.session is None:
            raise InputError("no prompt was chosen yet: choose a beginning or a file")
        return self.session.current

    @property
    def message(self) -> str:
        """What the widget says now; empty if all is well."""
        return html.unescape(self.message_box.value.partition(">")[2].rpartition("<")[0])

    def set_prompt(self, music: Any) -> None:
        """Begin a new session with this music; as many bars as the widget says are its prompt.

        Raises:
            InputError: If it cannot be read.
        """
        self._source = to_score(music)
        self._cut_prompt()

    def generate(self) -> list[SessionNode]:
        """Make candidates with the settings shown, wait for them, and return them.

        Raises:
            InputError: If there is no prompt or a setting is out of range.
        """
        self._generate()
        return self.candidates

    def keep(self, place: int) -> SessionNode:
        """Make a candidate the prompt.

        Args:
            place: Counted from 0, as in `candidates`.

        Raises:
            InputError: If there is no such candidate.
        """
        if not 0 <= place < len(self.candidates):
            raise InputError(
                f"there is no candidate {place}: there are {len(self.candidates)}, counted from 0"
            )
        return self._keep_node(self.candidates[place].id)

    def undo(self) -> SessionNode:
        """Go back to what the prompt was before; its candidates are shown again."""
        self.current  # noqa: B018 - says so if there is none
        assert self.session is not None
        self.session.undo()
        self._show_current()
        return self.session.current

    def export(self, path: str | Path, *, part: Literal["all", "new"] = "all") -> Path:
        """Save the current score as MIDI; an existing file is never overwritten.

        Args:
            path: Where to; if it is taken, a number is put before the ending.
            part: The whole score, or the newest bars only.

        Returns:
            The path written.

        Raises:
            InputError: If there is nothing to export, or the place cannot be written to.
        """
        self.current  # noqa: B018 - says so if there is none
        assert self.session is not None
        return self.session.export(path, part=part)

    def wait(self, timeout_seconds: float = 300) -> None:
        """Wait for what a button has started.

        Raises:
            TimeoutError: If it takes longer.
        """
        thread = self._thread
        if thread is not None:
            thread.join(timeout_seconds)
            if thread.is_alive():
                raise TimeoutError(f"still at work after {timeout_seconds} seconds")

    # What buttons start.

    def _start(self, work: Callable[[], object]) -> None:
        """Do some work in a thread; a second click while one is at work is passed over."""
        if self._thread is not None and self._thread.is_alive():
            return
        self._thread = threading.Thread(
            target=self._guarded, args=(work,), name="continuation", daemon=True
        )
        self._thread.start()

    def _guarded(self, work: Callable[[], object]) -> None:
        self._say("")
        try:
            work()
        except InputError as error:
            self._say(str(error))

    def _say(self, text: str, *, alert: bool = True) -> None:
        role, color = ("alert", "#c62828") if alert else ("status", "inherit")
        said = f'<span role="{role}" style="color:{color}">{html.escape(text)}</span>'
        self.message_box.value = said if text else ""

    def _load_chosen(self) -> None:
        name = self.controls.beginning.value
        self._say(f"reading {name} …", alert=False)
        self._source = load_prompt(name)
        self._say("")
        self._cut_prompt()

    def _load_upload(self) -> None:
        files = self.controls.upload.value
        if files:
            content = bytes(files[0]["content"])
            self.set_prompt(score_from_bytes(content, name=files[0]["name"]))

    def _cut_prompt(self) -> None:
        """Take the wanted number of bars of the source as the first prompt of a new session."""
        if self._source is None:
            return
        bars = min(int(self.controls.prompt_bars.value), num_bars(self._source))
        self.session = Session(take_bars(self._source, 0, bars))
        self._show_current()

    def _generate(self) -> None:
        node, controls = self.current, self.controls
        settings = controls.sampling()
        self._stop.clear()
        controls.show_work(bars=settings["bars"])
        try:
            model, style = self._loaded()
            pieces = continue_score(
                model,
                node.score,
                **settings,
                style=style,
                on_bar=controls.show_bar,
                should_stop=self._stop.is_set,
            )
        finally:
            controls.show_rest()
        assert self.session is not None
        if style is not None:
            settings["style_strength"] = controls.strength.value
        self.candidates = self.session.add(pieces, **settings)
        self._show_candidates()
        if self._stop.is_set():
            self._say("stopped: the candidates hold what was generated so far", alert=False)

    def _loaded(self) -> tuple[MusicModel, Style | None]:
        """The model and the style at the strength shown, read at the first use."""
        if not isinstance(self._model, MusicModel):
            self._model = load_model(self._model)
        if isinstance(self._style, str | Path):
            self._style = load_style(self._style, self._model)
        style = self._style
        return self._model, style and style.scaled(self.controls.strength.value)

    def _keep_node(self, node_id: int) -> SessionNode:
        assert self.session is not None
        node = self.session.keep(node_id)
        self._show_current()
        return node

    def _export_current(self) -> None:
        path = self.export("continuation.mid")
        self._say(f"saved as {path.resolve()}", alert=False)

    def _export_node(self, node_id: int) -> None:
        assert self.session is not None
        path = self.session.export_node(node_id, f"continuation-{node_id}.mid")
        self._say(f"saved as {path.resolve()}", alert=False)

    # What is shown.

    def _show_current(self) -> None:
        assert self.session is not None
        node = self.session.current
        self.player.stop()
        self.roll.set_score(node.score, seam_tick=node.seam_tick)
        made = self.session.children(node.id)
        # What was generated together was added together: the newest batch is the last run of ids.
        self.candidates = made[-made[-1].settings["candidates"] :] if made else []
        self._show_candidates()
        self.controls.undo.disabled = node.parent is None
        self.controls.show_path(len(self._ancestors(node)), num_bars(node.score))
        self._show_code()

    def _ancestors(self, node: SessionNode) -> list[SessionNode]:
        assert self.session is not None
        found = []
        while node.parent is not None:
            found.append(node)
            node = self.session.nodes[node.parent]
        return found

    def _show_candidates(self) -> None:
        self.rows.children = tuple(
            CandidateRow(
                node,
                place,
                keep=partial(self._guarded, partial(self._keep_node, node.id)),
                export=partial(self._guarded, partial(self._export_node, node.id)),
                sound=self.player.sound,
            )
            for place, node in enumerate(self.candidates)
        )

    def _show_code(self) -> None:
        model = self._model if isinstance(self._model, str) else "…"
        self.controls.show_code(str(model))
