"""Exceptions for errors that a user can cause.

Invalid input (a file, a number, a folder) raises an `InputError`. Its one-line message names the
value, the limit and the remedy. The command line prints the message and exits with code 2; the
widgets show it. Any other exception is a bug of this library.
"""

from pathlib import Path


class InputError(ValueError):
    """Invalid input from the user. The message says what is wrong, why, and what to do."""


class ScoreFileError(InputError):
    """A music file cannot be read or written.

    Args:
        path: The file, or the name given for bytes.
        reason: What is wrong and how to fix it, in one sentence.
        offset: Byte offset of the error in the file, if known.
    """

    def __init__(self, path: str | Path, reason: str, *, offset: int | None = None) -> None:
        self.path = str(path)
        self.reason = reason
        self.offset = offset
        location = "" if offset is None else f", byte {offset}"
        super().__init__(f"{self.path}{location}: {reason}")


class CheckpointError(InputError):
    """A model file cannot be loaded: missing, damaged, or with other sizes or vocabulary."""


class TrainingFailedError(InputError):
    """A training run stopped early for a reason the user can fix.

    The message names the reason, the remedy and the last checkpoint.
    """


class OtherProcessError(InputError):
    """Another process of the same training run has exited, so this process has to stop."""


class MissingExtraError(InputError):
    """An optional package is not installed.

    Args:
        feature: What the user wanted to do, e.g. "playback".
        package: The missing package, e.g. "pygame".
        extra: The extra of `rwkv-music` that installs it.
    """

    def __init__(self, feature: str, package: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs {package}, which is not installed. "
            f"Run: pip install 'rwkv-music[{extra}]'"
        )
