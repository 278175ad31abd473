"""The tables of settings in docs/training.md are generated from the declarations."""

import subprocess
import sys
from pathlib import Path

from rwkv_music.training.config import training_settings

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = REPOSITORY / "docs" / "training.md"


def check(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "tools/settings_table.py", "--check", *options]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)


def test_the_tables_are_up_to_date() -> None:
    done = check()
    assert done.returncode == 0, done.stderr


def test_every_setting_has_a_row() -> None:
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if "|" in line]
    for name, declared in training_settings().items():
        (row,) = [row for row in rows if row.startswith(f"| `{name}` |")]
        assert declared.help in row


def test_a_value_changed_by_hand_fails_the_check(tmp_path: Path) -> None:
    page = tmp_path / "training.md"
    text = PAGE.read_text(encoding="utf-8")
    page.write_text(text.replace("| int, at least 1 | `1200` |", "| int | `1000` |"), "utf-8")
    assert page.read_text(encoding="utf-8") != text
    done = check("--page", str(page))
    assert done.returncode == 1
    assert "out of date: run python tools/settings_table.py" in done.stderr
