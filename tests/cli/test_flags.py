"""Settings in messages become flags, and flags of earlier versions the current ones."""

import argparse

import pytest

from rwkv_music.cli import build_parser
from rwkv_music.cli.flags import flag_of, with_current_names, with_flags
from rwkv_music.old_names import SETTINGS, TOKENIZER_SETTINGS
from rwkv_music.settings import settings_code

NAMES = {"batch_size", "precision", "carry_state", "augmentation", "corpus", "learning_rate"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("`batch_size` must be at least 1", "--batch-size must be at least 1"),
        ("try `batch_size=4, precision='bfloat16'`", "try --batch-size 4 --precision bfloat16"),
        (
            "with `carry_state=True` or `augmentation=False`",
            "with --carry-state or --no-augmentation",
        ),
        ("`corpus='my songs'` is gone", "--corpus 'my songs' is gone"),
        ("`learning_rate=0.001`", "--learning-rate 0.001"),
        ("`warmup_steps` of another command", "`warmup_steps` of another command"),
        ("`batch_size=4, warmup_steps=2`", "`batch_size=4, warmup_steps=2`"),
        ("a file `odd name.mid`, `", "a file `odd name.mid`, `"),
    ],
)
def test_settings_in_backticks_become_flags(text: str, expected: str) -> None:
    assert with_flags(text, NAMES) == expected


def test_what_settings_code_writes_is_understood() -> None:
    text = settings_code(corpus="it's; rm -rf", batch_size=8, augmentation=True)
    assert with_flags(text, NAMES) == "--corpus 'it'\"'\"'s; rm -rf' --batch-size 8 --augmentation"


def test_old_flags_are_replaced_up_to_a_double_dash() -> None:
    typed = ["train", "--track", "none", "--early-stop=3", "--", "--track"]
    assert with_current_names(typed) == [
        "train", "--logger", "none", "--early-stopping-patience=3", "--", "--track",
    ]  # fmt: skip


def test_no_current_flag_is_an_old_name() -> None:
    commands = next(
        action
        for action in build_parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    current = {
        flag
        for parser in commands.choices.values()
        for action in parser._actions
        for flag in action.option_strings
    }
    old = {flag_of(name) for name in (*SETTINGS, *TOKENIZER_SETTINGS)}
    assert "--batch-size" in current
    assert not current & old
