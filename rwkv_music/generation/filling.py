"""`fill_score`: write bars and parts of a score anew, in several versions.

Everything outside of these bars and parts comes back unchanged.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt16

from rwkv_music.errors import InputError
from rwkv_music.generation.constraints.constraints import Constraints
from rwkv_music.generation.constraints.keeping import Keep, keep_rule, kept_notes, restore_notes
from rwkv_music.generation.prompts.hole_prompt import HolePrompt
from rwkv_music.generation.prompts.hole_score import filled_score
from rwkv_music.generation.request.controls import Controls
from rwkv_music.generation.request.request import Request
from rwkv_music.generation.sampling.candidate import Candidate, TokenRule
from rwkv_music.generation.sampling.endings import EndOfHole
from rwkv_music.generation.sampling.engine import CandidateBatch
from rwkv_music.generation.sampling.prefill import PrefixState, as_array, prefill
from rwkv_music.generation.sampling.sampler import RandomStream
from rwkv_music.model import MusicModel, Style
from rwkv_music.tokenizer.holes import split_hole

if TYPE_CHECKING:
    import symusic

_MORE_ROUNDS = 3
"""So often silent versions are replaced."""


@dataclass(frozen=True)
class Filling:
    """One version of the bars and parts that were asked for."""

    score: "symusic.Score"
    """The score with the new music in it."""
    new: "symusic.Score"
    """The new music alone, beginning at tick 0, with the tracks of the score."""
    continuation_start: int
    """Tick at which the new music begins in `score`."""
    end: int
    """Tick at which it ends."""
    nats: float
    """Sum of -ln p over the sampled tokens, without mask and temperature."""
    tokens: UInt16[np.ndarray, " tokens"]
    """The whole stream: context, hole, EOS."""
    seed: int
    """The same call with this seed and `candidates=1` reproduces this version."""


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
    from rwkv_music.score import to_score

    request = Request(
        candidates=candidates,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        seed=seed,
        precision=precision,
        constraints=constraints or Constraints(),
    )
    if model.hole_fraction == 0:
        raise InputError(
            "this model was trained to continue music only: choose one that was trained with "
            "hole_fraction above 0"
        )
    prompt = HolePrompt.of(
        to_score(score), model.tokenizer, bars=bars, parts=parts, controls=controls
    )
    pieces = _versions(model, prompt, request, keep, style, should_stop)
    silent = [piece for piece in pieces if not piece.new.note_num()]
    for _ in range(_MORE_ROUNDS):
        if not silent or (should_stop is not None and should_stop()):
            break
        request = replace(request, candidates=len(silent), seed=request.seeds[-1] + 1)
        more = _versions(model, prompt, request, keep, style, should_stop)
        pieces = [piece for piece in pieces if piece.new.note_num()] + more
        silent = [piece for piece in more if not piece.new.note_num()]
    return pieces


def _versions(
    model: MusicModel,
    prompt: HolePrompt,
    request: Request,
    keep: Keep | None,
    style: Style | None,
    should_stop: Callable[[], bool] | None,
) -> list[Filling]:
    """Return one version for each seed of a request, without those that are not complete."""
    batch = begin_filling(model, prompt, request, keep=keep, style=style)
    for _ in batch.steps():
        if should_stop is not None and should_stop():
            break
    return [
        _filling(prompt, candidate, model, keep)
        for candidate in batch.candidates
        if candidate.is_complete
    ]


def begin_filling(
    model: MusicModel,
    prompt: HolePrompt,
    request: Request,
    *,
    keep: Keep | None = None,
    style: Style | None = None,
) -> CandidateBatch:
    """Read the context of a hole and return the candidates that fill it, before their first token.

    Raises:
        InputError: If the constraints cannot be met, or a note to keep is not there.
    """
    vocabulary = model.tokenizer.vocabulary
    rules: list[tuple[TokenRule, ...]] = [
        (prompt.rule(request.constraints),) for _ in request.seeds
    ]
    if keep is not None:
        rules = [
            (*rule, keep_rule(keep, prompt, seed, vocabulary))
            for rule, seed in zip(rules, request.seeds, strict=True)
        ]
    model.network.eval()
    decoder = model.decoder(request.precision)
    logits, state = prefill(decoder, prompt.ids, None if style is None else style.state(model))
    return CandidateBatch(
        decoder,
        PrefixState(as_array(logits)[0], state, prompt.grammar),
        [
            Candidate(
                prompt.grammar.copy(),
                RandomStream(seed),
                seed,
                rule,
                given_behind_bars=prompt.given_behind_bars,
            )
            for seed, rule in zip(request.seeds, rules, strict=True)
        ],
        EndOfHole(),
        request.sampling,
    )


def _filling(
    prompt: HolePrompt, candidate: Candidate, model: MusicModel, keep: Keep | None
) -> Filling:
    vocabulary = model.tokenizer.vocabulary
    tokens = np.array([*prompt.ids, *candidate.tokens, vocabulary.EOS], dtype=np.uint16)
    fill = split_hole(tokens, vocabulary).fill
    score, new = filled_score(prompt, fill, vocabulary)
    if keep is not None and not keep.rhythm:
        notes = kept_notes(keep, prompt, candidate.seed, vocabulary)
        restore_notes(score, notes, prompt, vocabulary)
    return Filling(score, new, prompt.start, prompt.end, candidate.nats, tokens, candidate.seed)
