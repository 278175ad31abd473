"""Settings that are declared once: functions that take them one by one have the same defaults."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from rwkv_music.generation import ContinuationSettings, SamplingSettings, continue_score
from rwkv_music.settings import declared_settings
from rwkv_music.tokenizer import Tokenizer, TokenizerSettings, Vocabulary


@pytest.mark.parametrize(
    ("function", "groups"),
    [
        (continue_score, (ContinuationSettings, SamplingSettings)),
        (Tokenizer, (TokenizerSettings,)),
        (Vocabulary, (TokenizerSettings,)),
    ],
)
def test_a_function_has_the_declared_defaults(
    function: Callable[..., Any], groups: tuple[type, ...]
) -> None:
    declared = {
        setting.name: setting.default for group in groups for setting in declared_settings(group)
    }
    parameters = inspect.signature(function).parameters
    assert {name: parameters[name].default for name in declared} == declared
