"""Settings that are declared once: name, type, default, range, choices, help and group.

A group of settings is a frozen dataclass that derives from `SettingsGroup` and whose fields are
made by `setting`. The checks, the command line's options, forms and the tables of the
documentation are generated from `declared_settings`.

Error messages write a setting in backticks, as Python code (`settings_code`); the command line
prints such code as its own flags.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from numbers import Integral, Real
from types import MappingProxyType
from typing import Any, get_args, get_type_hints

from rwkv_music.errors import InputError

Choices = tuple[str, ...] | tuple[int, ...]

_KEY = "setting"
_TYPE_NAMES = {bool: "True or False", int: "a whole number", float: "a number", str: "a string"}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Range of a numeric setting; a bound of None is open."""

    above: float | None = None
    minimum: float | None = None
    below: float | None = None
    maximum: float | None = None
    multiple_of: int | None = None

    def allow(self, value: float) -> bool:
        """Whether a value is in the range."""
        return (
            math.isfinite(value)
            and (self.above is None or value > self.above)
            and (self.minimum is None or value >= self.minimum)
            and (self.below is None or value < self.below)
            and (self.maximum is None or value <= self.maximum)
            and (self.multiple_of is None or value % self.multiple_of == 0)
        )

    def __str__(self) -> str:
        """The range in words, such as "at least 1" or "in (0, 1]"; empty without limits."""
        low = self.above if self.above is not None else self.minimum
        high = self.below if self.below is not None else self.maximum
        words = ""
        if low is not None and high is not None:
            opening = "(" if self.above is not None else "["
            closing = ")" if self.below is not None else "]"
            words = f"in {opening}{low:g}, {high:g}{closing}"
        elif low is not None:
            words = f"{'above' if self.above is not None else 'at least'} {low:g}"
        elif high is not None:
            words = f"{'below' if self.below is not None else 'at most'} {high:g}"
        if self.multiple_of is not None:
            words += f"{' and ' if words else ''}a multiple of {self.multiple_of}"
        return words


@dataclass(frozen=True, kw_only=True)
class _Declaration:
    """What `setting` keeps in the metadata of a dataclass field."""

    help: str
    limits: Limits
    choices: Choices
    synonyms: Mapping[str, str]
    metavar: str | None


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One declared setting."""

    name: str
    type: type
    """bool, int, float or str."""
    is_optional: bool
    """Whether None is a value: "choose for me"."""
    default: Any
    """None if the setting is required."""
    is_required: bool
    help: str
    """One or two sentences in plain text, without the default."""
    group: str
    """Name of the group's attribute in the configuration; empty where there are no groups."""
    limits: Limits
    choices: Choices
    synonyms: Mapping[str, str]
    """Short spellings of choices, such as "bf16" for "bfloat16"."""
    metavar: str | None
    """Placeholder for the value on the command line."""

    def check(self, value: Any) -> Any:  # noqa: ANN401 - whatever a user hands over
        """Return a value in the setting's own type.

        Raises:
            InputError: If the type is wrong, or the value out of range or not one of the choices.
        """
        if value is None and self.is_optional:
            return None
        value = self._converted(value)
        value = self.synonyms.get(value, value) if self.synonyms else value
        if self.choices and value not in self.choices:
            choices = ", ".join(map(repr, self.choices))
            raise InputError(f"`{self.name}` must be one of {choices}, got {value!r}")
        if self.type in (int, float) and not self.limits.allow(value):
            limits = str(self.limits) or "a finite number"
            raise InputError(f"`{self.name}` must be {limits}, got {value}")
        return value

    def _converted(self, value: Any) -> Any:  # noqa: ANN401
        is_bool = isinstance(value, bool)
        if self.type is bool and is_bool:
            return value
        if self.type is int and isinstance(value, Integral) and not is_bool:
            return int(value)
        if self.type is float and isinstance(value, Real) and not is_bool:
            return float(value)
        if self.type is str and isinstance(value, str | os.PathLike):
            return os.fspath(value)
        raise InputError(f"`{self.name}` must be {_TYPE_NAMES[self.type]}, got {value!r}")

    def parse(self, text: str) -> Any:  # noqa: ANN401
        """Return the value that a text stands for, as typed on a command line.

        Raises:
            InputError: As in `check`.
        """
        value: Any = text
        if self.type in (int, float):
            try:
                value = self.type(text)
            except ValueError:
                type_name = _TYPE_NAMES[self.type]
                raise InputError(f"`{self.name}` must be {type_name}, got '{text}'") from None
        return self.check(value)


