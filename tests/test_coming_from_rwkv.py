"""docs/coming-from-rwkv.md: its Python code runs, and its messages exist."""

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PAGE = (REPOSITORY / "docs" / "coming-from-rwkv.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)

needs_the_package = pytest.mark.skipif(
    importlib.util.find_spec("rwkv") is None,
    reason="the rwkv package is not installed: pip install rwkv==0.8.32",
)


@pytest.mark.parametrize(
    "with_the_package",
    [
        pytest.param(False, id="without the rwkv package"),
        pytest.param(True, id="with the rwkv package", marks=needs_the_package),
    ],
)
def test_the_python_on_the_page_runs_from_top_to_bottom(
    tmp_path: Path, with_the_package: bool
) -> None:
    shutil.copy(REPOSITORY / "examples" / "prompt.mid", tmp_path)
    blocks = [block for block in BLOCKS if with_the_package or "from rwkv.model" not in block]
    assert len(blocks) == len(BLOCKS) - (not with_the_package)
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "rate x 2.0" in done.stdout
    for name in ("bach.pth", "bach.safetensors", "style.pth"):
        assert (tmp_path / name).exists()


def test_every_message_on_the_page_is_one_of_the_library() -> None:
    table = PAGE.split("## Error messages")[1]
    messages = re.findall(r"^\| `([^`]+)` \|", table, flags=re.MULTILINE)
    assert len(messages) > 10
    sources = (path.read_text(encoding="utf-8") for path in REPOSITORY.glob("rwkv_music/**/*.py"))
    # Messages are broken over lines of strings in the source; put them together again.
    messages_in_source = re.sub(r'"\n\s+f?"', "", "\n".join(sources))
    assert [message for message in messages if message not in messages_in_source] == []
