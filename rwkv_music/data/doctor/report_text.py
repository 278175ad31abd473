"""A folder report in words: what a beginner asks, and the table."""

import math
import re
import shlex
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from rwkv_music.data.doctor.file_report import FileReport

if TYPE_CHECKING:
    from rwkv_music.data.doctor.folder_report import FolderReport

_FEW_GROUPS = 20
_FEW_TOKENS = 100_000
_MOST_NAMED = 5
_LARGE_ERROR_MS = 13.0
_ONE_BEAT = {"1/4", "1/8", "1/2"}
COLUMNS = (
    "verdict", "bars", "notes", "parts", "qpm", "signatures", "moved ms", "most ms",
    "tokens/note", "file",
)  # fmt: skip


class ReportSection(NamedTuple):
    """A question and what the doctor says to it."""

    question: str
    lines: list[str]


def advice(report: "FolderReport") -> list[ReportSection]:
    """The summary, as answers to what one wants to know before training."""
    return [
        ReportSection("Can I train on this?", list(_can_i_train(report))),
        ReportSection("What will be missing?", list(_what_is_missing(report)) or ["Nothing."]),
        ReportSection("What should I do?", list(_what_to_do(report))),
    ]


def summary_text(report: "FolderReport") -> str:
    """The advice as plain text."""
    blocks = []
    for question, lines in advice(report):
        blocks.append("\n".join([question, *(f"  {line}" for line in lines)]))
    return "\n\n".join(blocks)


def table_text(report: "FolderReport") -> str:
    """One row a file, with what there is to say about it below; other endings at the end."""
    rows = [COLUMNS, *(row_of(file) for file in report.files)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(COLUMNS) - 1)]
    remarks = remarks_of(report)
    lines = []
    for place, row in enumerate(rows):
        verdict, *figures, name = row
        cells = [verdict.ljust(widths[0])]
        cells += [each.rjust(width) for each, width in zip(figures, widths[1:], strict=True)]
        lines.append("  ".join([*cells, name]))
        if place:
            lines += [f"{'':{widths[0]}}  {each}" for each in remarks[report.files[place - 1].name]]
    lines += [f"not looked into: {each}" for each in _endings(report.ignored.items())]
    return "\n".join(lines)


def row_of(file: FileReport) -> tuple[str, ...]:
    """A file's cells, in the order of `COLUMNS`; a dash for what is not known."""
    qpm = None if file.slowest_qpm is None else f"{file.slowest_qpm:g}"
    if file.fastest_qpm != file.slowest_qpm:
        qpm = f"{file.slowest_qpm:g}-{file.fastest_qpm:g}"
    cells = (
        file.bars,
        file.notes,
        file.parts,
        qpm,
        ", ".join(file.time_signatures[:3]) + (", ..." if file.time_signatures[3:] else "") or None,
        None if file.onset_p99_ms is None else f"{file.onset_p99_ms:.1f}",
        None if file.onset_max_ms is None else f"{file.onset_max_ms:.1f}",
        None if file.tokens_per_note is None else f"{file.tokens_per_note:.2f}",
    )
    return (file.verdict, *("-" if cell is None else str(cell) for cell in cells), file.name)


def remarks_of(report: "FolderReport") -> dict[str, list[str]]:
    """Name of each file -> what there is to say about it, line by line."""
    remarks: dict[str, list[str]] = {}
    for file in report.files:
        lines = [f"why: {file.reason}"] if file.reason else []
        lines += [f"repaired: {change}" for change in file.repairs]
        if file.notes_lost:
            lines.append(f"lost: {file.notes_lost} notes do not come back from the tokenizer")
        remarks[file.name] = lines
    for first, *others in report.copies:
        for name in others:
            remarks[name].append(f"copy: the same music as {first}")
    for pair in report.near_duplicates:
        how = _how_alike(pair.share, pair.kind)
        remarks[pair.second].append(f"near-duplicate: {how} is the same in {pair.first}")
        remarks[pair.first].append(f"near-duplicate: {how} is the same in {pair.second}")
    return remarks


def _how_alike(share: float, kind: str) -> str:
    what = "the music" if kind == "whole" else "a part"
    return f"{share:.0%} of {what}"


def _can_i_train(report: "FolderReport") -> Iterator[str]:
    found = len(report.files) + report.not_examined
    groups, tokens = len(set(report.groups.values())), sum(f.tokens or 0 for f in report.usable)
    if not found:
        yield "No: there is no music file in this folder."
    elif groups < 2:
        different = "no file" if not groups else "only one piece (copies count once)"
        yield (
            f"No: {different} of {_count(found, 'music file')} can be used, and training needs at "
            "least 2 pieces, one of them to test with."
        )
    elif groups < _FEW_GROUPS or tokens < _FEW_TOKENS:
        yield (
            f"Yes, but it is little: {_count(groups, 'different piece')}, {tokens:,} tokens. A new "
            "model will soon know them by heart; watch the held-out loss, and add music if you can."
        )
    else:
        yield f"Yes: {groups:,} different pieces, {tokens:,} tokens."
    if report.usable:
        notes, bars = (sum(getattr(f, n) or 0 for f in report.usable) for n in ("notes", "bars"))
        hours = sum(file.seconds or 0 for file in report.usable) / 3600
        yield (
            f"{_are(len(report.usable), 'file')} usable of {found:,}: {bars:,} bars, {notes:,} "
            f"notes, {_duration(hours)} of music."
        )
        worst = max(report.usable, key=lambda file: file.onset_p99_ms or 0)
        yield (
            f"As tokens, 99 of 100 notes begin within {_up(worst.onset_p99_ms)} ms of where they "
            f"did, even in the worst file ({worst.name})."
            if worst.onset_p99_ms
            else "As tokens, 99 of 100 notes begin exactly where they did."
        )


