"""A session: the tree of a prompt, its continuations, and their continuations.

Each node holds a score; its children were made from it. Undo moves to the parent and keeps the
branch. What the model has read is kept, so that nothing is read twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rwkv_music.errors import InputError
from rwkv_music.generation.continuation import Continuation
from rwkv_music.generation.filling import Filling, fill_score
from rwkv_music.generation.request.request import Request
from rwkv_music.generation.sampling.prefix_cache import PrefixCache
from rwkv_music.generation.session.session_edits import bars_in_common, with_bars_from
from rwkv_music.generation.session.session_file import read_session, write_session
from rwkv_music.generation.streaming import Stream
from rwkv_music.model import MusicModel, Style

if TYPE_CHECKING:
    import symusic


@dataclass(frozen=True)
class SessionNode:
    """A score in the tree, with the settings that produced it."""

    id: int
    parent: int | None
    score: "symusic.Score"
    continuation_start: int | None
    """Where the newest bars begin; None for the first prompt."""
    new: "symusic.Score | None" = None
    settings: dict[str, Any] = field(default_factory=dict)
    """Arguments of the call that generated it, its seed and nats."""

    @property
    def new_bars(self) -> tuple[int, int] | None:
        """First and last bar that were filled, counted from 1; None if nothing was filled."""
        bars = self.settings.get("filled_bars")
        return None if bars is None else (int(bars[0]), int(bars[1]))


class Session:
    """A tree of scores, one of which is the current prompt.

    Args:
        model: The model that `generate` and `stream` use; it may be set later.
        prompt: The first score.

    Example:
        session = Session(load_model("pop"), load_score("prompt.mid"))
        nodes = session.generate(Request(bars=4))
        session.keep(nodes[1].id)
        session.undo()
        session.save("song.rwkvmusic")
    """

    def __init__(self, model: MusicModel | None, prompt: "symusic.Score") -> None:
        self.model = model
        self.nodes: list[SessionNode] = [SessionNode(0, None, prompt, None)]
        self.autosave: Path | None = None
        """File that is written after every change; None for no autosave."""
        self.prefixes = PrefixCache()
        """States of the model at the bar lines of what it has read."""
        self._current = 0
        self._undone: list[int] = []

    @property
    def current(self) -> SessionNode:
        """The node whose score is the current prompt."""
        return self.nodes[self._current]

    def add(self, continuations: Sequence[Continuation], **settings: Any) -> list[SessionNode]:  # noqa: ANN401
        """Add continuations of the current node as its children; the current node stays the same.

        Args:
            continuations: Results of `continue_score`.
            settings: Arguments of that call, to be shown and saved.

        Returns:
            The new nodes, in the same order.
        """
        return self._add(continuations, settings)

    def _add(
        self, pieces: Sequence[Continuation | Filling], settings: dict[str, Any]
    ) -> list[SessionNode]:
        added = []
        for piece in pieces:
            node = SessionNode(
                id=len(self.nodes),
                parent=self._current,
                score=piece.score,
                continuation_start=piece.continuation_start,
                new=piece.new,
                settings={**settings, "seed": piece.seed, "nats": round(piece.nats, 4)},
            )
            self.nodes.append(node)
            added.append(node)
        self._save_changes()
        return added

    def stream(
        self,
        request: Request | None = None,
        *,
        bar: int | None = None,
        style: Style | None = None,
    ) -> Stream:
        """Continue the current score as a stream; `add` its results to keep them.

        Args:
            request: What is asked for; the defaults of `Request` when None.
            bar: Continue behind this many bars instead of at the end.
            style: Initial state from `load_style`.

        Raises:
            InputError: If the session has no model, or as `continue_score`.
        """
        from rwkv_music.score import num_bars, take_bars

        if self.model is None:
            raise InputError("the session has no model: set session.model = load_model(...)")
        score = self.current.score
        if bar is not None:
            if not 1 <= bar <= num_bars(score):
                raise InputError(f"bar must be in [1, {num_bars(score)}], got {bar}")
            score = take_bars(score, 0, bar)
        return Stream(self.model, score, request or Request(), style=style, prefixes=self.prefixes)

    def generate(
        self,
        request: Request | None = None,
        *,
        bar: int | None = None,
        style: Style | None = None,
    ) -> list[SessionNode]:
        """Continue the current score and add the candidates as its children.

        Arguments and errors are those of `stream`.
        """
        request = request or Request()
        events = self.stream(request, bar=bar, style=style)
        for _ in events:
            pass
        return self.add(events.results(), bars=request.bars, candidates=request.candidates)

    def fill(
        self,
        *,
        bars: tuple[int, int],
        parts: Sequence[str | int] | None = None,
        **settings: Any,  # noqa: ANN401 - those of fill_score
    ) -> list[SessionNode]:
        """Write bars and parts of the current score anew; add the versions as its children.

        Args:
            bars: First and last bar to write, counted from 1.
            parts: Parts to write, by name, instrument or index; all when None.
            **settings: Further arguments of `fill_score`, such as `candidates`, `keep` or
                `constraints`.

        Raises:
            InputError: If the session has no model, or as `fill_score`.

        Example:
            session.fill(bars=(5, 8), parts=["Bass"], keep=Keep(share=0.7))
        """
        if self.model is None:
            raise InputError("the session has no model: set session.model = load_model(...)")
        pieces = fill_score(self.model, self.current.score, bars=bars, parts=parts, **settings)
        return self.add_fillings(pieces, bars=bars, parts=parts)

    def add_fillings(
        self,
        pieces: Sequence[Filling],
        *,
        bars: tuple[int, int],
        parts: Sequence[str | int] | None = None,
    ) -> list[SessionNode]:
        """Add results of `fill_score` for the current score as its children.

        Args:
            pieces: The results.
            bars: The bars that were asked for.
            parts: The parts that were asked for.
        """
        filled = {"filled_bars": list(bars), "parts": None if parts is None else list(parts)}
        return self._add(pieces, {**filled, "candidates": len(pieces)})

    def combine(
        self, node_id: int, *, bars: tuple[int, int], parts: Sequence[str | int] | None = None
    ) -> SessionNode:
        """Add a copy of the current score with some bars and parts of another node.

        Args:
            node_id: The node to take them from.
            bars: First and last bar, counted from 1.
            parts: Tracks, by name or index; all when None.

        Raises:
            InputError: If there is no such node, bar or part.
        """
        self._check_node(node_id)
        score = with_bars_from(self.current.score, self.nodes[node_id].score, bars, parts)
        taken = None if parts is None else list(parts)
        settings = {"combined_with": node_id, "bars": list(bars), "parts": taken}
        node = SessionNode(len(self.nodes), self._current, score, None, settings=settings)
        self.nodes.append(node)
        self._save_changes()
        return node

    def compare(self, first_id: int, second_id: int) -> list[float]:
        """Return for each bar the share of notes that two nodes have in common, 0 to 1.

        Raises:
            InputError: If there is no such node.
        """
        self._check_node(first_id)
        self._check_node(second_id)
        return bars_in_common(self.nodes[first_id].score, self.nodes[second_id].score)

    def keep(self, node_id: int) -> SessionNode:
        """Make a node the current prompt.

        Raises:
            InputError: If there is no such node.
        """
        self._check_node(node_id)
        self._current = node_id
        self._undone.clear()
        self._save_changes()
        return self.current

    def undo(self) -> SessionNode:
        """Move to the parent node; do nothing at the first prompt."""
        if self.current.parent is not None:
            self._undone.append(self._current)
            self._current = self.current.parent
            self._save_changes()
        return self.current

    def redo(self) -> SessionNode:
        """Return to the node that `undo` left; do nothing if there is none."""
        if self._undone:
            self._current = self._undone.pop()
            self._save_changes()
        return self.current

    def _check_node(self, node_id: int) -> None:
        if not 0 <= node_id < len(self.nodes):
            raise InputError(
                f"there is no node {node_id}: choose one of 0 to {len(self.nodes) - 1}"
            )

    def _save_changes(self) -> None:
        if self.autosave is not None:
            self.save(self.autosave)

    def children(self, node_id: int) -> list[SessionNode]:
        """Return the continuations of a node, in the order in which they were added."""
        return [node for node in self.nodes if node.parent == node_id]

    def export(self, path: str | Path, *, part: Literal["all", "new"] = "all") -> Path:
        """Save the current score as MIDI; an existing file is never overwritten.

        Args:
            path: The file to write; if it exists, -2, -3 and so on is added to its stem.
            part: The whole score, or only the newest bars.

        Returns:
            The path written.

        Raises:
            InputError: If there are no new bars yet, or the file cannot be written.
        """
        return self.export_node(self._current, path, part=part)

    def export_node(
        self, node_id: int, path: str | Path, *, part: Literal["all", "new"] = "all"
    ) -> Path:
        """Save any node's score as MIDI; see `export`."""
        from rwkv_music.score import save_score

        node = self.nodes[node_id]
        if part == "new" and node.new is None:
            raise InputError("there are no new bars to export: generate a continuation first")
        score = node.new if part == "new" and node.new is not None else node.score
        return save_score(score, unused_path(Path(path)))

    def save(self, path: str | Path) -> Path:
        """Write the tree to a file such as song.rwkvmusic, a zip archive of JSON and MIDI.

        Args:
            path: The file; an existing one is replaced. Without the suffix .rwkvmusic, a folder
                with the same content.

        Raises:
            InputError: If it cannot be written.
        """
        rows = [
            {
                "parent": node.parent,
                "continuation_start": node.continuation_start,
                "settings": node.settings,
            }
            for node in self.nodes
        ]
        write_session(Path(path), self._current, rows, [node.score for node in self.nodes])
        return Path(path)

    @classmethod
    def load(cls, path: str | Path, model: MusicModel | None = None) -> "Session":
        """Read a session that `save` wrote.

        Args:
            path: The file or folder.
            model: The model that `generate` and `stream` use.

        Raises:
            InputError: If there is no session, or it is damaged.
        """
        from rwkv_music.score import bar_starts, take_bars

        current, rows, scores = read_session(Path(path))
        session = cls(model, scores[0])
        for node_id, (row, score) in enumerate(zip(rows, scores, strict=True)):
            if node_id == 0:
                continue
            starts, tick = bar_starts(score).tolist(), row["continuation_start"]
            node = SessionNode(node_id, row["parent"], score, tick, None, row["settings"])
            if tick in starts[:-1]:
                last = len(starts) - 1 if node.new_bars is None else node.new_bars[1]
                node = replace(node, new=take_bars(score, starts.index(tick), last))
            session.nodes.append(node)
        session.keep(current)
        return session


def unused_path(path: Path) -> Path:
    """Return the path, with the smallest number from 2 that makes it unused if it exists."""
    unused, number = path, 2
    while unused.exists():
        unused = path.with_name(f"{path.stem}-{number}{path.suffix}")
        number += 1
    return unused
