"""The glossary of CONTRIBUTING.md holds: retired words are gone from code and documents."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGES = ("rwkv_music", "widgets", "tests", "benchmarks", "tools", "examples")

RETIRED_NAMES = {
    # distributed training
    "Cluster", "Together", "ALONE", "join_cluster", "neighbours", "is_leader", "part_like",
    "adding_up", "follower",
    # training
    "Snapshot", "Stored", "take_snapshot", "put_back", "whole_model", "Material", "material_of",
    "BatchStream", "LongStream", "Prefetched", "open_stream", "Equipment", "equip", "surroundings",
    "Listeners", "Outcome", "Objective", "StepReport", "looks_since", "look_is_due", "BestSoFar",
    "accumulation", "early_stop", "withheld",
    # data, tokenizer, generation
    "lay_out", "Stretch", "arrange", "evenly", "grow", "Kind", "SUB", "TEMPOF", "SLOT",
    "openings", "mend", "mended", "set_aside", "alike", "examination", "doctor_words", "likeness",
    # files
    "written_aside", "write_whole", "journal",
}  # fmt: skip

RETIRED_WORDS = re.compile(
    r"\b(set aside|mended|withheld|obedience|foreseen?|in peace|goes on"
    r"|in force|therein|thereof|aught)\b",
    re.IGNORECASE,
)
EXEMPT = {
    "tests/test_language.py",
    "rwkv_music/old_names.py",  # the table from old names to new ones
    "CONTRIBUTING.md",  # the glossary names what not to write
    "tests/data/store/test_checksums.py",  # a store of the old form
}


def python_files() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((REPOSITORY / package).rglob("*.py"))]


def names_defined_in(tree: ast.AST) -> Iterator[str]:
    """Names of classes, functions, arguments, and variables and attributes that are assigned."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr


def relative(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def test_no_mark_of_a_merge_conflict_is_left() -> None:
    documents = [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")]
    marked = [
        relative(path)
        for path in [*python_files(), *documents]
        if re.search(r"^(<{7} |>{7} |={7}$)", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert marked == []


def test_no_retired_name_is_defined() -> None:
    retired = {
        f"{relative(path)}: {name}"
        for path in python_files()
        if relative(path) not in EXEMPT
        for name in names_defined_in(ast.parse(path.read_text(encoding="utf-8")))
        if name.strip("_") in RETIRED_NAMES
    }
    assert retired == set()


def test_no_retired_word_is_written() -> None:
    documents = [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")]
    documents += (REPOSITORY / "rwkv_music").rglob("*.md")
    notebooks = (REPOSITORY / "notebooks").glob("*.ipynb")
    lines = [
        f"{relative(path)}:{line_number}: {line.strip()}"
        for path in [*python_files(), *documents, *notebooks]
        if relative(path) not in EXEMPT
        for line_number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if RETIRED_WORDS.search(line)
    ]
    assert lines == []


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("def mend(): ...", "mend"),
        ("class Together: ...", "Together"),
        ("for place, mended in pairs: ...", "mended"),
        ("run.withheld = 1", "withheld"),
        ("lambda neighbours: 0", "neighbours"),
    ],
)
def test_the_check_finds_a_retired_name(code: str, name: str) -> None:
    assert name in set(names_defined_in(ast.parse(code)))


def test_no_two_modules_of_the_library_have_one_name() -> None:
    paths = [path for path in python_files() if path.parts[len(REPOSITORY.parts)] == "rwkv_music"]
    by_name: dict[str, list[str]] = {}
    for path in paths:
        by_name.setdefault(path.name, []).append(relative(path))
    # Backends of operators are called native.py; `python -m` needs __main__.py.
    expected = {"__init__.py", "__main__.py", "native.py"}
    doubled = {name: actual for name, actual in by_name.items() if len(actual) > 1}
    assert {name: actual for name, actual in doubled.items() if name not in expected} == {}
