"""The report of a folder of music: its files, and what they mean for training.

Every file is reported, on its own or, if its ending cannot be read, in the count of that ending.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from rwkv_music.data.doctor.file_report import Examiner, FileReport
from rwkv_music.data.file_reading import failure_text, seconds_for
from rwkv_music.data.near_duplicates import (
    Fingerprint,
    NearDuplicate,
    find_near_duplicates,
    group_near_duplicates,
)
from rwkv_music.data.pieces import held_out_groups
from rwkv_music.data.scanning import FolderListing, FoundFile, find_files
from rwkv_music.data.worker_pool import Progress, map_in_workers
from rwkv_music.tokenizer import Tokenizer

_SECONDS_TO_MEASURE = 9.0
"""Added to the time limit for reading: a file of 100,000 notes is measured in one second."""

_TRAINING, _VALIDATION = "training", "validation"
_SPLITS_BY_FOLDER = {
    "train": _TRAINING, "training": _TRAINING, "valid": _VALIDATION, "validation": _VALIDATION,
    "val": _VALIDATION, "dev": _VALIDATION, "test": "test", "testing": "test",
}  # fmt: skip


class SplitLeak(NamedTuple):
    """A train/held-out leak: the same music in two splits."""

    first: str
    second: str
    splits: tuple[str, str]


@dataclass(frozen=True)
class FolderReport:
    """The report of a folder."""

    folder: str
    files: tuple[FileReport, ...]
    """Sorted by name."""
    ignored: Mapping[str, int]
    """Ending -> number of files with it that were not examined; "" for no ending."""
    not_examined: int = 0
    """Files that were not examined because of an interruption."""

    @cached_property
    def usable(self) -> tuple[FileReport, ...]:
        """Files that can be trained on."""
        return tuple(file for file in self.files if file.is_usable)

    @cached_property
    def copies(self) -> list[list[str]]:
        """Sets of files with exactly the same music."""
        names: dict[str, list[str]] = {}
        for file in self.files:
            if file.content_hash:
                names.setdefault(file.content_hash, []).append(file.name)
        return [same for same in names.values() if len(same) > 1]

    @cached_property
    def near_duplicates(self) -> list[NearDuplicate]:
        """Pairs with the same music in another form, the most similar first; no exact copies."""
        first_with: dict[str, FileReport] = {}
        for file in self.files:
            if file.statistics is not None:
                first_with.setdefault(file.content_hash, file)
        return find_near_duplicates(_fingerprints(first_with.values()))

    @cached_property
    def groups(self) -> dict[str, str]:
        """Group of each usable file; copies and near-duplicates share one, and so their split."""
        known = [file for file in self.usable if file.statistics is not None]
        hashes = {file.name: file.content_hash for file in known}
        return group_near_duplicates(hashes, _fingerprints(known))

    @cached_property
    def splits(self) -> dict[str, str]:
        """The split of each usable file when training splits this folder."""
        return _split_by_hash(self.groups)

    @cached_property
    def split_leaks(self) -> list[SplitLeak]:
        """The same music in folders called train, valid, test and the like."""
        pairs = [(pair.first, pair.second) for pair in self.near_duplicates]
        pairs += [(same[0], other) for same in self.copies for other in same[1:]]
        return _leaks(pairs, declared_split)

    @cached_property
    def store_leaks(self) -> list[SplitLeak]:
        """Near-duplicates that a token store puts into two splits; it knows exact copies only."""
        splits = _split_by_hash({file.name: file.content_hash for file in self.usable})
        return _leaks([(pair.first, pair.second) for pair in self.near_duplicates], splits.get)


def _fingerprints(files: Iterable[FileReport]) -> dict[str, Fingerprint]:
    return {file.name: file.statistics.fingerprint for file in files if file.statistics}


def _split_by_hash(groups: Mapping[str, str]) -> dict[str, str]:
    held_out = held_out_groups(groups.values())
    return {name: _VALIDATION if group in held_out else _TRAINING for name, group in groups.items()}


def _leaks(
    pairs: Sequence[tuple[str, str]], split_of: Callable[[str], str | None]
) -> list[SplitLeak]:
    leaks = []
    for first, second in pairs:
        one, other = split_of(first), split_of(second)
        if one and other and one != other:
            leaks.append(SplitLeak(first, second, (one, other)))
    return leaks


def declared_split(name: str) -> str | None:
    """Return the split that a folder in a name declares.

    Example:
        >>> declared_split("train/a.mid"), declared_split("songs/a.mid")
        ('training', None)
    """
    folders = [folder.lower() for folder in PurePosixPath(name).parts[:-1]]
    splits = [_SPLITS_BY_FOLDER[folder] for folder in folders if folder in _SPLITS_BY_FOLDER]
    return splits[0] if splits else None


def examine_files(
    folder: str | Path,
    files: Sequence[FoundFile],
    *,
    tokenizer: Tokenizer | None = None,
    unfold_repeats: bool = False,
    workers: int | None = None,
) -> Iterator[FileReport]:
    """Examine files in worker processes; a file that crashes its reader affects no other.

    Args:
        folder: Folder that their names are relative to.
        files: The files.
        tokenizer: The tokenizer that training will use; the default one when None.
        unfold_repeats: As for `load_score`.
        workers: Number of processes; one per core when None.

    Yields:
        The report of each file, as soon as it is made.
    """
    for file in files:
        if file.problem:
            yield FileReport(file.name, "skipped", reason=file.problem)
    sizes = {str(Path(folder) / file.name): file.size for file in files if not file.problem}
    results = map_in_workers(
        Examiner(tokenizer or Tokenizer(), unfold_repeats=unfold_repeats),
        list(sizes),
        workers=workers,
        seconds=lambda path: seconds_for(path, sizes[path]) + _SECONDS_TO_MEASURE,
    )
    for task in results:
        name = Path(task.item).relative_to(folder).as_posix()
        report = task.result
        if report is None:
            assert task.failure is not None
            report = FileReport(name, "skipped", reason=failure_text(task.failure))
        yield report.with_name(name)


def examine_folder(
    folder: str | Path,
    *,
    tokenizer: Tokenizer | None = None,
    unfold_repeats: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> FolderReport:
    """Examine every music file in a folder and below it.

    Args:
        folder: Folder of music files.
        tokenizer: The tokenizer that training will use; the default one when None.
        unfold_repeats: As for `load_score`.
        workers: Number of processes; one per core when None.
        progress: Called for each file.

    Raises:
        InputError: If it is not a folder, or contains no music file.

    Example:
        report = examine_folder("midi/")
        [file.name for file in report.files if not file.is_usable]
    """
    listing = find_files(folder)
    reports: list[FileReport] = []
    for report in examine_files(
        folder,
        listing.music,
        tokenizer=tokenizer,
        unfold_repeats=unfold_repeats,
        workers=workers,
    ):
        reports.append(report)
        if progress is not None:
            progress(len(reports), len(listing.music), report.name)
    return folder_report(folder, listing, reports)


def folder_report(
    folder: str | Path, listing: FolderListing, reports: Sequence[FileReport]
) -> FolderReport:
    """Combine the reports of files; after an interruption there are fewer than were listed."""
    return FolderReport(
        folder=str(folder),
        files=tuple(sorted(reports, key=lambda file: file.name)),
        ignored=dict(listing.ignored.most_common()),
        not_examined=len(listing.music) - len(reports),
    )
