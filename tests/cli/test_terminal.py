"""The bars of `rwkv-music train`, one after the other."""

import errno
import io
from types import SimpleNamespace

import pytest

from rwkv_music.cli.terminal import TrainingProgress, print_message


def test_the_bar_of_the_corpus_is_closed_before_the_training_bar_opens(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with TrainingProgress(2) as bar:
        for done in (1, 2):
            bar.on_piece(done, 2, "a.mid")
        read = capsys.readouterr().err
        for step in (1, 2):
            bar.on_step(SimpleNamespace(step=step, loss_train=1.0, tokens_per_second=9.0))  # type: ignore[arg-type]
    trained = capsys.readouterr().err
    assert "reading the corpus: 100%" in read
    assert read.endswith("\n")
    assert "reading" not in trained
    assert "training: 100%" in trained


def test_reading_that_ends_early_leaves_no_bar_open(capsys: pytest.CaptureFixture[str]) -> None:
    with TrainingProgress(1) as bar:
        bar.on_piece(1, 5, "a.mid")
        bar.on_step(SimpleNamespace(step=1, loss_train=1.0, tokens_per_second=9.0))  # type: ignore[arg-type]
        assert "\n" in capsys.readouterr().err.partition("training")[0]


def test_a_closed_terminal_does_not_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(io.StringIO):
        def write(self, _text: str) -> int:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("sys.stderr", Closed())
    print_message("lost")
    with TrainingProgress(1) as bar:
        bar.on_note("lost as well")
        bar.on_step(SimpleNamespace(step=1, loss_train=1.0, tokens_per_second=9.0))  # type: ignore[arg-type]
        bar.on_evaluation({"step": 1, "loss_valid": 1.0, "nats_per_note_valid": 2.0})
