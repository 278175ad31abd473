"""The tree of a session: scores and what was made from them, with undo, in one file."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rwkv_music.errors import InputError
from rwkv_music.generation.session.session_edits import bars_in_common, with_bars_from
from rwkv_music.generation.session.session_file import read_session, write_session
from rwkv_music.generation.session.session_node import SessionNode

if TYPE_CHECKING:
    import symusic


class SessionTree:
    """A tree of scores, one of which is the current one; nothing is ever removed from it.

    Args:
        first: The first score.
    """

    def __init__(self, first: "symusic.Score") -> None:
        self.nodes: list[SessionNode] = [SessionNode(0, None, first, None)]
        self.autosave: Path | None = None
        """File that is written after every change; None for no autosave."""
        self._current = 0
        self._undone: list[int] = []
        self._discarded: set[int] = set()

    @property
    def current(self) -> SessionNode:
        """The node whose score is the current prompt."""
        return self.nodes[self._current]

    def add_nodes(self, nodes: Sequence[SessionNode]) -> list[SessionNode]:
        """Append nodes, with ids from `len(nodes)` of the tree on, and save the change."""
        numbered = [replace(node, id=len(self.nodes) + index) for index, node in enumerate(nodes)]
        self.nodes += numbered
        self._save_changes()
        return numbered

    def node(self, node_id: int | None) -> SessionNode:
        """Return a node; the current one for None.

        Raises:
            InputError: If there is no such node.
        """
        if node_id is None:
            return self.current
        if not 0 <= node_id < len(self.nodes):
            raise InputError(
                f"there is no node {node_id}: choose one of 0 to {len(self.nodes) - 1}"
            )
        return self.nodes[node_id]

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
        source = self.node(node_id).score
        score = with_bars_from(self.current.score, source, bars, parts)
        taken = None if parts is None else list(parts)
        settings = {"combined_with": node_id, "bars": list(bars), "parts": taken}
        node = SessionNode(0, self._current, score, None, settings=settings)
        return self.add_nodes([node])[0]

    def compare(self, first_id: int, second_id: int) -> list[float]:
        """Return for each bar the share of notes that two nodes have in common, 0 to 1.

        Raises:
            InputError: If there is no such node.
        """
        return bars_in_common(self.node(first_id).score, self.node(second_id).score)

    def keep(self, node_id: int) -> SessionNode:
        """Make a node the current prompt.

        Raises:
            InputError: If there is no such node.
        """
        self._current = self.node(node_id).id
        self._undone.clear()
        self._save_changes()
        return self.current

    def discard(self, node_id: int) -> None:
        """Leave a node out of `children`; it stays in the session, and `restore` brings it back.

        Raises:
            InputError: If there is no such node, or the current one was made from it.
        """
        node: SessionNode | None = self.current
        while node is not None:
            if node.id == self.node(node_id).id:
                raise InputError(
                    f"node {node_id} is the current one or an earlier version of it: undo first"
                )
            node = None if node.parent is None else self.nodes[node.parent]
        self._discarded.add(node_id)
        self._save_changes()

    def restore(self, node_id: int) -> SessionNode:
        """Take a node back that was discarded.

        Raises:
            InputError: If there is no such node.
        """
        self._discarded.discard(self.node(node_id).id)
        self._save_changes()
        return self.nodes[node_id]

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

    def _save_changes(self) -> None:
        if self.autosave is not None:
            self.save(self.autosave)

    def children(self, node_id: int, *, discarded: bool = False) -> list[SessionNode]:
        """Return what was made from a node, in the order in which it was added.

        Args:
            node_id: The node.
            discarded: Whether to return the nodes that were discarded instead.
        """
        own = [node for node in self.nodes if node.parent == node_id]
        return [node for node in own if (node.id in self._discarded) == discarded]

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

        node = self.node(node_id)
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
        rows = [node.to_row() for node in self.nodes]
        for node_id in self._discarded:
            rows[node_id]["discarded"] = True
        write_session(Path(path), self._current, rows, [node.score for node in self.nodes])
        return Path(path)

    def _read(self, path: Path) -> None:
        """Replace the tree by that of a file."""
        current, rows, scores = read_session(path)
        self.nodes = [SessionNode(0, None, scores[0], None)]
        for node_id in range(1, len(rows)):
            self.nodes.append(SessionNode.from_row(node_id, rows[node_id], scores[node_id]))
        self._discarded = {node_id for node_id, row in enumerate(rows) if row.get("discarded")}
        self.keep(current)


def unused_path(path: Path) -> Path:
    """Return the path, with the smallest number from 2 that makes it unused if it exists."""
    unused, number = path, 2
    while unused.exists():
        unused = path.with_name(f"{path.stem}-{number}{path.suffix}")
        number += 1
    return unused
