"""A session: the tree of a score and of all that was made from it.

Each node holds a score; its children were made from it: bars were added, written anew, or taken
from another node. Undo moves to the parent and keeps the branch. What the model has read is kept,
so that nothing is read twice.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rwkv_music.errors import InputError
from rwkv_music.generation.continuation import Continuation
from rwkv_music.generation.hole_filling import Filling
from rwkv_music.generation.request.controls import Controls
from rwkv_music.generation.request.request import Request
from rwkv_music.generation.sampling.prefix_cache import PrefixCache
from rwkv_music.generation.session.accompaniment import accompaniments
from rwkv_music.generation.session.session_node import SessionNode, clear_tracks
from rwkv_music.generation.session.session_tree import SessionTree
from rwkv_music.generation.streaming import Stream
from rwkv_music.model import MusicModel, Style

if TYPE_CHECKING:
    import symusic


class Session(SessionTree):
    """A tree of scores, one of which is the current prompt, and a model that writes new ones.

    Args:
        model: The model that `generate` and `stream` use; it may be set later.
        prompt: The first score.

    Example:
        session = Session(load_model(), load_score("prompt.mid"))
        nodes = session.generate(Request(bars=4))  # four bars behind the end
        session.keep(nodes[1].id)
        session.generate(Request(bars=(5, 6), parts=["Bass"]))  # two bars of the bass anew
        session.undo()
        session.save("song.rwkvmusic")
    """

    def __init__(self, model: MusicModel | None, prompt: "symusic.Score") -> None:
        super().__init__(prompt)
        self.model = model
        self.prefixes = PrefixCache()
        """States of the model at the bar lines of what it has read."""

    @classmethod
    def load(cls, path: str | Path, model: MusicModel | None = None) -> "Session":
        """Read a session that `save` wrote.

        Args:
            path: The file or folder.
            model: The model that `generate` and `stream` use.

        Raises:
            InputError: If there is no session, or it is damaged.
        """
        import symusic

        session = cls(model, symusic.Score(480))
        session._read(Path(path))
        return session

    def add(
        self,
        pieces: Sequence[Continuation | Filling],
        *,
        node: int | None = None,
        **settings: Any,  # noqa: ANN401
    ) -> list[SessionNode]:
        """Add results as children of a node; the current node stays the same.

        Args:
            pieces: Results of `continue_score`, `fill_score` or a stream, made from that node.
            node: The node; the current one when None.
            settings: Arguments of that call, to be shown and saved.

        Returns:
            The new nodes, in the same order.

        Raises:
            InputError: If there is no such node.
        """
        parent = self.node(node).id
        added = [
            SessionNode(
                id=0,
                parent=parent,
                score=piece.score,
                continuation_start=piece.continuation_start,
                new=piece.new,
                end=piece.end if isinstance(piece, Filling) else None,
                settings={**settings, "seed": piece.seed, "nats": round(piece.nats, 4)},
            )
            for piece in pieces
        ]
        return self.add_nodes(added)

    def stream(
        self,
        request: Request | None = None,
        *,
        node: int | None = None,
        bar: int | None = None,
        style: Style | None = None,
    ) -> Stream:
        """Write music into a node's score as a stream; `add` its results to keep them.

        Args:
            request: What is asked for: bars to add, or bars and parts to write anew; the defaults
                of `Request` when None.
            node: The node; the current one when None.
            bar: Continue behind this many bars of it instead of at its end.
            style: Initial state from `load_style`.

        Raises:
            InputError: If the session has no model, there is no such node or bar, or as
                `continue_score` and `fill_score`.
        """
        from rwkv_music.score import num_bars, take_bars

        score, request = self.node(node).score, request or Request()
        if bar is not None:
            if not isinstance(request.bars, int):
                raise InputError(
                    f"bar is {bar}, but bars {request.bars} are to be written: give one"
                )
            if not 1 <= bar <= num_bars(score):
                raise InputError(f"bar must be in [1, {num_bars(score)}], got {bar}")
            score = take_bars(score, 0, bar)
        return self._begin(score, request, style)

    def generate(
        self,
        request: Request | None = None,
        *,
        node: int | None = None,
        bar: int | None = None,
        style: Style | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> list[SessionNode]:
        """Write music into a node's score and add the candidates as its children.

        Args:
            request: As for `stream`, like the further arguments and errors.
            node: The node; the current one when None.
            bar: Continue behind this many bars of it instead of at its end.
            style: Initial state from `load_style`.
            should_stop: Called after each event; True ends generation. The bars that are complete
                are kept.
        """
        request = request or Request()
        events = self.stream(request, node=node, bar=bar, style=style)
        for _ in events:
            if should_stop is not None and should_stop():
                events.close()
        pieces = [piece for piece in events.results() if piece.num_bars]
        behind = {} if bar is None else {"behind_bar": bar}
        return self.add(pieces, node=node, **{**request.settings, **behind})

    def fill(
        self,
        *,
        bars: tuple[int, int],
        parts: Sequence[str | int] | None = None,
        node: int | None = None,
        style: Style | None = None,
        should_stop: Callable[[], bool] | None = None,
        **settings: Any,  # noqa: ANN401 - those of Request
    ) -> list[SessionNode]:
        """Write bars and parts of a node anew: `generate` with a `Request` of these arguments.

        Example:
            session.fill(bars=(5, 8), parts=["Bass"], keep=Keep(share=0.7))
        """
        request = Request(bars=bars, parts=parts, **settings)
        return self.generate(request, node=node, style=style, should_stop=should_stop)

    def vary(
        self,
        bars: tuple[int, int],
        *,
        parts: Sequence[str | int] | None = None,
        node: int | None = None,
        **settings: Any,  # noqa: ANN401 - those of Request
    ) -> list[SessionNode]:
        """Write bars of a node anew, similar to the bars around them; arguments as for `Request`.

        Raises:
            InputError: As `generate`.
        """
        controls = Controls(similarity="vary")
        request = Request(bars=bars, parts=parts, controls=controls, **settings)
        return self.generate(request, node=node)

    def accompany(
        self,
        parts: Sequence[str | int],
        *,
        bars: tuple[int, int] | None = None,
        node: int | None = None,
        style: Style | None = None,
        should_stop: Callable[[], bool] | None = None,
        **settings: Any,  # noqa: ANN401 - those of Request
    ) -> list[SessionNode]:
        """Write parts through many bars of a node's score: those that it has, or new instruments.

        Each candidate is written eight bars at a time, and reads what it has written before.

        Args:
            parts: As for `Request`.
            bars: First and last bar, counted from 1; all bars when None.
            node: The node; the current one when None.
            style: Initial state from `load_style`.
            should_stop: Called after each event; True ends generation. Candidates with at least one
                complete bar are kept.
            settings: Further arguments of `Request`.

        Raises:
            InputError: As `generate`.
        """
        from rwkv_music.score import num_bars
        from rwkv_music.score.editing import take_ticks

        parent = self.node(node)
        span = (1, num_bars(parent.score)) if bars is None else bars
        request = Request(bars=span, parts=parts, **settings)

        def begin(score: "symusic.Score", single: Request) -> Stream:
            return self._begin(score, single, style)

        versions = accompaniments(
            begin, parent.score, parts, span, request, should_stop or (lambda: False)
        )
        nodes: list[SessionNode] = []
        for version in versions:
            new = take_ticks(version.score, version.start, version.end)
            clear_tracks(new, set(range(len(new.tracks))) - version.tracks)
            own = {**request.settings, "seed": version.seed, "nats": round(version.nats, 4)}
            nodes.append(
                SessionNode(0, parent.id, version.score, version.start, new, own, version.end)
            )
        return self.add_nodes(nodes)

    def _begin(self, score: "symusic.Score", request: Request, style: Style | None) -> Stream:
        if self.model is None:
            raise InputError("the session has no model: set session.model = load_model(...)")
        return Stream(self.model, score, request, style=style, prefixes=self.prefixes)
