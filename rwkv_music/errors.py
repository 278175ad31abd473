"""The errors a user can cause, each with one line that says what to do.

Everything a user may hand in wrongly (a file, a number, a folder) ends in an `InputError`. Its text
names the value, the limit and the remedy; the command line prints it as it is and exits with 2, and
the widgets show it as a message. Any other exception is a bug of ours.
"""

from pathlib import Path


class InputError(ValueError):
    """Something the user gave cannot be used; the text says what, why and what to do."""


class ScoreFileError(InputError):
    """A music file cannot be read or written.

    Args:
        path: The file, or the name under which bytes were handed in.
        reason: What is wrong and what helps, as one sentence.
        place: Where in the file, counted in bytes from 0, if that is known.
    """

    def __init__(self, path: str | Path, reason: str, *, place: int | None = None) -> None:
        self.path = str(path)
        self.reason = reason
        self.place = place
        where = "" if place is None else f", byte {place}"
        super().__init__(f"{self.path}{where}: {reason}")


class CheckpointError(InputError):
    """A model file cannot be loaded: missing, damaged, of other sizes or of another vocabulary."""


class TrainingFailedError(InputError):
    """A training run ended early for a cause its user can do something about.

    The text names the cause, the remedy, and the checkpoint that is kept.
    """


class OtherProcessError(InputError):
    """Another process that trains the same model has ended, so this one cannot go on."""


class MissingExtraError(InputError):
    """An optional package is not installed.

    Args:
        feature: What the user wanted to do, e.g. "playback".
        package: The package that is missing, e.g. "pygame".
        extra: The extra of this project that brings it.
    """

    def __init__(self, feature: str, package: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs {package}, which is not installed. "
            f"Run: pip install 'rwkv-music[{extra}]'"
        )
