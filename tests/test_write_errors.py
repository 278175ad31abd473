"""Errors while writing: one line with the path, the system's reason and a remedy, everywhere."""

import errno
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from rwkv_music.atomic import replace_file, write_atomic
from rwkv_music.errors import InputError, WriteError, write_errors
from rwkv_music.generation import Session
from rwkv_music.model import RWKV7, ModelConfig, MusicModel, save_checkpoint
from rwkv_music.model.style import Style, save_style
from rwkv_music.score import save_piano_roll, save_score
from rwkv_music.tokenizer import Tokenizer
from tests.music import tune

ERRORS = (
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT, errno.EIO,
    errno.ENAMETOOLONG, errno.EMFILE,
)  # fmt: skip


def save_session(folder: Path) -> None:
    Session(None, tune(bars=2)).save(folder)


def tiny_model() -> MusicModel:
    tokenizer = Tokenizer()
    sizes = ModelConfig(vocab_size=tokenizer.vocab_size, num_layers=1, dim=64)
    return MusicModel(RWKV7(sizes), tokenizer.settings)


WRITERS: dict[str, Callable[[Path], object]] = {
    "score": lambda folder: save_score(tune(bars=2), folder / "a.mid"),
    "notation": lambda folder: save_score(tune(bars=2), folder / "a.abc"),
    "piano roll": lambda folder: save_piano_roll(tune(bars=2), folder / "a.png"),
    "session": lambda folder: save_session(folder / "session"),
    "checkpoint": lambda folder: save_checkpoint(tiny_model(), folder / "a.safetensors"),
    "style": lambda folder: save_style(
        Style(torch.zeros(1, 1, 64, 64), "base", {}), folder / "a.style.safetensors"
    ),
}


@pytest.mark.parametrize("code", ERRORS, ids=lambda code: errno.errorcode[code])
@pytest.mark.parametrize("writer", WRITERS)
def test_every_error_of_the_system_becomes_one_line(
    writer: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(InputError) as caught:
        WRITERS[writer](tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(tmp_path) in message
    assert ".partial" not in message
    assert os.strerror(code) in message
    assert not list(tmp_path.glob("**/*.partial"))


def test_an_error_names_the_path_and_not_the_temporary_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "song.mid"
    with pytest.raises(WriteError, match="cannot be written") as caught, write_errors(path):
        write_atomic(path, b"x")
    assert ".partial" not in str(caught.value)


def on_windows(monkeypatch: pytest.MonkeyPatch, is_open: threading.Event) -> list[float]:
    """Emulate Windows: a file that somebody has open cannot be replaced. Records the attempts."""
    real, attempts = Path.replace, []

    def replace(source: Path, target: Path) -> Path:
        attempts.append(time.monotonic())
        if is_open.is_set():
            raise PermissionError(errno.EACCES, "Access is denied", str(target))
        return real(source, target)

    monkeypatch.setattr(Path, "replace", replace)
    return attempts


def test_a_file_that_a_reader_has_open_is_replaced_as_soon_as_it_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_open = threading.Event()
    is_open.set()
    attempts = on_windows(monkeypatch, is_open)
    path = tmp_path / "status.json"
    path.write_bytes(b"old")
    threading.Timer(0.2, is_open.clear).start()
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert len(attempts) > 2
    assert [entry.name for entry in tmp_path.iterdir()] == ["status.json"]


def test_a_file_that_stays_open_is_an_error_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_open = threading.Event()
    is_open.set()
    attempts = on_windows(monkeypatch, is_open)
    monkeypatch.setattr("rwkv_music.atomic._REPLACE_SECONDS", 0.1)
    path = tmp_path / "status.json"
    path.write_bytes(b"old")
    with pytest.raises(PermissionError, match="Access is denied"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert len(attempts) > 2
    assert [entry.name for entry in tmp_path.iterdir()] == ["status.json"]


def test_other_errors_of_a_rename_are_not_retried(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(FileNotFoundError):
        replace_file(tmp_path / "missing", tmp_path / "target")
    assert time.monotonic() - began < 1