def _what_is_missing(report: "FolderReport") -> Iterator[str]:
    if report.not_examined:
        yield f"{_are(report.not_examined, 'file')} not examined: it was stopped before."
    aside = [file for file in report.files if not file.is_usable]
    kinds: dict[str, list[FileReport]] = {}
    for file in aside:
        kinds.setdefault(_kind_of(file.reason), []).append(file)
    for files in sorted(kinds.values(), key=len, reverse=True):
        yield f"{_are(len(files), 'file')} skipped ({_names(f.name for f in files)}): " + (
            files[0].reason if len(files) == 1 else f"each of them: {files[0].reason}"
        )
    lost = [file for file in report.usable if file.notes_lost]
    if lost:
        yield f"{_count(len(lost), 'file')} lose notes in the tokenizer: {_names_of(lost)}."
    if report.ignored:
        total = sum(report.ignored.values())
        endings = ", ".join(_endings(report.ignored.items()))
        yield f"{_are(total, 'file')} of another kind and not looked into: {endings}."


def _kind_of(reason: str) -> str:
    """Reasons that differ only in figures and in what stands in brackets are of one kind."""
    return re.sub(r"\([^)]*\)|\d+", "", reason)


def _what_to_do(report: "FolderReport") -> Iterator[str]:
    repairs = [file for file in report.files if file.repairs]
    if repairs:
        yield (
            f"{_count(len(repairs), 'file')} had faults that are repaired while reading "
            f"({_names_of(repairs)}): listen before you trust them; no file is changed."
        )
    for first, *others in report.copies[:_MOST_NAMED]:
        yield f"Delete {_names(iter(others))}: the same music as {first}, note for note."
    if report.copies[_MOST_NAMED:]:
        rest = len(report.copies) - _MOST_NAMED
        yield f"There are {_count(rest, 'more set')} of copies; see the table."
    for pair in report.near_duplicates[:_MOST_NAMED]:
        yield (
            f"Compare {pair.first} and {pair.second}: {_how_alike(pair.share, pair.kind)} is the "
            "same. Training keeps them on one side of its split; delete one if it is only a copy."
        )
    if report.near_duplicates[_MOST_NAMED:]:
        rest = len(report.near_duplicates) - _MOST_NAMED
        yield f"There are {_count(rest, 'more pair')} of this sort; see the table."
    for each in report.split_leaks[:_MOST_NAMED]:
        yield (
            f"{each.first} ({each.splits[0]}) and {each.second} ({each.splits[1]}) are the same "
            "music: what is measured on it would flatter. Take one out, or give training the "
            "whole folder and let it split by piece."
        )
    for each in report.store_leaks[:_MOST_NAMED]:
        yield (
            f"Before you prepare a token store, delete {each.first} or {each.second}: a store "
            f"knows exact copies only, and would take one for {each.splits[0]}, the other for "
            f"{each.splits[1]}."
        )
    yield from _doubtful_figures(report)
    if len(set(report.groups.values())) >= 2:
        held_out = sum(side == "validation" for side in report.splits.values())
        folder = shlex.quote(report.folder)
        yield (
            f"Train: rwkv-music train --corpus {folder} --out runs/mine. {_are(held_out, 'file')} "
            "then held out to test with. Large folders are best prepared once before: "
            f"rwkv-music prepare {folder} -o stores/mine."
        )
    else:
        yield "Add music files (MIDI, MusicXML, ABC or Humdrum) and ask the doctor again."


def _doubtful_figures(report: "FolderReport") -> Iterator[str]:
    short = [file for file in report.usable if set(file.time_signatures) <= _ONE_BEAT]
    if short and len(short) >= len(report.usable) / 10:
        yield (
            f"{_count(len(short), 'file')} have bars of one beat only ({_names_of(short)}). "
            "Programs often write that by mistake. Prompts are counted in bars: choose more of "
            "them, or correct the signatures."
        )
    coarse = [file for file in report.usable if (file.onset_p99_ms or 0) > _LARGE_ERROR_MS]
    if coarse:
        yield (
            f"{_count(len(coarse), 'file')} {'loses' if len(coarse) == 1 else 'lose'} more than "
            f"{_LARGE_ERROR_MS:g} ms of timing "
            f"({_names_of(coarse)}): a finer grid keeps it. Prepare a token store with "
            "--steps-per-quarter 192, and train on that."
        )


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"


def _are(number: int, word: str) -> str:
    return f"{_count(number, word)} {'is' if number == 1 else 'are'}"


def _names_of(files: Iterable[FileReport]) -> str:
    return _names(file.name for file in files)


def _names(names: Iterable[str]) -> str:
    listed = list(names)
    rest = len(listed) - _MOST_NAMED
    return ", ".join(listed[:_MOST_NAMED]) + (f" and {rest:,} more" if rest > 0 else "")


def _endings(ignored: Iterable[tuple[str, int]]) -> list[str]:
    return [f"{number:,} {ending or 'without an ending'}" for ending, number in ignored]


def _up(milliseconds: float) -> str:
    return f"{math.ceil(10 * milliseconds) / 10:.1f}"


def _duration(hours: float) -> str:
    return f"{hours:.1f} hours" if hours >= 2 else f"{60 * hours:.1f} minutes"
