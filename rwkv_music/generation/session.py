"""A session of prompting and continuing: a tree in which nothing is ever lost.

Each node is a score that was kept; its children are the continuations made of it. Undo goes to the
parent and leaves the branch where it is.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rwkv_music.atomic import write_atomic
from rwkv_music.errors import InputError
from rwkv_music.generation.continuation import Continuation
from rwkv_music.old_names import SESSION_NODES, renamed

if TYPE_CHECKING:
    import symusic

_FILE = "session.json"


@dataclass(frozen=True)
class SessionNode:
    """A score in the tree, with how it was made."""

    id: int
    parent: int | None
    score: "symusic.Score"
    continuation_start: int | None
    """Where the newest bars begin; None for the first prompt."""
    new: "symusic.Score | None" = None
    settings: dict[str, Any] = field(default_factory=dict)
    """Arguments of the call that made it, its seed and nats."""


class Session:
    """The tree, and the node that is the prompt now.

    Args:
        prompt: Where everything begins.

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
        """The node whose score is the prompt now."""
        return self.nodes[self._current]

    def add(self, continuations: Sequence[Continuation], **settings: Any) -> list[SessionNode]:  # noqa: ANN401
        """Put continuations of the current node into the tree; the prompt stays the same.

        Args:
            continuations: As `continue_score` made them.
            settings: Arguments of that call, to be shown and saved.

        Returns:
            Their nodes, in the same order.
        """
        added = []
        for piece in continuations:
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
        return added

    def keep(self, node_id: int) -> SessionNode:
        """Make a node the prompt.

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
        """Go back to the parent; at the first prompt nothing changes."""
        if self.current.parent is not None:
            self._current = self.current.parent
        return self.current

    def children(self, node_id: int) -> list[SessionNode]:
        """Continuations of a node, in the order they were made."""
        return [node for node in self.nodes if node.parent == node_id]

    def export(self, path: str | Path, *, part: Literal["all", "new"] = "all") -> Path:
        """Save the current score as MIDI; an existing file is never overwritten.

        Args:
            path: Where to; if it is taken, -2, -3 and so on is put before the ending.
            part: The whole score, or the newest bars only.

        Returns:
            The path written.

        Raises:
            InputError: If there are no new bars yet, or the place cannot be written to.
        """
        return self.export_node(self._current, path, part=part)

    def export_node(
        self, node_id: int, path: str | Path, *, part: Literal["all", "new"] = "all"
    ) -> Path:
        """Save any node's score as MIDI; see `export`."""
        from rwkv_music.score import save_score

        node = self.nodes[node_id]
        if part == "new" and node.new is None:
            raise InputError("nothing has been continued yet: there are no new bars to export")
        score = node.new if part == "new" and node.new is not None else node.score
        return save_score(score, unused_path(Path(path)))

    def save(self, folder: str | Path) -> Path:
        """Write the tree as one JSON file and a MIDI file per node."""
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
        write_atomic(folder / _FILE, (text + "\n").encode())
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> "Session":
        """Read a tree that `save` wrote.

        Raises:
            InputError: If the folder holds none.
        """
        from rwkv_music.score import bar_starts, load_score, take_bars

        folder = Path(folder)
        if not (folder / _FILE).exists():
            raise InputError(f"{folder} holds no session (no {_FILE}): check the path")
        stored = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        stored["nodes"] = [renamed(row, SESSION_NODES) for row in stored["nodes"]]
        session = cls(load_score(folder / "node-0.mid"))
        for place, row in enumerate(stored["nodes"][1:], start=1):
            score = load_score(folder / f"node-{place}.mid")
            lines = bar_starts(score).tolist()
            seam = row["continuation_start"]
            new = (
                take_bars(score, lines.index(seam), len(lines) - 1) if seam in lines[:-1] else None
            )
            node = SessionNode(place, row["parent"], score, seam, new, row["settings"])
            session.nodes.append(node)
        session.keep(stored["current"])
        return session


def unused_path(path: Path) -> Path:
    """The path, or with the smallest number from 2 on that makes it a new file."""
    number = 2
    free = path
    while free.exists():
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
        number += 1
    return free
