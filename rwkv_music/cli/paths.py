"""Output paths of the commands, tried before the work is done."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rwkv_music.errors import InputError

_PROBE = ".rwkv-music-write-test"


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError inside the block into an InputError of one line.

    Args:
        path: Named in the message if the error names no file.
    """
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{error.filename or path} cannot be written ({error.strerror or error}): choose "
            "another place"
        ) from error


def make_folder(folder: Path) -> None:
    """Make a folder to write to.

    Raises:
        InputError: If it cannot be made, or no file can be written in it.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _PROBE).touch()
        (folder / _PROBE).unlink()


def try_file(path: Path, option: str) -> None:
    """Make the folder of a file and check that the file can be written; its content stays.

    Args:
        path: The file.
        option: Its option on the command line.

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
