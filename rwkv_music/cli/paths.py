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
        raise _not_writable(error.filename or path, error) from error


def _not_writable(path: str | Path, error: OSError) -> InputError:
    reason = error.strerror or error
    return InputError(f"{path} cannot be written ({reason}): choose another place")


def make_folder(folder: Path) -> None:
    """Make a folder to write to.

    Raises:
        InputError: If it cannot be made, or no file can be written in it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _PROBE).touch()
        (folder / _PROBE).unlink()
    except OSError as error:  # which names the test file, or a folder above
        raise _not_writable(folder, error) from error


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
