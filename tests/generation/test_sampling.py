"""Choosing a token, with numbers done by hand."""

import math
from collections import Counter

import pytest
import torch

from rwkv_music.errors import InputError
from rwkv_music.generation import SamplingSettings, sample_tokens

# Probabilities 1/2, 1/4, 1/8, 1/8.
LOGITS = torch.tensor([[math.log(8), math.log(4), math.log(2), math.log(2)]])
ALL = torch.ones(1, 4, dtype=torch.bool)


def draws(
    settings: SamplingSettings, allowed: torch.Tensor = ALL, number: int = 400
) -> Counter[int]:
    generator = torch.Generator().manual_seed(0)
    return Counter(
        int(sample_tokens(LOGITS, allowed, settings, [generator])[0]) for _ in range(number)
    )


def test_draws_follow_the_probabilities() -> None:
    counts = draws(SamplingSettings(top_p=1.0), number=4000)
    for token, share in enumerate((0.5, 0.25, 0.125, 0.125)):
        # Four standard deviations of a binomial count.
        assert abs(counts[token] - 4000 * share) < 4 * math.sqrt(4000 * share * (1 - share))


def test_top_p_keeps_tokens_until_their_sum_reaches_it() -> None:
    assert set(draws(SamplingSettings(top_p=0.5))) == {0}
    assert set(draws(SamplingSettings(top_p=0.51))) == {0, 1}
    assert set(draws(SamplingSettings(top_p=0.75))) == {0, 1}
    assert set(draws(SamplingSettings(top_p=0.76))) == {0, 1, 2}
    assert set(draws(SamplingSettings(top_p=1e-9))) == {0}


def test_top_k_keeps_the_likeliest() -> None:
    assert set(draws(SamplingSettings(top_p=1.0, top_k=2))) == {0, 1}


def test_what_is_not_allowed_is_never_drawn_and_gives_its_share_away() -> None:
    allowed = torch.tensor([[False, True, True, False]])
    counts = draws(SamplingSettings(top_p=1.0), allowed, 1200)
    assert set(counts) == {1, 2}
    assert abs(counts[1] - 800) < 4 * math.sqrt(1200 * 2 / 9)


def test_temperature_zero_takes_the_likeliest_that_is_allowed() -> None:
    settings = SamplingSettings(temperature=0.0)
    assert set(draws(settings, number=5)) == {0}
    assert set(draws(settings, torch.tensor([[False, True, True, True]]), 5)) == {1}


def test_a_low_temperature_sharpens_and_a_high_one_flattens() -> None:
    cold = draws(SamplingSettings(temperature=0.25, top_p=1.0))
    hot = draws(SamplingSettings(temperature=4.0, top_p=1.0))
    # At a quarter the odds of the first two are 16 to 1, at four they are 2 to the 1/4.
    assert cold[0] > 350
    assert hot[0] < 160


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": -1.0}, "temperature must be at least 0, got -1.0"),
        ({"temperature": math.nan}, "temperature must be at least 0, got nan"),
        ({"top_p": 0.0}, r"top_p must be in \(0, 1\], got 0.0"),
        ({"top_p": 1.5}, r"top_p must be in \(0, 1\], got 1.5"),
        ({"top_k": 0}, "top_k must be at least 1, or None for all, got 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SamplingSettings(**settings)
