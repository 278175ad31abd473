"""`continue_score`: add bars to a score, in several versions.

The prompt's notes are returned unchanged; the new bars begin at a bar line.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt16

from rwkv_music.generation.constraints.constraints import Constraints
from rwkv_music.generation.prompts.prompt import Prompt
from rwkv_music.generation.request.request import Request
from rwkv_music.generation.sampling.candidate import Candidate
from rwkv_music.generation.sampling.endings import BarsBehind
from rwkv_music.generation.sampling.engine import CandidateBatch
from rwkv_music.generation.sampling.prefill import PrefixState, as_array, prefill
from rwkv_music.generation.sampling.prefix_cache import PrefixCache
from rwkv_music.generation.sampling.sampler import RandomStream
from rwkv_music.model import MusicModel, Style
from rwkv_music.tokenizer import Vocabulary

if TYPE_CHECKING:
    import symusic


@dataclass(frozen=True)
class Continuation:
    """One continuation of a prompt."""

    score: "symusic.Score"
    """The prompt followed by the new bars."""
    new: "symusic.Score"
    """The new bars alone, beginning at tick 0."""
    continuation_start: int
    """Tick at which the new bars begin in `score`."""
    nats: float
    """Sum of -ln p over the new tokens, without mask and temperature."""
    tokens: UInt16[np.ndarray, " tokens"]
    """The new tokens, beginning with BAR."""
    seed: int
    """The same call with this seed and `candidates=1` reproduces this continuation."""
    removed: tuple[float, ...] = ()
    """For each token, the probability of what the grammar allowed and the constraints did not."""

    @property
    def num_bars(self) -> int:
        """Number of new bars."""
        return int((self.tokens == Vocabulary.BAR).sum())


def continue_score(
    model: MusicModel,
    score: Any,  # noqa: ANN401 - whatever to_score takes
    *,
    bars: int = 4,
    candidates: int = 3,
    temperature: float = 1.0,
    top_p: float = 0.95,
    top_k: int | None = None,
    seed: int = 0,
    constraints: Constraints | None = None,
    precision: str = "auto",
    style: Style | None = None,
    on_bar: Callable[[int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> list[Continuation]:
    """Continue a score by whole bars.

    Args:
        model: A model with known tokenizer settings, such as `load_model` returns.
        score: The prompt: a score, a path, a pretty_midi object or a music21 stream. If it ends
            inside a bar, the continuation begins at the next bar line.
        bars: Number of bars to add.
        candidates: Number of continuations, generated in one batch.
        temperature: Logits are divided by it; 0 takes the most likely token each time.
        top_p: Sample from the most likely tokens that add up to this probability.
        top_k: Sample from this many of the most likely tokens; from all when None.
        seed: Seed of the first candidate; the others count up from it. A candidate does not depend
            on the number of candidates.
        constraints: Hard limits; the defaults of `Constraints` when None, `Constraints.free()` for
            none.
        precision: Precision of the model's matrices: "float32", or the faster "bfloat16" and
            "int8", which change the logits slightly (see `Decoder`). "auto" is bfloat16 on devices
            that are fast with it, and float32 elsewhere.
        style: Initial state from `load_style`; `style.scaled` sets its strength.
        on_bar: Called after each step with the number of new bars that every candidate has
            completed.
        should_stop: Called after each token; True ends generation with the tokens so far.

    Returns:
        The candidates, in order of their seeds.

    Raises:
        InputError: If a number is out of range, the prompt cannot be read, the constraints leave
            nothing to write, or the model's tokenizer is unknown.

    Example:
        >>> for piece in continue_score(load_model("bach"), "prompt.mid", bars=2):
        ...     save_score(piece.score, f"{piece.seed}.mid")  # doctest: +SKIP
    """
    from rwkv_music.score import to_score

    request = Request(
        bars=bars,
        candidates=candidates,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        seed=seed,
        precision=precision,
        constraints=constraints or Constraints(),
    )
    prompt = Prompt(to_score(score), model.tokenizer)
    batch = begin(model, prompt, request, style=style)
    for _ in batch.steps():
        if on_bar is not None:
            on_bar(
                min(candidate.grammar.bars for candidate in batch.candidates)
                - prompt.grammar.bars
                - 1
            )
        if should_stop is not None and should_stop():
            break
    return [as_continuation(prompt, candidate) for candidate in batch.candidates]


def begin(
    model: MusicModel,
    prompt: Prompt,
    request: Request,
    *,
    style: Style | None = None,
    prefixes: PrefixCache | None = None,
) -> CandidateBatch:
    """Read a prompt and return the candidates that continue it, before their first token.

    Args:
        model: A model with known tokenizer settings.
        prompt: The prompt.
        request: What is asked for.
        style: Initial state.
        prefixes: Knows what was read before, and keeps the states at new bar lines.

    Raises:
        InputError: If the constraints cannot be met.
    """
    assert isinstance(request.bars, int)
    rule = [prompt.rule(request.constraints, request.bars) for _ in request.seeds]
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
            Candidate(prompt.grammar.copy(), RandomStream(seed), seed, (own,))
            for seed, own in zip(request.seeds, rule, strict=True)
        ],
        BarsBehind(prompt.grammar.bars + request.bars),
        request.sampling,
        first=prompt.grammar.vocabulary.BAR,
        on_bar_line=None if prefixes is None else prefixes.recorder(prompt.ids, start),
    )


def as_continuation(
    prompt: Prompt, candidate: Candidate, *, whole_bars: bool = False
) -> Continuation:
    """Return the prompt continued by a candidate's tokens.

    Args:
        prompt: What was continued.
        candidate: May be incomplete.
        whole_bars: Whether to leave out a last bar that is not complete.
    """
    from rwkv_music.score import splice

    count, end = len(candidate.tokens), candidate.grammar.bar_end
    if whole_bars and not candidate.is_complete and count:
        count -= candidate.tokens_in_bar + 1
        end = candidate.grammar.bar_start
    tokens = np.array(candidate.tokens[:count], dtype=np.uint16)
    new = prompt.new_bars(tokens, end=end)
    return Continuation(
        score=splice(prompt.score, new, prompt.continuation_start),
        new=new,
        continuation_start=prompt.continuation_start,
        nats=sum(candidate.token_nats[:count]),
        tokens=tokens,
        seed=candidate.seed,
        removed=tuple(candidate.removed[:count]),
    )
