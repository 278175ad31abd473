"""The corpus of a folder of music files, read in worker processes."""

import hashlib
from contextlib import closing
from pathlib import Path

from rwkv_music.data.doctor.folder_report import REMEDIES
from rwkv_music.data.near_duplicates import Fingerprint, fingerprint, group_alike
from rwkv_music.data.pieces import Corpus, Ids, Piece
from rwkv_music.data.scanning import find_files
from rwkv_music.data.worker_pool import Progress, map_in_workers, usable_cores
from rwkv_music.errors import InputError
from rwkv_music.tokenizer import Tokenizer

_FILES_WORTH_A_WORKER = 64
"""Starting a process takes about as long as reading so many."""
_SECONDS_TO_READ = 120.0
"""For any file: on a busy machine, too, the same files must make the same corpus."""


def folder_corpus(
    folder: Path, tokenizer: Tokenizer, *, progress: Progress | None = None
) -> Corpus:
    """Every music file in a folder and below it; files that cannot be used are set aside by name.

    Files are read in separate processes, so that one that crashes its reader costs only itself.
    Files with the same music form one group, also in another key, at another tempo or arranged
    otherwise, so that copies never stand on both sides of a split.
    """
    from rwkv_music.score.files import READABLE_SUFFIXES

    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder: give a folder of music files, or 'bach'")
    files = find_files(folder).music
    if not files:
        raise InputError(
            f"{folder} holds no music file ({', '.join(READABLE_SUFFIXES)}): give another folder"
        )
    paths = [folder / file.name for file in files if not file.problem]
    found: dict[str, Ids] = {}
    prints: dict[str, Fingerprint] = {}
    set_aside = {
        file.name: f"{folder / file.name}: {file.problem}" for file in files if file.problem
    }
    outcomes = map_in_workers(
        _Reader(tokenizer),
        paths,
        workers=min(usable_cores(), 1 + len(paths) // _FILES_WORTH_A_WORKER),
        seconds=_SECONDS_TO_READ,
        in_order=True,
    )
    with closing(outcomes):
        for done, outcome in enumerate(outcomes, start=1):
            name = outcome.item.relative_to(folder).as_posix()
            read = outcome.result
            if read is None:
                assert outcome.failure is not None
                kind, reason, *_ = outcome.failure
                set_aside[name] = f"{outcome.item}: {reason}: {REMEDIES[kind]}"
            elif isinstance(read, str):
                set_aside[name] = read
            else:
                found[name], prints[name] = read
            if progress is not None:
                progress(done, len(paths), name)
    if not found:
        reason = next(iter(set_aside.values()))
        raise InputError(f"none of the {len(files)} files in {folder} can be used; first: {reason}")
    hashes = {name: hashlib.sha256(ids.tobytes()).hexdigest() for name, ids in found.items()}
    groups = group_alike(hashes, prints)
    pieces = tuple(Piece(name, ids, groups[name]) for name, ids in found.items())
    return Corpus(str(folder), pieces, tokenizer.settings, set_aside)


class _Reader:
    """Reads a file and encodes it; a worker's function."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def __call__(self, path: Path) -> tuple[Ids, Fingerprint] | str:
        """Its ids and what it is recognised by, or why it cannot be used."""
        from rwkv_music.score import load_score

        try:
            score = load_score(path)
            return self._tokenizer.encode(score), fingerprint(score)
        except InputError as error:
            return str(error)
