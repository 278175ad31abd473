"""JupyterLab and a page that shows a notebook in it, for the browser tests.

    with LabServer(folder) as server:
        page = NotebookPage(server, chromium.new_context(), "01_continue.ipynb")
        page.run_all()
        assert page.python_value("1 + 1") == 2

Every server has configuration folders of its own, so that neither the user's settings nor an
earlier test's theme or layout show up.
"""

import ast
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Locator, Page

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

START_SECONDS = 60
CELL_SECONDS = 120
"""Time limits for a busy machine; no test depends on its speed."""

_WHEN_READY = """async () => {
  const panel = window.jupyterapp.shell.currentWidget;
  await panel.context.ready;
  await panel.sessionContext.ready;
  const kernel = () => panel.sessionContext.session && panel.sessionContext.session.kernel;
  while (!(kernel() && kernel().status === 'idle')) await new Promise(go => setTimeout(go, 50));
}"""

_VALUE = """async ([code, expression]) => {
  const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
  const reply = await kernel.requestExecute(
    {code, silent: true, user_expressions: {value: expression}}
  ).done;
  return reply.content.status === 'ok' ? reply.content.user_expressions.value : reply.content;
}"""

_CELL = """async (id) => {
  const notebook = window.jupyterapp.shell.currentWidget.content;
  const index = notebook.widgets.findIndex(cell => cell.model.id === id);
  if (index < 0) throw new Error(`there is no cell '${id}'`);
  notebook.activeCellIndex = index;
  await notebook.scrollToItem(index);
  return index;
}"""

_REPLACE = """([id, old, replacement]) => {
  const notebook = window.jupyterapp.shell.currentWidget.content;
  const source = notebook.widgets.find(cell => cell.model.id === id).model.sharedModel;
  const before = source.getSource();
  source.setSource(before.replace(old, replacement));
  return before.includes(old);
}"""

_ERRORS = """() => {
  const cells = window.jupyterapp.shell.currentWidget.content.model.sharedModel.cells;
  const outputs = cells.flatMap(cell => cell.cell_type === 'code' ? cell.getOutputs() : []);
  return outputs.filter(output => output.output_type === 'error')
                .map(output => `${output.ename}: ${output.evalue}`);
}"""


