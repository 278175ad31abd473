"""What the tests of the commands share."""

from collections.abc import Callable
from pathlib import Path

import pytest

from rwkv_music.cli import main
from rwkv_music.score import save_score
from tests.music import tune

ExitCode = Callable[[list[str]], "int | str | None"]


@pytest.fixture
def prompt(tmp_path: Path) -> Path:
    return save_score(tune(bars=2), tmp_path / "prompt.mid")


@pytest.fixture
def exit_code() -> ExitCode:
    """Run a command; return its exit code, also when the argument parser exits."""

    def run(arguments: list[str]) -> int | str | None:
        try:
            return main(arguments)
        except SystemExit as exited:
            return exited.code

    return run


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three steps, made by the command itself."""
    folder = tmp_path_factory.mktemp("cli")
    for seed in range(6):
        save_score(tune(bars=4, seed=seed), folder / "tunes" / f"{seed}.mid")
    save_score(tune(bars=1), folder / "tunes" / "short.mid")
    (folder / "tunes" / "broken.mid").write_bytes(b"MThd nothing more")
    out = folder / "run"
    arguments = ["train", "--corpus", str(folder / "tunes"), "--out", str(out)]
    assert main([*arguments, "--preset", "tiny", "--steps", "3"]) == 0
    return out
