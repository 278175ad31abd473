"""Where a command writes to: tried before the work is done, not after it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rwkv_music.errors import InputError

_PROBE = ".rwkv-music-writes-here"


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Refuse in one line what the system refuses to write.

    Args:
        path: Named where the system names no file.
    """
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{error.filename or path} cannot be written ({error.strerror}): choose another place"
        ) from error


def make_folder(folder: Path) -> None:
    """Make a folder to write into.

    Raises:
        InputError: If it cannot be made, or no file in it.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _PROBE).touch()
        (folder / _PROBE).unlink()


def try_file(path: Path, option: str) -> None:
    """Make the folder of a file and see that the file can be written; it stays as it is.

    Args:
        path: The file.
        option: By which it is named on the command line.

    Raises:
        InputError: If it is a folder or cannot be written.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder: give {option} a file")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not path.exists()
        path.open("ab").close()
        if is_new:
            path.unlink()
