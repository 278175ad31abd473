"""The program as a whole: version, errors in one line, and names that a terminal cannot show."""

import ast
import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rwkv_music.cli import main, terminal
from rwkv_music.score import save_score
from tests.music import tune

CLI = Path(terminal.__file__).parent


def test_version_shows_folders_and_kernels(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version", "--verbose"]) == 0
    output = capsys.readouterr().out
    assert "rwkv-music 0.2.0" in output
    assert "cache folder:" in output
    assert "chunked" in output
    assert "tokenizer loops: n" in output


def test_help_and_settings_need_no_torch() -> None:
    code = (
        "import sys; from rwkv_music.cli import build_parser; build_parser(); "
        "from rwkv_music.training import TrainingConfig; TrainingConfig(corpus='bach', out='x'); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.skipif(os.name == "nt", reason="Windows allows no control characters in file names")
def test_an_escape_sequence_in_a_name_is_not_sent_to_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "music"
    folder.mkdir()
    name = "\x1b[31mred\nline\u202e.mid"
    (folder / name).write_bytes(b"no music")
    save_score(tune(bars=4), folder / "\x1b]0;title\x07.mid")
    store, out = tmp_path / "store", tmp_path / "out"
    assert main(["doctor", str(folder)]) == 0
    assert main(["prepare", str(folder), "-o", str(store), "--workers", "1"]) == 0
    assert main(["continue", str(folder / name), "-o", str(out)]) == 2
    output = capsys.readouterr()
    assert "\\x1b[31mred" in output.out
    assert output.err.splitlines()[-1].count("\\x1b[31mred\\nline\\u202e.mid") == 1
    # tqdm itself moves the cursor up (ESC [ A), and nothing else.
    for text in (output.out, output.err.replace("\x1b[A", "")):
        assert not {"\x1b", "\x07", "\u202e"} & set(text)


def test_a_wrong_argument_is_reported_without_its_escape_sequences(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["play", "\x1b[31ma.mid", "\x1b[32mb.mid"])
    assert "\\x1b[32mb.mid" in capsys.readouterr().err


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC, errno.EIO, errno.ESTALE])
def test_a_failing_disk_is_reported_in_one_line(
    number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_path: Path, **_options: object) -> None:
        raise OSError(number, os.strerror(number), "runs/a/control")

    monkeypatch.setattr("rwkv_music.playback.play_file", fail)
    assert main(["play", "a.mid"]) == 2
    assert capsys.readouterr().err == f"rwkv-music: runs/a/control: {os.strerror(number)}\n"


@pytest.mark.skipif(os.name == "nt", reason="Windows reports a closed pipe as another error")
def test_a_reader_that_has_seen_enough_ends_the_command_quietly(tmp_path: Path) -> None:
    for seed in range(3):
        save_score(tune(bars=4, seed=seed), tmp_path / f"{seed}.mid")
    command = [sys.executable, "-m", "rwkv_music", "doctor", str(tmp_path)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        error = process.stderr.read()
    assert process.returncode == 141
    assert b"Traceback" not in error
    assert b"Exception ignored" not in error


def test_only_the_terminal_module_prints() -> None:
    for path in CLI.glob("*.py"):
        calls = [
            node.func.id
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        ]
        assert ("print" in calls) == (path.name == "terminal.py"), path.name


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_a_name_that_stdout_cannot_encode_is_escaped(encoding: str, tmp_path: Path) -> None:
    prompt = save_score(tune(bars=2), tmp_path / "夜曲.mid")
    arguments = ["continue", str(prompt), "--bars", "1", "--candidates", "2", "-o", "out"]
    done = subprocess.run(
        [sys.executable, "-m", "rwkv_music", *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(rb"\u591c\u66f2-") == 2
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"夜曲-1.mid", "夜曲-2.mid", "report.json"}
