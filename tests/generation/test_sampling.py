"""Choosing a token, with numbers done by hand, and against torch.multinomial."""

import math
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import torch

from rwkv_music.errors import InputError
from rwkv_music.generation import SamplingSettings
from rwkv_music.generation.sampling.sampler import (
    Choices,
    RandomStream,
    TokenSampler,
    sample_in_numpy,
)

# Probabilities 1/2, 1/4, 1/8, 1/8.
LOGITS = np.log(np.array([[8, 4, 2, 2]], dtype=np.float32))
ALL = np.ones((1, 4), dtype=bool)
VOCABULARY = 300

Sample = Callable[..., Choices]


def sample_with_library(
    logits: np.ndarray,
    legal: np.ndarray,
    allowed: np.ndarray,
    settings: SamplingSettings,
    streams: list[RandomStream],
    given: list[int] | None = None,
) -> Choices:
    sampler = TokenSampler(settings, streams, logits.shape[1])
    sampler.legal[:], sampler.allowed[:] = legal, allowed
    return sampler.sample(logits, given)


both = pytest.mark.parametrize("sample", [sample_with_library, sample_in_numpy])


def draws(
    sample: Sample, settings: SamplingSettings, allowed: np.ndarray = ALL, number: int = 400
) -> Counter[int]:
    streams = [RandomStream(0)]
    return Counter(sample(LOGITS, ALL, allowed, settings, streams).tokens[0] for _ in range(number))


