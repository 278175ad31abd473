"""Output paths of the commands, tried before the work is done."""

from pathlib import Path

from rwkv_music.errors import InputError, WriteError, write_errors, write_problem

_PROBE = ".rwkv-music-write-test"


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
        raise WriteError(f"{folder} {write_problem(error)}") from error


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
    with write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not path.exists()
        path.open("ab").close()
        if is_new:
            path.unlink()
