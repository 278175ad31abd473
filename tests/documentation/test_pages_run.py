"""The Python on the pages of docs/ runs."""

import re
import subprocess
import sys
from pathlib import Path

from rwkv_music.score import save_score
from tests.music import tune

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_page_on_tuning_runs_from_top_to_bottom(tmp_path: Path) -> None:
    page = (DOCS / "tuning.md").read_text(encoding="utf-8")
    program = "\n".join(re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL))
    assert "steps=120" in program
    for seed, name in enumerate(("a.mid", "b.mid", "prompt.mid")):
        save_score(tune(bars=4, seed=seed), tmp_path / name)
    command = [sys.executable, "-c", program.replace("steps=120", "steps=2")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "my.style").exists()
