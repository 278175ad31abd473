"""What holds for the repository as a whole: documents, notebooks, pins, imports and the wheel."""

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import rwkv_music
from rwkv_music.cli import build_parser
from rwkv_music.score import load_score, num_bars

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGES = (REPOSITORY / "rwkv_music", REPOSITORY / "widgets" / "rwkv_music_widgets")
NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
README = REPOSITORY / "README.md"
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "rwkv_music/**/*.md")
    for path in REPOSITORY.glob(pattern)
)

MOST_LINES = 400
HEAVY = {"torch", "music21", "pygame", "matplotlib", "symusic", "pretty_midi"}


def document_id(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def project() -> dict:
    """What pyproject.toml says."""
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))


def pins() -> dict[str, Requirement]:
    """The lines of constraints.txt by the name of the package."""
    lines = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    parsed = (Requirement(line) for line in lines if not line.startswith("#"))
    return {canonicalize_name(pin.name): pin for pin in parsed}


def command_lines(document: Path, command: str) -> list[str]:
    """Lines of a document's code blocks that begin with a command."""
    text = document.read_text(encoding="utf-8")
    blocks = re.findall(r"```(?:sh|bash|console)\n(.*?)```", text, flags=re.DOTALL)
    lines = (line.split("  #")[0].strip() for block in blocks for line in block.splitlines())
    return [line for line in lines if line.split(" ")[0] == command]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebooks_are_committed_as_if_never_run(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert "widgets" not in notebook.metadata
    for cell in notebook.cells:
        assert re.fullmatch(r"[a-z][a-z0-9-]*", cell.id), "give the cell an id that says what it is"
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
            ast.parse(cell.source)


@pytest.mark.parametrize("line", command_lines(README, "rwkv-music"))
def test_every_command_in_the_readme_is_understood(line: str) -> None:
    given = build_parser().parse_args(shlex.split(line)[1:])
    assert given.command or given.version


def test_the_python_in_the_readme_runs(tmp_path: Path) -> None:
    text = README.read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    shutil.copytree(REPOSITORY / "examples", tmp_path / "examples")
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert num_bars(load_score(tmp_path / "continued.mid")) == 8


@pytest.mark.parametrize("document", DOCUMENTS, ids=document_id)
def test_every_make_target_in_the_documents_exists(document: Path) -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))
    expected = set(re.findall(r"\bmake ([a-z]+-?[a-z]+)`", document.read_text(encoding="utf-8")))
    assert expected <= targets


@pytest.mark.parametrize("document", DOCUMENTS, ids=document_id)
def test_every_link_within_the_documents_leads_somewhere(document: Path) -> None:
    text = re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL)
    links = re.findall(r"\]\(([^)]+)\)", text) + re.findall(r'(?:src|srcset)="([^"]+)"', text)
    links = [link.removesuffix("/badge.svg") for link in links if "://" not in link]
    broken = [link for link in links if not leads_somewhere(document, link)]
    assert broken == []


HOST_PAGES = "../../actions/workflows/"
"""Where a host of repositories shows the state of a workflow, seen from the README."""


def leads_somewhere(document: Path, link: str) -> bool:
    """Return whether a relative link names a file that exists, and a heading in it."""
    name, _, heading = link.partition("#")
    if name.startswith(HOST_PAGES):
        return (REPOSITORY / ".github" / "workflows" / name.removeprefix(HOST_PAGES)).exists()
    target = document.parent / unquote(name) if name else document
    if not heading or not target.is_file():
        return target.exists()
    headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return heading in {anchor(text) for text in headings}


