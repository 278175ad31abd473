"""Candidates that fill a hole, and the scores that they make."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt16

from rwkv_music.errors import InputError
from rwkv_music.generation.constraints.edge_rule import EdgeRule
from rwkv_music.generation.constraints.keeping import keep_rule, kept_notes, restore_notes
from rwkv_music.generation.prompts.hole_prompt import HolePrompt
from rwkv_music.generation.prompts.hole_score import filled_score
from rwkv_music.generation.request.keep import Keep
from rwkv_music.generation.request.request import Request
from rwkv_music.generation.sampling.candidate import Candidate, TokenRule
from rwkv_music.generation.sampling.endings import EndOfHole
from rwkv_music.generation.sampling.engine import CandidateBatch
from rwkv_music.generation.sampling.prefill import PrefixState, as_array, prefill
from rwkv_music.generation.sampling.prefix_cache import PrefixCache
from rwkv_music.generation.sampling.sampler import RandomStream
from rwkv_music.model import MusicModel, Style
from rwkv_music.tokenizer.holes import split_hole

if TYPE_CHECKING:
    import symusic


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
    """The whole stream: context, hole, EOS. Bars that are not complete are empty."""
    seed: int
    """The same call with this seed and `candidates=1` reproduces this version."""
    num_bars: int = 0
    """Number of bars that are written."""
    is_complete: bool = True
    """Whether all bars that were asked for are written."""
    removed: tuple[float, ...] = ()
    """For each token, the probability of what the grammar allowed and the constraints did not."""


def begin_filling(
    model: MusicModel,
    prompt: HolePrompt,
    request: Request,
    *,
    style: Style | None = None,
    prefixes: PrefixCache | None = None,
) -> CandidateBatch:
    """Read the context of a hole and return the candidates that fill it, before their first token.

    Args:
        model: A model that was trained with holes.
        prompt: What is asked for.
        request: How to sample, and under which limits.
        style: Initial state.
        prefixes: Knows what was read before.

    Raises:
        InputError: If the constraints cannot be met, a note to keep is not there, or the model was
            trained without holes.
    """
    if model.hole_fraction == 0:
        raise InputError(
            "this model can only continue music: choose another, such as 'general', to rewrite or "
            "fill bars"
        )
    rules: list[tuple[TokenRule, ...]] = [
        (prompt.rule(request.constraints),) for _ in request.seeds
    ]
    if request.keep is not None:
        vocabulary = model.tokenizer.vocabulary
        rules = [
            (*rule, keep_rule(request.keep, prompt, seed, vocabulary))
            for rule, seed in zip(rules, request.seeds, strict=True)
        ]
    if prompt.edges:
        edge = EdgeRule(prompt.edges, first_bar=prompt.first_bar)
        rules = [(*rule, edge) for rule in rules]
    model.network.eval()
    decoder = model.decoder(request.precision)
    start = None if style is None else style.state(model)
    if prefixes is None:
        logits, state = prefill(decoder, prompt.ids, start)
        prefix = PrefixState(as_array(logits)[0], state, prompt.grammar)
    else:
        prefix = prefixes.read(decoder, prompt.ids, prompt.grammar, start)
    return CandidateBatch(
        decoder,
        prefix,
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


def as_filling(prompt: HolePrompt, candidate: Candidate, keep: Keep | None = None) -> Filling:
    """Return the score with what a candidate has written.

    Args:
        prompt: What was asked for.
        candidate: May be incomplete: a bar that is not complete, and those behind it, stay as they
            are in the score.
        keep: What of the old music stays.
    """
    grammar = candidate.grammar
    vocabulary = grammar.vocabulary
    count, num_bars = len(candidate.tokens), prompt.num_bars
    if not candidate.is_complete:
        num_bars = grammar.bars - prompt.first_bar
        count = max(
            (i for i, token in enumerate(candidate.tokens) if token == vocabulary.BAR), default=0
        )
    tokens = prompt.whole_stream(candidate.tokens[:count])
    removed = np.zeros(len(tokens))
    removed[len(prompt.ids) :][:count] = candidate.removed[:count]
    written = prompt if candidate.is_complete else prompt.up_to(grammar.bar_start)
    score, new = filled_score(written, split_hole(tokens, vocabulary).fill, vocabulary)
    if keep is not None and not keep.rhythm:
        notes = kept_notes(keep, prompt, candidate.seed, vocabulary)
        restore_notes(score, [note for note in notes if note.bar < num_bars], prompt, vocabulary)
    return Filling(
        score,
        new,
        written.start,
        written.end,
        sum(candidate.token_nats[:count]),
        tokens,
        candidate.seed,
        num_bars,
        candidate.is_complete,
        tuple(removed.tolist()),
    )
