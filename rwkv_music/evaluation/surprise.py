"""`surprise`: how unexpected every note of a score is to a model, in nats."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float64, Integer

from rwkv_music.model import MusicModel, Style
from rwkv_music.ops.cross_entropy import completion_nats
from rwkv_music.tokenizer import Tokenizer
from rwkv_music.tokenizer.parts import Part, parts_of
from rwkv_music.tokenizer.quantize import Grid
from rwkv_music.tokenizer.vocabulary import TokenType

if TYPE_CHECKING:
    import symusic

_CHUNK = 1024
"""Tokens that are read at once; the state carries over, so that it does not change the result."""
_EVENT_ENDS = (TokenType.DUR, TokenType.PED, TokenType.TEMPO, TokenType.DEN)
_KIND_OF_TYPE = {
    TokenType.BAR: "time",
    TokenType.BEAT: "time",
    TokenType.SUBBEAT: "time",
    TokenType.PART: "part",
    TokenType.PITCH: "pitch",
    TokenType.DRUM: "pitch",
    TokenType.VEL: "velocity",
    TokenType.DUR: "duration",
}
NoteRow = tuple[int, int, int, int, int]
"""Track, time, duration, pitch and velocity."""
KINDS = ("time", "part", "pitch", "velocity", "duration")
"""What a note's nats are made up of."""


class NoteSurprise(NamedTuple):
    """A note of the score, and the nats of its tokens."""

    track: int
    time: int
    duration: int
    pitch: int
    velocity: int
    nats: float
    """-ln p of the note: the sum of `by_kind`."""
    by_kind: dict[str, float]
    """Nats of each of `KINDS`. Position and part are counted at the first note they belong to."""


@dataclass(frozen=True)
class Surprise:
    """Nats of a whole score."""

    notes: tuple[NoteSurprise, ...]
    """Every note, in the order in which the model reads them."""
    nats: float
    """Sum over all tokens but the first: notes, header, pedals and the end."""
    num_tokens: int
    """Number of those tokens."""

    @property
    def nats_per_token(self) -> float:
        """The mean, as in the training loss."""
        return self.nats / self.num_tokens


def surprise(
    model: MusicModel,
    score: Any,  # noqa: ANN401 - whatever to_score takes
    *,
    style: Style | None = None,
) -> Surprise:
    """Return how unexpected every note of a score is to a model.

    Computed in float32, as the training loss of a float32 run.

    Args:
        model: A model with known tokenizer settings.
        score: A score, a path, a pretty_midi object or a music21 stream.
        style: Initial state from `load_style`.

    Raises:
        InputError: If the score cannot be read, or the model's tokenizer is unknown.

    Example:
        >>> notes = surprise(load_model("pop"), "song.mid").notes  # doctest: +SKIP
        >>> max(notes, key=lambda note: note.nats).time  # doctest: +SKIP
        1920
    """
    from rwkv_music.score import to_score

    score = to_score(score)
    tokenizer = model.tokenizer
    ids = tokenizer.encode(score)
    nats = token_nats(model, ids, style=style)
    rows = _note_rows(score, tokenizer)
    by_kind = _nats_of_notes(ids[1:], nats, tokenizer)
    notes = tuple(
        NoteSurprise(*row, nats=float(sum(kinds)), by_kind=dict(zip(KINDS, kinds, strict=True)))
        for row, kinds in zip(rows, by_kind.tolist(), strict=True)
    )
    return Surprise(notes, float(nats.sum()), len(nats))


@torch.inference_mode()
def token_nats(
    model: MusicModel, ids: Integer[np.ndarray, " tokens"], *, style: Style | None = None
) -> Float64[np.ndarray, " targets"]:
    """Return -ln p of every token of a stream but the first."""
    network = model.network
    was_training = network.training
    network.eval()
    tokens = torch.from_numpy(ids.astype(np.int64)).unsqueeze(0).to(model.device)
    state = None if style is None else style.state(model)
    nats = []
    try:
        for start in range(0, len(ids) - 1, _CHUNK):
            targets = tokens[:, start + 1 : start + 1 + _CHUNK]
            hidden, state = network.hidden(tokens[:, start : start + targets.shape[1]], state)
            is_scored = torch.ones_like(targets, dtype=torch.bool)
            nats.append(completion_nats(hidden, network.head.weight, targets, is_scored))
    finally:
        network.train(was_training)
    return np.asarray(torch.cat(nats).double().cpu().numpy())


def _nats_of_notes(
    targets: Integer[np.ndarray, " targets"],
    nats: Float64[np.ndarray, " targets"],
    tokenizer: Tokenizer,
) -> Float64[np.ndarray, "notes kinds"]:
    """Return the nats of each note by kind, in the order of the stream."""
    types = tokenizer.vocabulary.types_of(targets)
    ends = np.isin(types, _EVENT_ENDS).nonzero()[0]
    # Every token belongs to the event that ends next.
    owners = ends.searchsorted(np.arange(len(types)))
    sums = np.zeros((len(ends) + 1, len(KINDS)))
    for token_type, kind in _KIND_OF_TYPE.items():
        is_own = types == token_type
        np.add.at(sums[:, KINDS.index(kind)], owners[is_own], nats[is_own])
    return np.asarray(sums[:-1][types[ends] == TokenType.DUR])


def _note_rows(score: "symusic.Score", tokenizer: Tokenizer) -> list[NoteRow]:
    """Return (track, time, duration, pitch, velocity) of each note, in the order of the stream."""
    vocabulary = tokenizer.vocabulary
    grid = Grid(score.ticks_per_quarter, vocabulary.steps_per_quarter)
    rows = []
    for index, part in enumerate(parts_of(score, vocabulary.max_parts)):
        for step, row in _notes_of_part(part, grid):
            level = int(vocabulary.velocity_level(np.array([row[4]]))[0])
            rows.append(((step, index, row[3], level, row[2]), row))
    return [row for _, row in sorted(rows)]


def _notes_of_part(part: Part, grid: Grid) -> list[tuple[int, NoteRow]]:
    """Return the grid step and the row of each note of a part."""
    table = part.track.notes.numpy()
    steps = grid.round(table["time"].astype(np.int64)).tolist()
    columns = [table[name].tolist() for name in ("time", "duration", "pitch", "velocity")]
    rows: list[NoteRow] = [(part.tracks[0], *row) for row in zip(*columns, strict=True)]
    return list(zip(steps, rows, strict=True))
