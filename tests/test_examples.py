"""The example scripts run and write the files in the repository."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

from rwkv_music.data import examine_folder
from rwkv_music.score import load_score, num_bars
from rwkv_music.tokenizer import Tokenizer

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def test_the_prompt_is_what_its_script_writes(tmp_path: Path) -> None:
    script = EXAMPLES / "write_prompt.py"
    subprocess.run([sys.executable, str(script), str(tmp_path)], check=True, capture_output=True)
    assert (tmp_path / "prompt.mid").read_bytes() == (EXAMPLES / "prompt.mid").read_bytes()


def test_the_built_in_songs_are_what_their_script_writes(tmp_path: Path) -> None:
    script = EXAMPLES / "write_pop_prompts.py"
    subprocess.run([sys.executable, str(script), str(tmp_path)], check=True, capture_output=True)
    kept = EXAMPLES.parent / "rwkv_music" / "prompts"
    names = sorted(path.name for path in kept.iterdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    for name in names:
        assert (tmp_path / name).read_bytes() == (kept / name).read_bytes()
        assert num_bars(load_score(kept / name)) == 4


def test_the_music_is_what_its_script_writes(tmp_path: Path) -> None:
    script = EXAMPLES / "write_music.py"
    subprocess.run([sys.executable, str(script), str(tmp_path)], check=True, capture_output=True)
    kept = EXAMPLES / "music"
    names = sorted(path.name for path in kept.iterdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    for name in names:
        assert (tmp_path / name).read_bytes() == (kept / name).read_bytes()


def test_the_music_contains_the_faults_that_the_doctor_reports() -> None:
    report = examine_folder(EXAMPLES / "music", workers=1)
    verdicts = Counter(file.verdict for file in report.files)
    assert verdicts == {"fine": 6, "repaired": 1, "skipped": 2}
    assert [pair[:2] for pair in report.near_duplicates] == [("snow (for singers).mid", "snow.mid")]
    assert report.ignored == {".txt": 1}
    assert len(set(report.groups.values())) == 6


def test_the_prompt_has_four_bars_and_survives_the_tokenizer() -> None:
    score = load_score(EXAMPLES / "prompt.mid")
    assert num_bars(score) == 4
    assert [track.name for track in score.tracks] == ["Soprano", "Alto", "Tenor", "Bass"]
    tokenizer = Tokenizer()
    ids = tokenizer.encode(score)
    assert tokenizer.note_count(ids) == score.note_num() == 56
    assert (tokenizer.encode(tokenizer.decode(ids)) == ids).all()
