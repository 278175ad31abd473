"""Fixtures for all tests: shared music, a browser, and repeatable settings."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import hypothesis
import pytest

from tests.browser.lab import BROWSER_FLAGS, BROWSERS, find_browser

if TYPE_CHECKING:
    from playwright.sync_api import Browser

REPOSITORY = Path(__file__).resolve().parents[1]

# torch reads these on import, here and in every process that a test starts. Threads that spin while
# waiting, or more threads than free cores, slow a shared machine down many times.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A busy machine must not fail a property, and a failing CI run must fail again when repeated.
hypothesis.settings.register_profile("local", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.fixture(scope="session", autouse=True)
def cache_of_this_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Use an empty cache folder, or the one that `RWKV_MUSIC_CACHE` names."""
    chosen = os.environ.get("RWKV_MUSIC_CACHE")
    folder = Path(chosen) if chosen else tmp_path_factory.mktemp("cache")
    os.environ["RWKV_MUSIC_CACHE"] = str(folder)
    yield folder
    if not chosen:
        del os.environ["RWKV_MUSIC_CACHE"]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of openly licensed music beside the repository, if it exists."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no shared music: there is no folder ../shared/data beside the repository")
    return folder


@pytest.fixture(scope="session")
def chromium() -> "Iterator[Browser]":
    """Yield a headless Chromium driven by Playwright; each test opens its own page or context."""
    program = find_browser()
    if program is None:
        _no_browser(f"none of {', '.join(BROWSERS)} is on the PATH: install Chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        _no_browser("Playwright is not installed: pip install playwright")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, headless=True, args=BROWSER_FLAGS
        )
        yield browser
        browser.close()


def _no_browser(reason: str) -> NoReturn:
    """Skip the test, or fail if a browser is required, so that a broken setup is noticed."""
    if os.environ.get("RWKV_MUSIC_REQUIRE_BROWSER") == "1":
        pytest.fail(f"{reason} (RWKV_MUSIC_REQUIRE_BROWSER=1 promises one)")
    pytest.skip(reason)
