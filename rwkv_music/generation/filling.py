"""`fill_score`: write bars and parts of a score anew, in several versions.

Everything outside of these bars and parts comes back unchanged.
"""

from collections.abc import Callable, Sequence
from typing import Any

from rwkv_music.generation.constraints.constraints import Constraints
from rwkv_music.generation.hole_filling import Filling
from rwkv_music.generation.request.controls import Controls
from rwkv_music.generation.request.keep import Keep
from rwkv_music.generation.request.request import Request
from rwkv_music.generation.streaming import stream
from rwkv_music.model import MusicModel, Style


def fill_score(
    model: MusicModel,
    score: Any,  # noqa: ANN401 - whatever to_score takes
    *,
    bars: tuple[int, int],
    parts: Sequence[str | int] | None = None,
    candidates: int = 3,
    temperature: float = 1.0,
    top_p: float = 0.95,
    top_k: int | None = None,
    seed: int = 0,
    controls: Controls | None = None,
    constraints: Constraints | None = None,
    keep: Keep | None = None,
    precision: str = "auto",
    style: Style | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> list[Filling]:
    """Write bars and parts of a score anew; all else stays as it is.

    Args:
        model: A model that was trained with holes.
        score: The score, or what `to_score` converts: a path, a pretty_midi object, a music21
            stream.
        bars: First and last bar to write, counted from 1, both included; at most 8 bars.
        parts: Parts to write: names of tracks, General MIDI instruments, "drums", or indices of
            tracks. An instrument that the score does not have gets a new track. All parts when
            None.
        candidates: Number of versions.
        temperature: Logits are divided by it; 0 takes the most likely token each time.
        top_p: Sample from the most likely tokens that add up to this probability.
        top_k: Sample from this many of the most likely tokens; from all when None.
        seed: Seed of the first version; the others count up from it.
        controls: Soft wishes, which the model was trained to follow.
        constraints: Hard limits on the new notes; the defaults of `Constraints` when None.
        keep: What of the old music stays in these bars and parts: some notes, or the rhythm.
        precision: Precision of the model's matrices; see `continue_score`.
        style: Initial state from `load_style`.
        should_stop: Called after each token; True ends generation. Versions that are not complete
            are left out.

    Returns:
        The versions, in order of their seeds. One without a single note is replaced by the next
        seed's, a few times at most.

    Raises:
        InputError: If a number is out of range, the bars or parts are not in the score, nothing is
            left as context, the constraints leave nothing to write, or the model was trained
            without holes.

    Example:
        >>> for piece in fill_score(load_model(), "song.mid", bars=(5, 8), parts=["Bass"]):
        ...     save_score(piece.score, f"{piece.seed}.mid")  # doctest: +SKIP
    """
    request = Request(
        bars=bars,
        parts=parts,
        controls=controls,
        candidates=candidates,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        seed=seed,
        precision=precision,
        constraints=constraints or Constraints(),
        keep=keep,
    )
    events = stream(model, score, request, style=style)
    for _ in events:
        if should_stop is not None and should_stop():
            events.close()
    pieces = [piece for piece in events.results() if isinstance(piece, Filling)]
    return [piece for piece in pieces if piece.is_complete]
