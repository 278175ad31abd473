"""Where the kernel is gone, the output shows pictures, and the session can be opened again."""

from pathlib import Path

import pytest

from tests.browser.conftest import OpenNotebook
from tests.browser.lab import CELL_SECONDS, LabServer, NotebookPage, wait_until
from tests.browser.test_lab_rig import write_notebook

pytestmark = pytest.mark.browser

WITHOUT_KERNEL = """async () => {
  const panel = window.jupyterapp.shell.currentWidget;
  await panel.sessionContext.shutdown();
}"""


def test_a_session_without_its_kernel_is_seen_as_pictures_and_opened_again(
    lab_root: Path, lab_server: LabServer, open_notebook: OpenNotebook
) -> None:
    write_notebook(
        lab_root / "pictures.ipynb",
        show="from rwkv_music_widgets import *\nfrom rwkv_music import load_score\n"
        "session = ContinuationSession('bach', load_score('examples/prompt.mid'))\nsession",
    )
    notebook = open_notebook("pictures.ipynb")
    notebook.run_all()
    notebook.run_python("session.controls.bars.value = session.controls.num_candidates.value = 1")
    notebook.run_python("session.generate()")
    output = notebook.output("show")
    output.locator("canvas[data-notes]").nth(1).wait_for()
    pictures = output.locator(".rwkv-static img")
    wait_until(lambda: pictures.count() == 2, CELL_SECONDS, "a picture of the candidate")
    assert not pictures.first.is_visible()
    notebook.command("docmanager:save")
    notebook.page.evaluate(WITHOUT_KERNEL)
    notebook.page.close()

    saved = (lab_root / "pictures.ipynb").read_text(encoding="utf-8")
    assert saved.count("data:image/svg+xml;base64") == 2
    again = NotebookPage(lab_server, notebook.context, "pictures.ipynb")
    output = again.output("show")
    pictures = output.locator(".rwkv-static img")
    pictures.nth(1).wait_for()
    assert output.locator(".rwkv-live").count() == 0
    assert [pictures.nth(index).is_visible() for index in range(2)] == [True, True]
    message = output.get_by_text("Error displaying widget")
    message.wait_for(state="attached")
    assert not message.is_visible()

    # Running the cell in the new kernel opens the session as it was.
    again.run_all()
    assert again.python_value("len(session.candidates)") == 1
    again.output("show").locator("canvas[data-notes]").nth(1).wait_for()
    assert (lab_root / "pictures-bach-sessions" / "1.rwkvmusic").exists()
