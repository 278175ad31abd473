"""The control file: words that a trainer listens to, one a line, each obeyed once.

Whoever asks appends a word; the trainer remembers how far it has read. So nobody waits for anybody,
and no word is lost or obeyed twice. By hand: `echo pause >> runs/bach/control`.
"""

from collections.abc import Iterator
from pathlib import Path

PAUSE, RESUME, STOP, SAVE, SAMPLE = WORDS = ("pause", "resume", "stop", "save", "sample")


class ControlFile:
    """One control file, seen by those who ask and by the trainer that reads on.

    Args:
        path: The file; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read_bytes = 0

    def ask(self, word: str) -> None:
        """Append a word: "pause", "resume", "stop", "save" or "sample"."""
        assert word in WORDS
        with self.path.open("a", encoding="utf-8", newline="\n") as lines:
            lines.write(f"{word}\n")

    def clear(self) -> None:
        """Forget every word: they were meant for a trainer that is gone."""
        self.path.unlink(missing_ok=True)
        self._read_bytes = 0

    def holds(self, word: str) -> bool:
        """Whether a word stands in the file, obeyed or not."""
        return self.path.exists() and word in self.path.read_text(encoding="utf-8").split()

    def take(self) -> Iterator[str]:
        """The words that are new since the last call; a file written anew is read from its top."""
        if not self.path.exists():
            return
        with self.path.open("rb") as lines:
            if lines.seek(0, 2) < self._read_bytes:
                self._read_bytes = 0
            lines.seek(self._read_bytes)
            new = lines.read()
        self._read_bytes += len(new)
        yield from new.decode("utf-8", errors="replace").split()