def setting(
    default: Any = MISSING,  # noqa: ANN401
    *,
    help: str,  # noqa: A002 - the word argparse uses
    above: float | None = None,
    minimum: float | None = None,
    below: float | None = None,
    maximum: float | None = None,
    multiple_of: int | None = None,
    choices: Choices = (),
    synonyms: Mapping[str, str] | None = None,
    metavar: str | None = None,
) -> Any:  # noqa: ANN401 - as dataclasses.field
    """Declare a setting as a field of a dataclass.

    Args:
        default: Its default; without one the setting is required.
        help: What it does, in one or two sentences.
        above: Exclusive lower bound.
        minimum: Inclusive lower bound.
        below: Exclusive upper bound.
        maximum: Inclusive upper bound.
        multiple_of: What the value must be divisible by.
        choices: Allowed values of a string or a whole number.
        synonyms: Other spellings of choices.
        metavar: Placeholder for the value on the command line.
    """
    limits = Limits(
        above=above, minimum=minimum, below=below, maximum=maximum, multiple_of=multiple_of
    )
    declaration = _Declaration(
        help=help,
        limits=limits,
        choices=choices,
        synonyms=MappingProxyType(dict(synonyms or {})),
        metavar=metavar,
    )
    return field(default=default, metadata={_KEY: declaration})


def same_setting(group: type, name: str) -> Any:  # noqa: ANN401 - as dataclasses.field
    """Declare a setting of another group in this one too.

    Args:
        group: The group that declares it.
        name: Its name, in both groups.
    """
    [entry] = [entry for entry in fields(group) if entry.name == name]
    return field(default=entry.default, metadata=entry.metadata)


class SettingsGroup:
    """Base of dataclasses whose fields are settings: checks them when an instance is made.

    Raises:
        InputError: If a value has the wrong type, is out of range or not one of the choices.
    """

    __slots__ = ()

    def __post_init__(self) -> None:
        for declared in declared_settings(type(self)):
            object.__setattr__(self, declared.name, declared.check(getattr(self, declared.name)))


def declared_settings(group: type, name: str = "") -> tuple[Setting, ...]:
    """Return the settings of a group, in the order of their declaration.

    Args:
        group: A dataclass whose fields are made by `setting`.
        name: Becomes the `group` of each setting.
    """
    hints = get_type_hints(group)
    declared = []
    for entry in fields(group):
        declaration: _Declaration = entry.metadata[_KEY]
        arguments = get_args(hints[entry.name])
        types = [argument for argument in arguments if argument is not type(None)]
        is_required = entry.default is MISSING
        declared.append(
            Setting(
                name=entry.name,
                type=types[0] if types else hints[entry.name],
                is_optional=type(None) in arguments,
                default=None if is_required else entry.default,
                is_required=is_required,
                help=declaration.help,
                group=name,
                limits=declaration.limits,
                choices=declaration.choices,
                synonyms=declaration.synonyms,
                metavar=declaration.metavar,
            )
        )
    return tuple(declared)


def settings_code(**values: Any) -> str:  # noqa: ANN401
    """Settings as an error message writes them: Python code in backticks.

    Example:
        >>> print(settings_code(batch_size=4, precision="bfloat16"))
        `batch_size=4, precision='bfloat16'`
    """
    return f"`{', '.join(f'{name}={value!r}' for name, value in values.items())}`"
