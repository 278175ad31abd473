"""Generates candidates with the settings shown, while the controls say so."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rwkv_music.generation import Request, Session, SessionNode, stream
from rwkv_music_widgets.session.background_work import BackgroundWork
from rwkv_music_widgets.session.candidate_row import CandidateRows
from rwkv_music_widgets.session.growing_candidates import GrowingCandidates
from rwkv_music_widgets.session.rewrite_panel import FillRequest
from rwkv_music_widgets.session.session_controls import SessionControls
from rwkv_music_widgets.session.session_model import SessionModel
from rwkv_music_widgets.session.wishes_panel import WishesPanel


class CandidateGenerator:
    """Adds candidates to sessions.

    Args:
        model: The model that generates.
        controls: Their settings are used, and they show the progress.
        rows: Candidates that continue a score grow in them.
        wishes: Limits and controls of the new music.
        work: Knows when to stop.
    """

    def __init__(
        self,
        model: SessionModel,
        controls: SessionControls,
        rows: CandidateRows,
        wishes: WishesPanel,
        work: BackgroundWork,
    ) -> None:
        self._model, self._controls, self._rows = model, controls, rows
        self._wishes, self._work = wishes, work

    def continue_score(self, session: Session, settings: dict[str, Any]) -> list[SessionNode]:
        """Continue the current score; return the new nodes.

        Args:
            session: The nodes are added to it.
            settings: Arguments of `Request`.
        """
        strength = self._controls.strength.value
        limits = self._wishes.arguments(session.current.score)
        with self._busy(bars=settings["bars"]):
            model, style = self._model.load(strength)
            request = Request(**settings, **limits)
            events = stream(model, session.current.score, request, style=style)
            growing = GrowingCandidates(
                self._rows, session.current.score, settings, on_bars=self._controls.show_progress
            )
            pieces = growing.follow(events, self._work.stop.is_set)
        if style is not None:
            settings["style_strength"] = strength
        return session.add(pieces, **settings)

    def fill(
        self, session: Session, request: FillRequest, settings: dict[str, Any]
    ) -> list[SessionNode]:
        """Write bars and parts of the current score anew; return the new nodes.

        Args:
            session: The nodes are added to it.
            request: The bars and parts, and what stays in them.
            settings: Further arguments of `fill_score`.
        """
        with self._busy(bars=1):
            session.model, style = self._model.load(self._controls.strength.value)
            return session.fill(
                bars=request.bars,
                parts=request.parts,
                keep=request.keep,
                **self._wishes.arguments(session.current.score, request),
                style=style,
                should_stop=self._work.stop.is_set,
                **settings,
            )

    @contextmanager
    def _busy(self, *, bars: int) -> Iterator[None]:
        """Show that candidates are generated."""
        self._work.stop.clear()
        self._controls.show_generating(bars=bars)
        try:
            yield
        finally:
            self._controls.show_idle()
