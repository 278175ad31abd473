"""The corpus of a folder of music files, read in worker processes."""

import hashlib
from contextlib import closing
from pathlib import Path

from rwkv_music.data.file_reading import failure_text
from rwkv_music.data.near_duplicates import Fingerprint, fingerprint, group_near_duplicates
from rwkv_music.data.pieces import Corpus, Ids, Piece
from rwkv_music.data.scanning import find_files
from rwkv_music.data.worker_pool import Progress, TaskResult, map_in_workers, usable_cores
from rwkv_music.errors import InputError
from rwkv_music.tokenizer import Tokenizer

_FILES_PER_WORKER = 64
"""Starting a process takes about as long as reading this many files."""
_MAX_SECONDS = 120.0
"""Time limit for any file. It is generous: a busy machine must make the same corpus."""


def folder_corpus(
    folder: Path,
    tokenizer: Tokenizer,
    *,
    unfold_repeats: bool = False,
    progress: Progress | None = None,
) -> Corpus:
    """Return every music file in a folder and below it; files that cannot be used are skipped.

    Files are read in worker processes, so that one that crashes its reader affects no other. Files
    with the same music form one group, also in another key, tempo or arrangement, so that copies
    are always in the same split. `unfold_repeats` is that of `load_score`.

    Raises:
        InputError: If it is not a folder, or no file in it can be used.
    """
    from rwkv_music.score.files import READABLE_SUFFIXES

    if not folder.is_dir():
        raise InputError(
            f"{folder} is not a folder: give a folder of music files, 'bach' "
            "or 'folk'; quote a name that contains spaces"
        )
    files = find_files(folder).music
    if not files:
        raise InputError(
            f"{folder} contains no music file ({', '.join(READABLE_SUFFIXES)}): give another folder"
        )
    paths = [folder / file.name for file in files if not file.problem]
    skipped = {file.name: f"{folder / file.name}: {file.problem}" for file in files if file.problem}
    ids: dict[str, Ids] = {}
    prints: dict[str, Fingerprint] = {}
    results = map_in_workers(
        _Reader(tokenizer, unfold_repeats=unfold_repeats),
        paths,
        workers=min(usable_cores(), 1 + len(paths) // _FILES_PER_WORKER),
        seconds=_MAX_SECONDS,
        in_order=True,
    )
    with closing(results):
        for done, task in enumerate(results, start=1):
            name = task.item.relative_to(folder).as_posix()
            content = _content_or_reason(task)
            if isinstance(content, str):
                skipped[name] = content
            else:
                ids[name], prints[name] = content
            if progress is not None:
                progress(done, len(paths), name)
    if not ids:
        reason = next(iter(skipped.values()))
        raise InputError(f"none of the {len(files)} files in {folder} can be used; first: {reason}")
    hashes = {name: hashlib.sha256(piece.tobytes()).hexdigest() for name, piece in ids.items()}
    groups = group_near_duplicates(hashes, prints)
    pieces = tuple(Piece(name, piece, groups[name]) for name, piece in ids.items())
    return Corpus(str(folder), pieces, tokenizer.settings, skipped)


_Content = tuple[Ids, Fingerprint]


class _Reader:
    """Reads and encodes a file; called in a worker process."""

    def __init__(self, tokenizer: Tokenizer, *, unfold_repeats: bool) -> None:
        self._tokenizer, self._unfold_repeats = tokenizer, unfold_repeats

    def __call__(self, path: Path) -> _Content | str:
        """Return the ids and the fingerprint, or why the file cannot be used."""
        from rwkv_music.score import load_score

        try:
            score = load_score(path, unfold_repeats=self._unfold_repeats)
            return self._tokenizer.encode(score), fingerprint(score)
        except InputError as error:
            return str(error)


def _content_or_reason(task: TaskResult[Path, _Content | str]) -> _Content | str:
    if task.result is not None:
        return task.result
    assert task.failure is not None
    return f"{task.item}: {failure_text(task.failure)}"
