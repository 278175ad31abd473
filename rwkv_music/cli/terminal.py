"""Output of the commands: results on stdout, messages and progress bars on stderr.

Everything the command line prints goes through this module, which makes control characters in file
names visible and survives terminals that cannot show every character.
"""

import contextlib
import io
import os
import sys
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rwkv_music.cli.flags import with_flags
from rwkv_music.printable import printable

if TYPE_CHECKING:
    from rwkv_music.training.trainer import StepMetrics


def tolerate_narrow_encodings() -> None:
    """Let stdout and stderr escape characters that their encoding does not have.

    A console with code page 1252, or LANG=C, cannot print every file name; the name is then written
    with escapes instead of ending the command with a UnicodeEncodeError.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def print_result(text: object) -> None:
    """Print a result to stdout."""
    print(printable(str(text)), flush=True)


def print_message(text: object) -> None:
    """Print something the user should know to stderr; without a terminal it is lost."""
    with contextlib.suppress(OSError):  # the terminal was closed: keep working
        print(printable(str(text)), file=sys.stderr, flush=True)


def print_error(text: object) -> None:
    """Print an error to stderr, as exactly one line."""
    print_message(f"rwkv-music: {printable(str(text), one_line=True)}")


def leave_closed_pipe() -> None:
    """Send the rest of stdout nowhere: `rwkv-music doctor midi/ | head` has read enough."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


@contextmanager
def file_bar(word: str) -> Iterator[Callable[[int, int, str], None]]:
    """Show a progress bar of files, with the time that remains.

    Args:
        word: What happens to the files, such as "preparing".

    Yields:
        A function to call with the files done, the files in all and the name of the last one.
    """
    from tqdm import tqdm

    with tqdm(desc=word, unit="file", smoothing=0.05) as bar:
        bar.leave = False  # an error before the first file leaves no empty bar behind

        def on_file(done: int, total: int, _name: str) -> None:
            bar.leave, bar.total = True, total
            bar.update(done - bar.n)

        yield on_file


class TrainingProgress:
    """Shows a run: a bar while the corpus is read, then a bar and lines while the model trains.

    Args:
        steps: Optimizer steps the run will take.
        settings: Names of settings that are options of the command; notes show them as flags.
    """

    def __init__(self, steps: int, *, settings: Container[str] = ()) -> None:
        self._steps = steps
        self._settings = settings
        self._corpus: Any = None
        self._training: Any = None

    def __enter__(self) -> "TrainingProgress":
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for bar in (self._corpus, self._training):
            if bar is not None:
                bar.close()

    def on_piece(self, done: int, total: int, name: str) -> None:
        """Show that a piece of a corpus was read."""
        if self._corpus is None:
            from tqdm import tqdm

            self._corpus = tqdm(total=total, desc="reading the corpus", unit="piece")
        self._corpus.set_postfix_str(printable(name, one_line=True), refresh=False)
        self._corpus.update(done - self._corpus.n)
        if done == total:
            self._close_corpus_bar()

    def _close_corpus_bar(self) -> None:
        """Close the finished bar: two open ones would overwrite each other's line."""
        if self._corpus is not None:
            self._corpus.close()
            self._corpus = None

    def on_step(self, report: "StepMetrics") -> None:
        """Show that an optimizer step was taken."""
        if self._training is None:
            from tqdm import tqdm

            self._close_corpus_bar()
            self._training = tqdm(
                total=self._steps, initial=report.step - 1, desc="training", unit="step"
            )
        self._training.set_postfix_str(
            f"{report.loss_train:.3f} nats/token, {report.tokens_per_second:.0f} tokens/s",
            refresh=False,
        )
        self._training.update(report.step - self._training.n)

    def on_note(self, text: str) -> None:
        """Show a note for the user."""
        self._write(with_flags(text, self._settings))

    def on_evaluation(self, line: dict[str, Any]) -> None:
        """Show the result of an evaluation."""
        self._write(
            f"step {line['step']}: held-out completions {line['loss_valid']:.4f} nats per token, "
            f"{line['nats_per_note_valid']:.4f} nats per note"
        )

    def _write(self, text: str) -> None:
        from tqdm import tqdm

        with contextlib.suppress(OSError):  # the terminal was closed: keep training
            tqdm.write(printable(text), file=sys.stderr)
