"""Setting names as command-line flags, in messages and in what users type.

The library writes settings as Python code in backticks (`batch_size=4`, see
`rwkv_music.settings`); only this module knows how the command line spells them.
"""

import ast
import contextlib
import re
import shlex
from collections.abc import Container, Sequence

from rwkv_music.old_names import SETTINGS, TOKENIZER_SETTINGS

_VALUE = r"'[^'`]*'|\"[^\"`]*\"|[^,`'\"\s]+"
_SETTING = rf"[a-z]\w*(?:=(?:{_VALUE}))?"
_CODE = re.compile(rf"`({_SETTING}(?:, {_SETTING})*)`")
_ASSIGNMENT = re.compile(rf"([a-z]\w*)(?:=({_VALUE}))?(?:, )?")


def flag_of(name: str) -> str:
    """Return the flag of a setting: "--batch-size" for "batch_size"."""
    return f"--{name.replace('_', '-')}"


def with_flags(text: str, names: Container[str]) -> str:
    """Replace settings in backticks by their flags.

    Args:
        text: A message of the library.
        names: Settings that have a flag; others stay as they are.

    Example:
        >>> with_flags("try `precision='bfloat16', carry_state=True`", {"precision", "carry_state"})
        'try --precision bfloat16 --carry-state'
    """

    def replaced(code: re.Match[str]) -> str:
        assignments = _ASSIGNMENT.findall(code[1])
        if not all(name in names for name, _ in assignments):
            return code[0]
        return " ".join(_flag_with_value(name, value) for name, value in assignments)

    return _CODE.sub(replaced, text)


def _flag_with_value(name: str, value: str) -> str:
    flag = flag_of(name)
    if value in ("", "True"):
        return flag
    if value == "False":
        return flag_of(f"no_{name}")
    with contextlib.suppress(ValueError, SyntaxError):  # what is no literal is shown as written
        value = str(ast.literal_eval(value))
    return f"{flag} {shlex.quote(value)}"


def with_current_names(arguments: Sequence[str]) -> list[str]:
    """Replace the flags of earlier versions by the current ones, up to a "--"."""
    names = {**SETTINGS, **TOKENIZER_SETTINGS}
    current = {flag_of(old): flag_of(new) for old, new in names.items()}
    renamed: list[str] = []
    for position, argument in enumerate(arguments):
        if argument == "--":
            return renamed + list(arguments[position:])
        flag, equals, value = argument.partition("=")
        renamed.append(f"{current.get(flag, flag)}{equals}{value}")
    return renamed
