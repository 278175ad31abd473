"""Workflows, templates and citation are what their hosts expect."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((REPOSITORY / ".github" / "workflows").glob("*.yml"))


def check(schema: str, *paths: Path) -> subprocess.CompletedProcess[str]:
    """Compare YAML files with a schema that comes with check-jsonschema."""
    pytest.importorskip("check_jsonschema", reason="check-jsonschema is not installed")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema]
    return subprocess.run([*command, *paths], capture_output=True, text=True, check=False)


def test_the_workflows_are_valid() -> None:
    done = check("vendor.github-workflows", *WORKFLOWS)
    assert done.returncode == 0, done.stdout


def test_the_citation_is_valid_and_of_this_version() -> None:
    path = REPOSITORY / "CITATION.cff"
    done = check("vendor.citation-file-format", path)
    assert done.returncode == 0, done.stdout
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f"\nversion: {project['version']}\n" in path.read_text(encoding="utf-8")


def test_a_misspelled_workflow_is_found(tmp_path: Path) -> None:
    path = tmp_path / "tests.yml"
    path.write_text("on: push\njobs: {test: {runs_on: ubuntu-24.04, steps: []}}\n")
    assert check("vendor.github-workflows", path).returncode == 1


def test_the_workflows_call_what_exists() -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))
    texts = [path.read_text(encoding="utf-8") for path in WORKFLOWS]
    called = {name for text in texts for name in re.findall(r"run: make (\S+)", text)}
    assert {"wheels", "site"} <= called <= targets
    files = {
        name
        for text in texts
        for name in re.findall(r"(?:bash|python) ([\w./]+/\w+\S*?)[\s)]", text)
    }
    assert files
    assert [name for name in files if not (REPOSITORY / name).exists()] == []


def test_the_matrix_has_three_systems_and_every_python_that_is_pinned_for() -> None:
    text = (REPOSITORY / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8")
    for system in ("ubuntu", "macos", "windows"):
        assert system in text
    for python in ("3.11", "3.12", "3.13", "3.14"):
        assert f'"{python}"' in text
