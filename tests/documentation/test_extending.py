"""The worked examples of docs/extending.md run, and the files that it names exist."""

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
TEXT = (REPOSITORY / "docs" / "extending.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r"^## (.*?)\n.*?```python\n(.*?)```", TEXT, re.DOTALL | re.MULTILINE))


def test_there_is_an_example_of_each_kind() -> None:
    kinds = ["tokenizer event", "constraint", "corpus", "kernel backend", "widget"]
    assert list(EXAMPLES) == [f"A {kind}" for kind in kinds]


@pytest.mark.parametrize("title", EXAMPLES)
def test_the_example_runs(title: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "assert" in EXAMPLES[title] or "raise" in EXAMPLES[title]
    monkeypatch.chdir(REPOSITORY)
    code = compile(EXAMPLES[title], f"docs/extending.md: {title}", "exec")
    exec(code, {"__name__": "example"})  # noqa: S102 - a page of ours


def test_the_files_that_the_page_names_exist() -> None:
    names = re.findall(r"`((?:rwkv_music|tests|widgets)/[\w./]+)`", TEXT)
    assert len(names) > 10
    assert [name for name in names if not (REPOSITORY / name).exists()] == []