def random_case(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits, legal and allowed tokens of five candidates."""
    rng = np.random.default_rng(seed)
    logits = (4 * rng.standard_normal((5, VOCABULARY))).astype(np.float32)
    legal = rng.random((5, VOCABULARY)) < rng.choice([0.01, 0.2, 1.0])
    legal[:, seed % VOCABULARY] = True
    allowed = legal & (rng.random((5, VOCABULARY)) < 0.7)
    allowed[:, seed % VOCABULARY] = True
    return logits, legal, allowed


def sampled_by_torch(
    logits: np.ndarray,
    allowed: np.ndarray,
    settings: SamplingSettings,
    generators: list[torch.Generator],
) -> list[int]:
    """Choose in the plain way: softmax, sort, cumulative sum, multinomial over the vocabulary."""
    masked = torch.from_numpy(logits).masked_fill(~torch.from_numpy(allowed), -torch.inf)
    probabilities = torch.softmax(masked / settings.temperature, dim=-1)
    ordered, ids = probabilities.sort(dim=-1, descending=True, stable=True)
    kept = ordered.cumsum(-1) - ordered < settings.top_p
    if settings.top_k is not None:
        kept[:, settings.top_k :] = False
    return [
        int(row_ids[torch.multinomial(row, 1, generator=generator)])
        for row, row_ids, generator in zip(ordered * kept, ids, generators, strict=True)
    ]


@both
@pytest.mark.parametrize(
    "settings",
    [
        SamplingSettings(),
        SamplingSettings(top_p=1.0, temperature=1.3),
        SamplingSettings(top_p=0.5, top_k=3, temperature=0.7),
    ],
)
def test_choices_are_those_of_torch_with_the_same_seeds(
    sample: Sample, settings: SamplingSettings
) -> None:
    seeds = [0, 1, 7, 2**31 + 5, 2**32 + 1]
    streams = [RandomStream(seed) for seed in seeds]
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    for case in range(60):
        logits, legal, allowed = random_case(case)
        chosen = sample(logits, legal, allowed, settings, streams)
        assert chosen.tokens == sampled_by_torch(logits, allowed, settings, generators)


@both
def test_nats_ignore_the_masks_and_removed_counts_what_they_exclude(sample: Sample) -> None:
    allowed = np.array([[False, True, True, False]])
    legal = np.array([[True, True, True, False]])
    settings = SamplingSettings(temperature=0)
    chosen = sample(LOGITS, legal, allowed, settings, [RandomStream(0)])
    assert chosen.tokens == [1]
    assert chosen.nats == pytest.approx([math.log(4)], rel=1e-6)
    # Of 1/2 + 1/4 + 1/8 the first is excluded.
    assert chosen.removed == pytest.approx([4 / 7], rel=1e-6)
    assert sample(LOGITS, legal, legal, settings, [RandomStream(0)]).removed == [0.0]


@both
def test_a_given_token_uses_no_random_numbers(sample: Sample) -> None:
    stream = RandomStream(3)
    before = stream.words.copy()
    chosen = sample(LOGITS, ALL, ALL, SamplingSettings(), [stream], [2])
    assert chosen.tokens == [2]
    assert chosen.nats == pytest.approx([math.log(8)], rel=1e-6)
    np.testing.assert_array_equal(stream.words, before)


@both
def test_allowed_tokens_may_be_very_unlikely(sample: Sample) -> None:
    logits = np.array([[0, -200, -201, 0]], dtype=np.float32)
    allowed = np.array([[False, True, True, False]])
    streams = [RandomStream(1)]
    settings = SamplingSettings(top_p=1.0)
    counts = Counter(sample(logits, ALL, allowed, settings, streams).tokens[0] for _ in range(400))
    # Their odds are e to 1.
    assert abs(counts[1] - 400 * 0.731) < 4 * math.sqrt(400 * 0.731 * 0.269)


@both
def test_draws_follow_the_probabilities(sample: Sample) -> None:
    counts = draws(sample, SamplingSettings(top_p=1.0), number=4000)
    for token, share in enumerate((0.5, 0.25, 0.125, 0.125)):
        # Four standard deviations of a binomial count.
        assert abs(counts[token] - 4000 * share) < 4 * math.sqrt(4000 * share * (1 - share))


@both
def test_top_p_keeps_tokens_until_their_sum_reaches_it(sample: Sample) -> None:
    assert set(draws(sample, SamplingSettings(top_p=0.5))) == {0}
    assert set(draws(sample, SamplingSettings(top_p=0.51))) == {0, 1}
    assert set(draws(sample, SamplingSettings(top_p=0.75))) == {0, 1}
    assert set(draws(sample, SamplingSettings(top_p=0.76))) == {0, 1, 2}
    assert set(draws(sample, SamplingSettings(top_p=1e-9))) == {0}


@both
def test_top_k_keeps_the_likeliest(sample: Sample) -> None:
    assert set(draws(sample, SamplingSettings(top_p=1.0, top_k=2))) == {0, 1}


@both
def test_what_is_not_allowed_is_never_drawn_and_gives_its_share_away(sample: Sample) -> None:
    allowed = np.array([[False, True, True, False]])
    counts = draws(sample, SamplingSettings(top_p=1.0), allowed, 1200)
    assert set(counts) == {1, 2}
    assert abs(counts[1] - 800) < 4 * math.sqrt(1200 * 2 / 9)


@both
def test_temperature_zero_takes_the_likeliest_that_is_allowed(sample: Sample) -> None:
    settings = SamplingSettings(temperature=0.0)
    assert set(draws(sample, settings, number=5)) == {0}
    assert set(draws(sample, settings, np.array([[False, True, True, True]]), 5)) == {1}


@both
def test_a_low_temperature_sharpens_and_a_high_one_flattens(sample: Sample) -> None:
    cold = draws(sample, SamplingSettings(temperature=0.25, top_p=1.0))
    hot = draws(sample, SamplingSettings(temperature=4.0, top_p=1.0))
    # At a quarter the odds of the first two are 16 to 1, at four they are 2 to the 1/4.
    assert cold[0] > 350
    assert hot[0] < 160


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": -1.0}, "`temperature` must be at least 0, got -1.0"),
        ({"temperature": math.nan}, "`temperature` must be at least 0, got nan"),
        ({"top_p": 0.0}, r"`top_p` must be in \(0, 1\], got 0.0"),
        ({"top_p": 1.5}, r"`top_p` must be in \(0, 1\], got 1.5"),
        ({"top_k": 0}, "`top_k` must be at least 1, got 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SamplingSettings(**settings)
