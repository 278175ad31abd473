"""Each guided notebook runs from top to bottom, as it is committed, in its quick form."""

import shutil
from pathlib import Path

import pytest
from nbmake.nb_run import NotebookRun

REPOSITORY = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
CELL_SECONDS = 300


@pytest.mark.notebook
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_the_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it writes goes to a copy of its surroundings."""
    monkeypatch.setenv("RWKV_MUSIC_SMOKE", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    for folder in ("notebooks", "examples"):
        shutil.copytree(REPOSITORY / folder, tmp_path / folder)
    result = NotebookRun(tmp_path / "notebooks" / path.name, CELL_SECONDS).execute()
    assert result.error is None, result.error.trace
