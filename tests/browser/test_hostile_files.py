"""Somebody else's run, folder and style are shown as text: no script in them ever runs."""

import json
from pathlib import Path

import pytest

from rwkv_music.score import save_score
from rwkv_music.training.run.directory import RunDirectory
from tests.browser.conftest import OpenNotebook
from tests.browser.lab import CELL_SECONDS
from tests.browser.test_lab_rig import write_notebook
from tests.music import tune

pytestmark = pytest.mark.browser

SCRIPT = '<img src="data:," onerror="window.attacked = 1">'


def write_hostile_run(path: Path) -> None:
    """A run directory with a script in every text."""
    run = RunDirectory(path).create()
    figures = {"nats_per_token": 0.5, "nats_per_note": 2.0, "by_type": {SCRIPT: 1.0}}
    run.write_config(
        {"kernel": SCRIPT, "baselines": {SCRIPT: figures}, "samples": [], "sessions": []}
    )
    run.append_metrics({"step": 1, "loss_train": 1.0, "tokens_per_second": SCRIPT})
    run.append_metrics(
        {
            "step": 1,
            "loss_valid": 1.0,
            "nats_per_note_valid": SCRIPT,
            "loss_by_type_valid": {SCRIPT: 1.0},
            "warnings": [SCRIPT],
            "samples": [SCRIPT],
        }
    )
    run.write_status("running", step=1, steps=9, message=SCRIPT, device=SCRIPT)
    status = json.loads(run.status_path.read_text())
    run.status_path.write_text(json.dumps({**status, "state": SCRIPT, "steps": SCRIPT}))


def test_scripts_in_files_are_shown_and_never_run(
    lab_root: Path, open_notebook: OpenNotebook
) -> None:
    write_hostile_run(lab_root / "hostile-run")
    folder = lab_root / "hostile-folder"
    folder.mkdir()
    name = "<img src=x onerror=attacked()>.mid"
    score = tune(bars=4)
    score.tracks[0].name = SCRIPT
    save_score(score, folder / name)
    (folder / f"damaged {name}").write_bytes(b"no music")
    write_notebook(
        lab_root / "hostile.ipynb",
        panel="from rwkv_music_widgets import *\npanel = TrainingPanel('hostile-run')\npanel",
        doctor="doctor = DataDoctor('hostile-folder')\ndoctor",
        session=f"path = doctor.wait().folder + '/' + {name!r}\n"
        f"session = ContinuationSession({SCRIPT!r}, path)\nsession",
    )
    notebook = open_notebook("hostile.ipynb")
    notebook.run_all()
    assert "onerror" in notebook.output("panel").inner_text()
    notebook.output("doctor").locator(".rwkv-files tbody tr").first.wait_for()
    assert name in notebook.output("doctor").inner_text()
    session = notebook.output("session")
    session.get_by_role("button", name="Generate").click()
    session.get_by_role("alert").wait_for(timeout=CELL_SECONDS * 1000)
    assert "onerror" in session.get_by_role("alert").inner_text()
    assert notebook.page.evaluate("() => window.attacked ?? null") is None
