"""Settings are declared once, and checked by their declaration."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rwkv_music.errors import InputError
from rwkv_music.settings import (
    SettingsGroup,
    declared_settings,
    same_setting,
    setting,
    settings_code,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Oven(SettingsGroup):
    """Settings of an oven."""

    recipe: str = setting(help="What to bake.", metavar="RECIPE")
    degrees: float = setting(180.0, above=0, maximum=300, help="Temperature.")
    minutes: int | None = setting(None, minimum=1, help="Time.")
    trays: int = setting(2, minimum=2, multiple_of=2, help="Trays.")
    fan: bool = setting(default=True, help="Whether the fan runs.")
    heat: str = setting("top", choices=("top", "bottom"), synonyms={"t": "top"}, help="Where.")


def test_a_declaration_holds_all_about_a_setting() -> None:
    declared = {entry.name: entry for entry in declared_settings(Oven, "oven")}
    assert list(declared) == ["recipe", "degrees", "minutes", "trays", "fan", "heat"]
    assert (declared["recipe"].is_required, declared["recipe"].default) == (True, None)
    assert (declared["minutes"].type, declared["minutes"].is_optional) == (int, True)
    assert (declared["degrees"].type, str(declared["degrees"].limits)) == (float, "in (0, 300]")
    assert str(declared["trays"].limits) == "at least 2 and a multiple of 2"
    assert {entry.group for entry in declared.values()} == {"oven"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"degrees": 0}, r"`degrees` must be in \(0, 300\], got 0"),
        ({"degrees": 301}, r"`degrees` must be in \(0, 300\], got 301"),
        ({"degrees": float("nan")}, r"`degrees` must be in \(0, 300\], got nan"),
        ({"degrees": "hot"}, "`degrees` must be a number, got 'hot'"),
        ({"degrees": True}, "`degrees` must be a number, got True"),
        ({"minutes": 0}, "`minutes` must be at least 1, got 0"),
        ({"minutes": 1.5}, "`minutes` must be a whole number, got 1.5"),
        ({"trays": 3}, "`trays` must be at least 2 and a multiple of 2, got 3"),
        ({"fan": 1}, "`fan` must be True or False, got 1"),
        ({"heat": "side"}, "`heat` must be one of 'top', 'bottom', got 'side'"),
        ({"recipe": 3}, "`recipe` must be a string, got 3"),
    ],
)
def test_a_wrong_value_is_refused_with_its_limit(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Oven(**{"recipe": "bread", **settings})


def test_values_get_the_declared_type() -> None:
    oven = Oven(recipe=Path("bread"), degrees=200, minutes=np.int64(3), heat="t")  # type: ignore[arg-type]
    assert (oven.recipe, oven.minutes, oven.heat) == ("bread", 3, "top")
    assert isinstance(oven.degrees, float)
    assert type(oven.minutes) is int


def test_text_is_parsed_as_the_declared_type() -> None:
    declared = {entry.name: entry for entry in declared_settings(Oven)}
    assert declared["degrees"].parse("1e2") == 100.0
    assert declared["minutes"].parse("7") == 7
    with pytest.raises(InputError, match=r"`minutes` must be a whole number, got '7\.5'"):
        declared["minutes"].parse("7.5")
    with pytest.raises(InputError, match="`degrees` must be in"):
        declared["degrees"].parse("inf")


def test_settings_are_written_as_python_code() -> None:
    assert settings_code(degrees=200.0, heat="top") == "`degrees=200.0, heat='top'`"


def test_two_groups_share_one_declaration() -> None:
    @dataclass(frozen=True, kw_only=True, slots=True)
    class Grill(SettingsGroup):
        minutes: int | None = same_setting(Oven, "minutes")

    ours = {entry.name: entry for entry in declared_settings(Oven)}["minutes"]
    assert declared_settings(Grill) == (ours,)
    with pytest.raises(InputError, match="`minutes` must be"):
        Grill(minutes=-1)
