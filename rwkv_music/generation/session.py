"""A session: the tree of a prompt, its continuations, and their continuations.

Each node holds a score; its children are continuations of that score. Undo moves to the parent and
keeps the branch.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rwkv_music.atomic import write_atomic
from rwkv_music.errors import InputError, write_errors
from rwkv_music.generation.continuation import Continuation
from rwkv_music.old_names import SESSION_NODES, renamed

if TYPE_CHECKING:
    import symusic

_FILE = "session.json"


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


class Session:
    """A tree of scores, one of which is the current prompt.

    Args:
        prompt: The first score.

    Example:
        session = Session(load_score("prompt.mid"))
        nodes = session.add(continue_score(model, session.current.score), bars=4)
        session.keep(nodes[1].id)
        session.undo()
    """

    def __init__(self, prompt: "symusic.Score") -> None:
        self.nodes: list[SessionNode] = [SessionNode(0, None, prompt, None)]
        self._current = 0

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
        added = []
        for continuation in continuations:
            node = SessionNode(
                id=len(self.nodes),
                parent=self._current,
                score=continuation.score,
                continuation_start=continuation.continuation_start,
                new=continuation.new,
                settings={
                    **settings,
                    "seed": continuation.seed,
                    "nats": round(continuation.nats, 4),
                },
            )
            self.nodes.append(node)
            added.append(node)
        return added

    def keep(self, node_id: int) -> SessionNode:
        """Make a node the current prompt.

        Raises:
            InputError: If there is no such node.
        """
        if not 0 <= node_id < len(self.nodes):
            raise InputError(
                f"there is no node {node_id}: choose one of 0 to {len(self.nodes) - 1}"
            )
        self._current = node_id
        return self.current

    def undo(self) -> SessionNode:
        """Move to the parent node; do nothing at the first prompt."""
        if self.current.parent is not None:
            self._current = self.current.parent
        return self.current

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

    def save(self, folder: str | Path) -> Path:
        """Write the tree as one JSON file and one MIDI file per node."""
        from rwkv_music.score import save_score

        folder = Path(folder)
        rows = []
        for node in self.nodes:
            save_score(node.score, folder / f"node-{node.id}.mid")
            rows.append(
                {
                    "parent": node.parent,
                    "continuation_start": node.continuation_start,
                    "settings": node.settings,
                }
            )
        text = json.dumps({"current": self._current, "nodes": rows}, indent=1)
        with write_errors(folder / _FILE):
            write_atomic(folder / _FILE, (text + "\n").encode())
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> "Session":
        """Read a session that `save` wrote.

        Raises:
            InputError: If the folder holds no session.
        """
        from rwkv_music.score import bar_starts, load_score, take_bars

        folder = Path(folder)
        if not (folder / _FILE).exists():
            raise InputError(f"{folder} holds no session (no {_FILE}): check the path")
        stored = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        stored["nodes"] = [renamed(row, SESSION_NODES) for row in stored["nodes"]]
        session = cls(load_score(folder / "node-0.mid"))
        for node_id, row in enumerate(stored["nodes"][1:], start=1):
            score = load_score(folder / f"node-{node_id}.mid")
            starts, tick = bar_starts(score).tolist(), row["continuation_start"]
            has_new = tick in starts[:-1]
            new = take_bars(score, starts.index(tick), len(starts) - 1) if has_new else None
            node = SessionNode(node_id, row["parent"], score, tick, new, row["settings"])
            session.nodes.append(node)
        session.keep(stored["current"])
        return session


def unused_path(path: Path) -> Path:
    """Return the path, with the smallest number from 2 that makes it unused if it exists."""
    unused, number = path, 2
    while unused.exists():
        unused = path.with_name(f"{path.stem}-{number}{path.suffix}")
        number += 1
    return unused
