"""The session that is shown, and those of earlier prompts, to which Undo returns."""

import symusic

from rwkv_music.errors import InputError
from rwkv_music.generation import Session, SessionNode
from rwkv_music_widgets.roll.roll_svg import roll_svg
from rwkv_music_widgets.session.autosave import Autosave, have_same_notes


class SessionHistory:
    """Sessions in the order of their prompts; nothing in them is ever removed.

    Args:
        autosave: Saves every session that has candidates.
    """

    def __init__(self, autosave: Autosave) -> None:
        self.autosave = autosave
        self.session: Session | None = None
        """The session that is shown; None before the first prompt."""
        self._earlier: list[Session] = []

    @property
    def opened(self) -> Session:
        """The session that is shown.

        Raises:
            InputError: If no prompt was chosen yet.
        """
        if self.session is None:
            raise InputError("no prompt was chosen yet: choose an example or a file")
        return self.session

    @property
    def can_undo(self) -> bool:
        """Whether there is an earlier prompt."""
        return bool(self._earlier) or self.opened.current.parent is not None

    @property
    def num_candidates(self) -> int:
        """Number of candidates in all sessions."""
        sessions = (*self._earlier, self.session)
        return sum(len(session.nodes) - 1 for session in sessions if session is not None)

    def open_saved(self) -> bool:
        """Open the saved sessions; return whether there is one."""
        sessions = self.autosave.open_sessions()
        if sessions:
            *self._earlier, self.session = sessions
        return bool(sessions)

    def has_prompt(self, prompt: symusic.Score) -> bool:
        """Return whether the session that is shown began with these notes."""
        session = self.session
        return session is not None and have_same_notes(session.nodes[0].score, prompt)

    def start(self, prompt: symusic.Score) -> None:
        """Start a session with another prompt."""
        if self.session is not None and len(self.session.nodes) > 1:
            self._earlier.append(self.session)
        self.session = Session(None, prompt)

    def undo(self) -> None:
        """Return to the previous prompt, also of an earlier session."""
        if self.opened.current.parent is None and self._earlier:
            self.session = self._earlier.pop()
        else:
            self.opened.undo()

    def save(self) -> None:
        """Save the session that is shown."""
        if self.session is not None:
            self.autosave.save(self.session)

    def num_kept(self) -> int:
        """Return how many kept candidates the current score contains."""
        node, kept = self.opened.current, 0
        while node.parent is not None:
            node, kept = self.opened.nodes[node.parent], kept + 1
        return kept

    def batches(self) -> list[list[SessionNode]]:
        """Return the candidates of the current prompt, in the batches that were generated."""
        session = self.opened
        children = session.children(session.current.id)
        batches = []
        while children:
            # Candidates of one batch have consecutive ids.
            size = children[0].settings.get("candidates", 1)
            batches.append(children[:size])
            children = children[size:]
        return batches

    def pictures(self, candidates: list[SessionNode]) -> list[tuple[str, str]]:
        """Return SVG pictures of the current score and of candidates, each after its title."""
        if self.session is None:
            return []
        nodes = [("Current score", self.session.current)]
        nodes += [(f"Candidate {index}", node) for index, node in enumerate(candidates, start=1)]
        return [
            (title, roll_svg(node.score, continuation_start=node.continuation_start, height=170))
            for title, node in nodes
        ]
