"""The control file: commands for a trainer, one a line, each handled once.

A viewer appends a command; the trainer remembers how far it has read. Nobody has to wait, and no
command is lost or handled twice. By hand: `echo pause >> runs/bach/control`.
"""

from collections.abc import Iterator
from pathlib import Path

from rwkv_music.errors import InputError

PAUSE, RESUME, STOP, SAVE, SAMPLE = COMMANDS = ("pause", "resume", "stop", "save", "sample")


class ControlFile:
    """The control file of a run, for viewers that write it and the trainer that reads it.

    Args:
        path: The file; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read_bytes = 0

    def ask(self, command: str) -> None:
        """Append a command: "pause", "resume", "stop", "save" or "sample".

        Raises:
            InputError: If the file cannot be written.
        """
        assert command in COMMANDS
        if self.path.is_symlink():
            raise InputError(f"{self.path} is a symbolic link: delete it, then try again")
        try:
            with self.path.open("a", encoding="utf-8", newline="\n") as lines:
                lines.write(f"{command}\n")
        except OSError as error:
            raise InputError(
                f"cannot write the command '{command}' to {self.path} ({error.strerror}): check "
                "that the run directory exists and is writable"
            ) from error

    def clear(self) -> None:
        """Forget every command: they were for a trainer that has ended."""
        self.path.unlink(missing_ok=True)
        self._read_bytes = 0

    def holds(self, command: str) -> bool:
        """Return whether the file contains a command, handled or not."""
        try:
            return command in self.path.read_text(encoding="utf-8", errors="replace").split()
        except FileNotFoundError:
            return False

    def take(self) -> Iterator[str]:
        """Yield the commands that are new since the last call; a new file is read from its top."""
        if not self.path.exists():
            return
        with self.path.open("rb") as lines:
            if lines.seek(0, 2) < self._read_bytes:
                self._read_bytes = 0
            lines.seek(self._read_bytes)
            new = lines.read()
        self._read_bytes += len(new)
        yield from new.decode("utf-8", errors="replace").split()
