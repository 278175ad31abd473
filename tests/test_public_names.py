"""No name or signature of the public API changes unnoticed.

tests/golden/public_names.txt has a line for each. `python -m tests.test_public_names` writes it
anew; a changed line needs its reason in the commit message, and a line in CHANGELOG.md.
"""

import inspect
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

GOLDEN = Path(__file__).parent / "golden" / "public_names.txt"
MODULES = (
    "rwkv_music",
    "rwkv_music.score",
    "rwkv_music.tokenizer",
    "rwkv_music.data",
    "rwkv_music.model",
    "rwkv_music.ops",
    "rwkv_music.ops.wkv7",
    "rwkv_music.generation",
    "rwkv_music.evaluation",
    "rwkv_music.training",
    "rwkv_music.playback",
    "rwkv_music_widgets",
)


def lines_of(module: ModuleType) -> Iterator[str]:
    """A line for each name that a module lists in `__all__`, and for each public method."""
    for name in sorted(module.__all__):
        value = getattr(module, name)
        yield described(f"{module.__name__}.{name}", value)
        if inspect.isclass(value):
            for member, attribute in sorted(vars(value).items()):
                if not member.startswith("_") and not _is_plain_value(attribute):
                    yield described(f"{module.__name__}.{name}.{member}", attribute)


def _is_plain_value(attribute: Any) -> bool:
    """Whether an attribute is data, such as a trait or the default of a field."""
    kinds = (staticmethod, classmethod, property)
    return not (isinstance(attribute, kinds) or inspect.isfunction(attribute))


def described(name: str, value: Any) -> str:
    """A name with its signature as written, without the runtime checks of the tests."""
    value = getattr(value, "__func__", value)
    if isinstance(value, property):
        return f"{name}: property"
    if not callable(value):
        return f"{name}: {type(value).__name__}"
    try:
        signature = inspect.signature(value)
    except ValueError:  # an enumeration, a class in C
        return f"{name}: {type(value).__name__}"
    return f"{name}({', '.join(map(_argument, signature.parameters.values()))})"


def _argument(parameter: inspect.Parameter) -> str:
    """The argument with its default; mypy checks annotations, which look different at run time."""
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    keyword = "kw:" if parameter.kind is parameter.KEYWORD_ONLY else ""
    if parameter.default is parameter.empty:
        return f"{keyword}{stars}{parameter.name}"
    default = parameter.default
    shown = repr(default) if isinstance(default, int | float | str | bool | tuple | None) else "..."
    return f"{keyword}{stars}{parameter.name}={shown}"


def public_names() -> str:
    return "".join(f"{line}\n" for name in MODULES for line in lines_of(import_module(name)))


def test_no_public_signature_changed() -> None:
    before = GOLDEN.read_text(encoding="utf-8").splitlines()
    after = public_names().splitlines()
    assert sorted(set(before) - set(after)) == [], "changed or removed: see the docstring"
    assert sorted(set(after) - set(before)) == [], "new: see the docstring"


def test_a_changed_argument_changes_its_line() -> None:
    def before(a: int, *, seed: int = 0) -> None: ...
    def after(a: int, *, seed: int = 1) -> None: ...

    assert described("f", before) == "f(a, kw:seed=0)"
    assert described("f", after) == "f(a, kw:seed=1)"


def test_the_packages_say_that_they_are_typed() -> None:
    for package in ("rwkv_music", "rwkv_music_widgets"):
        assert Path(str(import_module(package).__file__)).with_name("py.typed").exists()


if __name__ == "__main__":
    GOLDEN.write_text(public_names(), encoding="utf-8")
