"""Each guided notebook runs from top to bottom as committed, with few training steps."""

import re
import shutil
from pathlib import Path

import pytest
from nbmake.nb_run import NotebookRun

from rwkv_music import attach

REPOSITORY = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
CELL_SECONDS = 300
RUN_SECONDS = 120


@pytest.mark.notebook
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_the_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run it in a copy of the folders beside it."""
    monkeypatch.setenv("RWKV_MUSIC_SMOKE", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    for folder in ("notebooks", "examples"):
        shutil.copytree(REPOSITORY / folder, tmp_path / folder)
    result = NotebookRun(tmp_path / "notebooks" / path.name, CELL_SECONDS).execute()
    if result.error is not None:
        pytest.fail(re.sub(r"\x1b\[[0-9;]*m", "", result.error.trace), pytrace=False)
    for status in tmp_path.glob("notebooks/runs/*/status.json"):
        # A run outlives its notebook; this test waits for it.
        assert attach(status.parent).wait(RUN_SECONDS)["state"] == "finished"