def anchor(heading: str) -> str:
    """Return the anchor that a heading gets on the usual hosts of Markdown."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("LICENSE", True),
        ("docs/data.md#no-such-heading", False),
        ("docs/no-such-page.md", False),
        ("docs/training.md#the-run-directory", True),
        ("#install", True),
        ("../../actions/workflows/tests.yml", True),
        ("../../actions/workflows/no-such.yml", False),
    ],
)
def test_the_check_of_links_finds_broken_ones(link: str, *, expected: bool) -> None:
    assert leads_somewhere(README, link) == expected


def test_there_are_documents_to_check() -> None:
    names = {document_id(path) for path in DOCUMENTS}
    assert {"README.md", "docs/training.md", "rwkv_music/models/bach.md"} <= names


def test_the_readme_fits_one_screen_and_its_picture_is_small() -> None:
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 60
    assert "<this repository>" not in text
    (picture,) = re.findall(r"docs/images/\w+\.gif", text)
    assert (REPOSITORY / picture).stat().st_size < 3_000_000


def test_the_guide_for_contributors_lists_every_package() -> None:
    guide = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    packages = [path.parent.name for path in PACKAGES[0].glob("*/__init__.py")]
    assert packages
    assert [package for package in packages if f"{package}/" not in guide] == []


def test_no_file_of_code_is_long() -> None:
    folders = ("rwkv_music", "widgets", "tests", "examples", "benchmarks", "tools")
    suffixes = {".py", ".js", ".mjs", ".css", ".cpp", ".h"}
    lengths = {
        path.relative_to(REPOSITORY).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for folder in folders
        for path in (REPOSITORY / folder).rglob("*")
        if path.suffix in suffixes
    }
    assert lengths
    assert {name: lines for name, lines in lengths.items() if lines > MOST_LINES} == {}


SAME_NAME_ALLOWED = {
    "__init__.py",
    "__main__.py",
    "piano_roll.py",  # the picture in `score`, the widget in `rwkv_music_widgets`
}


def test_no_two_modules_have_the_same_name() -> None:
    modules: dict[str, list[str]] = {}
    for path in (path for package in PACKAGES for path in package.rglob("*.py")):
        modules.setdefault(path.name, []).append(document_id(path))
    modules = {name: paths for name, paths in modules.items() if name not in SAME_NAME_ALLOWED}
    assert len(modules) > 150
    assert [paths for paths in modules.values() if len(paths) > 1] == []


def test_no_two_public_classes_have_the_same_name() -> None:
    classes: dict[str, list[str]] = {}
    for path in (path for package in PACKAGES for path in package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                classes.setdefault(node.name, []).append(document_id(path))
    assert len(classes) > 100
    assert [(name, paths) for name, paths in classes.items() if len(paths) > 1] == []


def test_the_version_is_the_same_everywhere() -> None:
    version = project()["project"]["version"]
    assert rwkv_music.__version__ == version
    assert f"## [{version}]" in (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")


LEFT_TO_TORCH = {"nvidia-cuda-nvrtc", "triton"}
"""A CUDA build of torch pins them itself."""


def test_every_dependency_is_pinned_within_its_range() -> None:
    metadata = project()["project"]
    extras = metadata["optional-dependencies"]
    asked = [*metadata["dependencies"], *extras["lab"], *extras["playback"], *extras["dev"]]
    pinned = pins()
    for text in asked:
        requirement = Requirement(text)
        if requirement.name in {metadata["name"], *LEFT_TO_TORCH}:
            continue
        pin = pinned[canonicalize_name(requirement.name)]
        (version,) = pin.specifier
        assert version.operator == "=="
        assert version.version in requirement.specifier, f"{pin} is outside {text}"


@pytest.mark.parametrize(
    ("name", "platforms"),
    [
        ("appnope", {"darwin"}),
        ("colorama", {"win32"}),
        ("pexpect", {"darwin", "linux"}),
        ("ptyprocess", {"darwin", "linux"}),
        ("pywinpty", {"win32"}),
    ],
)
def test_a_pin_of_some_platforms_stays_out_of_the_others_way(
    name: str, platforms: set[str]
) -> None:
    marker = pins()[name].marker
    assert marker is not None
    base = dict(default_environment())
    for platform in ("darwin", "linux", "win32"):
        assert marker.evaluate({**base, "sys_platform": platform}) == (platform in platforms)


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, rwkv_music, rwkv_music.score, rwkv_music.tokenizer; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert HEAVY & set(done.stdout.split()) == set()


@pytest.mark.parametrize(("before", "expected"), [(None, "128"), ("7", "7")])
def test_importing_the_package_bounds_what_onednn_keeps_unless_the_user_did(
    before: str | None, expected: str
) -> None:
    name = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
    others = {key: value for key, value in os.environ.items() if key != name}
    given = {} if before is None else {name: before}
    code = f"import rwkv_music, os; print(os.environ['{name}'])"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**others, **given},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == expected


def test_the_wheel_holds_every_file_and_works_elsewhere(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path)]
    subprocess.run([*build, str(REPOSITORY)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    expected = {
        path.relative_to(package.parent).as_posix()
        for package in PACKAGES
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {"rwkv_music/py.typed", "rwkv_music_widgets/py.typed"} <= expected
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        inside = {name for name in names if ".data/" not in name}
        archive.extractall(tmp_path / "site")
    assert inside == expected
    # `rwkv-music lab` copies the notebooks and their examples from here.
    examples = (path for path in (REPOSITORY / "examples").rglob("*") if path.is_file())
    guide = {path.relative_to(REPOSITORY).as_posix() for path in (*NOTEBOOKS, *examples)}
    assert {name.partition("/share/rwkv-music/")[2] for name in names - inside} == guide
    code = (
        "import rwkv_music, rwkv_music_widgets; "
        "print(rwkv_music.__file__); print(rwkv_music_widgets.__file__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert all(line.startswith(str(tmp_path)) for line in done.stdout.splitlines())
