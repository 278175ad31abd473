"""Names of a package that are imported on first use."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(
    package: str, modules: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the functions `__getattr__` and `__dir__` of a package.

    Args:
        package: The package, which lists its names in `__all__`.
        modules: The module of each name, relative to the package.

    Example:
        __getattr__, __dir__ = lazy_names(__name__, {"Trainer": "trainer"})
    """

    def imported(name: str) -> Any:  # noqa: ANN401 - any of the names
        if name not in modules:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        return getattr(import_module(f"{package}.{modules[name]}"), name)

    def names() -> list[str]:
        return sorted(sys.modules[package].__all__)

    return imported, names