def find_browser() -> str | None:
    """Return the path of an installed Chromium; None if there is none."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


class LabServer:
    """JupyterLab on a free port of this machine; use it as a context.

    Args:
        root: The folder it shows.
        environment: Variables for it and its kernels, besides our own.
    """

    def __init__(self, root: Path, *, environment: Mapping[str, str] | None = None) -> None:
        self.root = root
        self.token = secrets.token_hex(16)
        self.url = f"http://127.0.0.1:{_free_port()}"
        self._environment = dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._home = tempfile.TemporaryDirectory(prefix="lab-")
        home = Path(self._home.name)
        self._log = (home / "server.log").open("wb")
        self._process = subprocess.Popen(
            self._command(),
            env={**os.environ, **_own_folders(home), **self._environment},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            wait_until(self._answers, START_SECONDS, "JupyterLab to answer")
        except (TimeoutError, RuntimeError):
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._stop()

    def _command(self) -> list[str]:
        return [
            sys.executable,
            "-m",
            "jupyterlab",
            "--no-browser",
            "--allow-root",
            "--ip=127.0.0.1",
            f"--port={self.url.rpartition(':')[2]}",
            "--ServerApp.port_retries=0",
            f"--IdentityProvider.token={self.token}",
            f"--ServerApp.root_dir={self.root}",
            "--LabApp.expose_app_in_browser=True",
            "--LabApp.news_url=None",
            "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        ]

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            said = Path(self._log.name).read_text(encoding="utf-8")
            raise RuntimeError(f"JupyterLab ended at once:\n{said}")
        status = f"{self.url}/api/status?token={self.token}"
        try:
            with urllib.request.urlopen(status, timeout=5):  # noqa: S310 - our own address
                return True
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def _stop(self) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._log.close()
        self._home.cleanup()


class NotebookPage:
    """A notebook open in JupyterLab, its kernel idle.

    Args:
        server: The JupyterLab to use.
        context: A fresh browser context; the page is opened in it.
        name: The notebook, relative to the server's root.

    Attributes:
        context: The browser context of the page.
        page: Playwright's page.
        complaints: Errors on the browser's console so far; a test expects none.
    """

    def __init__(self, server: LabServer, context: "BrowserContext", name: str) -> None:
        self.context = context
        self.page: Page = context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.set_default_timeout(START_SECONDS * 1000)
        self.page.goto(
            f"{server.url}/lab/tree/{name}?token={server.token}&reset",
            wait_until="domcontentloaded",
        )
        self.page.wait_for_selector(".jp-NotebookPanel .jp-Cell")
        # The page's own "idle" mark is shown before there is a kernel at all.
        self.page.evaluate(_WHEN_READY)

    def _on_console(self, message: Any) -> None:
        if message.type == "error":
            self.complaints.append(f"{message.text} ({message.location.get('url')})")

    def command(self, name: str) -> None:
        """Run one of JupyterLab's commands and wait for it."""
        self.page.evaluate("name => window.jupyterapp.commands.execute(name)", name)

    def run_all(self) -> None:
        """Run every cell and wait for the last; raises if one failed."""
        self.command("notebook:run-all-cells")
        self._raise_errors()

    def run_cell(self, cell_id: str) -> None:
        """Run the cell of this id and wait for it; raises if it failed."""
        self.page.evaluate(_CELL, cell_id)
        self.command("notebook:run-cell")
        self._raise_errors()

    def replace_in_cell(self, cell_id: str, old: str, new: str) -> None:
        """Replace text in a cell, as by typing."""
        assert self.page.evaluate(_REPLACE, [cell_id, old, new]), f"'{old}' is not in {cell_id}"

    def _raise_errors(self) -> None:
        errors = self.page.evaluate(_ERRORS)
        if errors:
            raise RuntimeError(f"a cell failed: {'; '.join(errors)}")

    def python_value(self, expression: str) -> Any:
        """Return the value of an expression in the kernel; it must be a literal."""
        return self._ask("", expression)

    def run_python(self, code: str) -> None:
        """Run statements in the kernel, outside any cell."""
        self._ask(code, "None")

    def _ask(self, code: str, expression: str) -> Any:
        reply = self.page.evaluate(_VALUE, [code, expression])
        if reply["status"] != "ok":
            raise RuntimeError(f"{code or expression}: {reply['ename']}: {reply['evalue']}")
        return ast.literal_eval(reply["data"]["text/plain"])

    def output(self, cell_id: str) -> "Locator":
        """Return the output of a cell after scrolling to it: JupyterLab renders visible cells."""
        index = self.page.evaluate(_CELL, cell_id)
        cell = self.page.locator(f'.jp-Cell[data-windowed-list-index="{index}"]')
        return cell.locator(".jp-Cell-outputArea")

    def wait_for_python(self, expression: str, *, seconds: float = CELL_SECONDS) -> None:
        """Wait until an expression is true in the kernel."""
        wait_until(lambda: bool(self.python_value(expression)), seconds, f"{expression} to be true")

    def set_theme(self, theme: str) -> None:
        """Change the theme; "light" or "dark"."""
        self.page.evaluate(
            "theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})",
            f"JupyterLab {theme.title()}",
        )
        is_light = json.dumps(theme == "light")
        self.page.wait_for_selector(f'body[data-jp-theme-light="{is_light}"]', state="attached")
        # JupyterLab covers the page while it loads a theme, and fades the cover out.
        self.page.wait_for_selector("#jupyterlab-splash", state="detached")


def wait_until(done: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait until `done` returns true.

    Raises:
        TimeoutError: If it is not after so many seconds.
    """
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds} seconds for {what}")
        time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _own_folders(home: Path) -> dict[str, str]:
    """Return environment variables that give JupyterLab fresh folders for its user data."""
    labconfig = home / "config" / "labconfig"
    labconfig.mkdir(parents=True)
    # The question whether news may be fetched would lie over the notebook.
    quiet = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
    (labconfig / "page_config.json").write_text(json.dumps(quiet), encoding="utf-8")
    return {
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "IPYTHONDIR": str(home / "ipython"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
    }
