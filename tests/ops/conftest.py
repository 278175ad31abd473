"""Fixtures of the operators' tests."""

from collections.abc import Iterator

import jaxtyping
import pytest


@pytest.fixture
def without_type_checks() -> Iterator[None]:
    """As in use: the tests' own shape checks would refuse these inputs first."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
