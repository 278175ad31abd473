"""The data doctor: what is in a folder of music, file by file, and what that means for training.

Every file that is found appears: as a row of its own, or, if its ending is of no format that can be
read, in the count of that ending.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from rwkv_music.data.doctor.file_report import Examiner, FileReport
from rwkv_music.data.near_duplicates import Alike, alike_pairs, group_alike
from rwkv_music.data.pieces import held_out_groups
from rwkv_music.data.scanning import FoundFile, FoundFiles, find_files
from rwkv_music.data.worker_pool import Progress, map_in_workers, seconds_for
from rwkv_music.tokenizer import Tokenizer

_SECONDS_TO_MEASURE = 9.0
"""Beyond what reading may take: a file of 100,000 notes is measured in one."""

REMEDIES = {
    "late": "leave it out, or convert it elsewhere",
    "crashed": "export it again in another format, or leave it out",
    "failed": "leave it out, and report this, please",
    "refused": "leave it out",
}
"""What to do about a file with which a worker failed, by the kind of the failure."""
_TRAINING, _VALIDATION = "training", "validation"
_SIDES_BY_FOLDER = {
    "train": _TRAINING, "training": _TRAINING, "valid": _VALIDATION, "validation": _VALIDATION,
    "val": _VALIDATION, "dev": _VALIDATION, "test": "test", "testing": "test",
}  # fmt: skip


class Crossing(NamedTuple):
    """The same music on both sides of a split."""

    first: str
    second: str
    sides: tuple[str, str]


@dataclass(frozen=True)
class FolderReport:
    """What is known of a folder."""

    folder: str
    files: tuple[FileReport, ...]
    """Sorted by name."""
    ignored: Mapping[str, int]
    """Ending -> how many files with it were not looked into; "" for none."""
    not_examined: int = 0
    """Files that the examination did not come to, because it was stopped."""

    @cached_property
    def usable(self) -> tuple[FileReport, ...]:
        """Files that can be trained on."""
        return tuple(file for file in self.files if file.is_usable)

    @cached_property
    def copies(self) -> list[list[str]]:
        """Files with exactly the same music, set by set."""
        names: dict[str, list[str]] = {}
        for file in self.files:
            if file.content_hash:
                names.setdefault(file.content_hash, []).append(file.name)
        return [same for same in names.values() if len(same) > 1]

    @cached_property
    def alike(self) -> list[Alike]:
        """Pairs that are the same music in another form, the likest first; no exact copies."""
        first_with: dict[str, FileReport] = {}
        for file in self.files:
            if file.profile is not None:
                first_with.setdefault(file.content_hash, file)
        return alike_pairs(
            {each.name: each.profile.fingerprint for each in first_with.values() if each.profile}
        )

    @cached_property
    def groups(self) -> dict[str, str]:
        """Group of each usable file: copies and likenesses share one, and with it their side."""
        known = [file for file in self.usable if file.profile is not None]
        return group_alike(
            {file.name: file.content_hash for file in known},
            {file.name: file.profile.fingerprint for file in known if file.profile},
        )

    @cached_property
    def sides(self) -> dict[str, str]:
        """The side of each usable file when training splits this folder."""
        held_out = held_out_groups(self.groups.values())
        return {
            name: _VALIDATION if group in held_out else _TRAINING
            for name, group in self.groups.items()
        }

    @cached_property
    def crossings(self) -> list[Crossing]:
        """The same music in folders called train, valid, test and the like."""
        pairs = [(pair.first, pair.second) for pair in self.alike]
        pairs += [(same[0], other) for same in self.copies for other in same[1:]]
        return _crossings(pairs, declared_side)

    @cached_property
    def store_crossings(self) -> list[Crossing]:
        """Likenesses that a token store parts, since it knows exact copies only."""
        hashes = {file.name: file.content_hash for file in self.usable}
        held_out = held_out_groups(hashes.values())
        sides = {
            name: _VALIDATION if content in held_out else _TRAINING
            for name, content in hashes.items()
        }
        return _crossings([(pair.first, pair.second) for pair in self.alike], sides.get)

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        from rwkv_music.data.doctor.report_text import advice

        return {
            "folder": self.folder,
            "advice": advice(self),
            "files": [{**file.as_dict(), "side": self.sides.get(file.name)} for file in self.files],
            "ignored": dict(self.ignored),
            "not_examined": self.not_examined,
            "copies": self.copies,
            "alike": [pair._asdict() for pair in self.alike],
            "crossings": [crossing._asdict() for crossing in self.crossings],
            "store_crossings": [crossing._asdict() for crossing in self.store_crossings],
        }


def _crossings(
    pairs: Sequence[tuple[str, str]], side_of: Callable[[str], str | None]
) -> list[Crossing]:
    found = []
    for first, second in pairs:
        one, other = side_of(first), side_of(second)
        if one and other and one != other:
            found.append(Crossing(first, second, (one, other)))
    return found


def declared_side(name: str) -> str | None:
    """The side of a split that one of the folders in a name declares.

    Example:
        >>> declared_side("train/a.mid"), declared_side("songs/a.mid")
        ('training', None)
    """
    folders = PurePosixPath(name).parts[:-1]
    sides = [_SIDES_BY_FOLDER[each.lower()] for each in folders if each.lower() in _SIDES_BY_FOLDER]
    return sides[0] if sides else None


def examine_files(
    folder: str | Path,
    files: Sequence[FoundFile],
    *,
    tokenizer: Tokenizer | None = None,
    workers: int | None = None,
) -> Iterator[FileReport]:
    """Examine files in separate processes; a file that crashes its reader costs only itself.

    Args:
        folder: What their names are relative to.
        files: Which ones.
        tokenizer: What training will use; the default one when None.
        workers: Processes; as many as there are cores by default.

    Yields:
        A report for each file, as they are made.
    """
    for file in files:
        if file.problem:
            yield FileReport(file.name, "set aside", reason=file.problem).named(file.name)
    outcomes = map_in_workers(
        Examiner(tokenizer or Tokenizer()),
        [str(Path(folder) / file.name) for file in files if not file.problem],
        workers=workers,
        seconds=lambda path: seconds_for(path) + _SECONDS_TO_MEASURE,
    )
    for outcome in outcomes:
        name = Path(outcome.item).relative_to(folder).as_posix()
        report = outcome.result
        if report is None:
            assert outcome.failure is not None
            remedy = REMEDIES[outcome.failure.kind]
            report = FileReport(name, "set aside", reason=f"{outcome.failure.reason}: {remedy}")
        yield report.named(name)


def examine_folder(
    folder: str | Path,
    *,
    tokenizer: Tokenizer | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> FolderReport:
    """Examine every music file in a folder and below it.

    Args:
        folder: Where the music is.
        tokenizer: What training will use; the default one when None.
        workers: Processes; as many as there are cores by default.
        progress: Told of each file.

    Raises:
        InputError: If it is no folder, or has no music file in it.

    Example:
        report = examine_folder("midi/")
        [file.name for file in report.files if not file.is_usable]
    """
    found = find_files(folder)
    done: list[FileReport] = []
    for report in examine_files(folder, found.music, tokenizer=tokenizer, workers=workers):
        done.append(report)
        if progress is not None:
            progress(len(done), len(found.music), report.name)
    return folder_report(folder, found, done)


def folder_report(
    folder: str | Path, found: FoundFiles, done: Sequence[FileReport]
) -> FolderReport:
    """What the reports of some files say together; fewer than were found after an interruption."""
    return FolderReport(
        folder=str(folder),
        files=tuple(sorted(done, key=lambda file: file.name)),
        ignored=dict(found.ignored.most_common()),
        not_examined=len(found.music) - len(done),
    )
