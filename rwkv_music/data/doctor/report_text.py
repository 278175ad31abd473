"""A folder report as text: answers to a beginner's questions, and the table of files."""

import math
import re
import shlex
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from rwkv_music.data.doctor.file_report import FileReport
from rwkv_music.data.doctor.folder_report import FolderReport
from rwkv_music.printable import printable

_FEW_GROUPS = 20
_FEW_TOKENS = 100_000
_MAX_NAMES = 5
_LARGE_ERROR_MS = 13.0
_ONE_BEAT = {"1/4", "1/8", "1/2"}
COLUMNS = (
    "verdict", "bars", "notes", "notes missing", "parts", "qpm", "signatures", "moved ms",
    "most ms", "tokens/note", "read by", "file",
)  # fmt: skip


class ReportSection(NamedTuple):
    """A question and its answer."""

    question: str
    lines: list[str]


def advice(report: FolderReport) -> list[ReportSection]:
    """Return the summary as answers to what one wants to know before training."""
    return [
        ReportSection("Can I train on this?", list(_can_i_train(report))),
        ReportSection("What will be missing?", list(_what_is_missing(report)) or ["Nothing."]),
        ReportSection("What should I do?", list(_what_to_do(report))),
    ]


def summary_text(report: FolderReport) -> str:
    """Return the advice as plain text."""
    sections = []
    for question, lines in advice(report):
        sections.append("\n".join([question, *(f"  {line}" for line in lines)]))
    return "\n\n".join(sections)


def table_text(report: FolderReport) -> str:
    """Return one row per file, with remarks below it; ignored endings follow at the end."""
    rows = [COLUMNS, *(row_of(file) for file in report.files)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS) - 1)]
    remarks = remarks_of(report)
    lines = [_aligned(COLUMNS, widths)]
    for file, row in zip(report.files, rows[1:], strict=True):
        lines.append(_aligned(row, widths))
        lines += [f"{'':{widths[0]}}  {remark}" for remark in remarks[file.name]]
    lines += [f"not examined: {ending}" for ending in _endings(report.ignored.items())]
    return "\n".join(lines)


def _aligned(row: tuple[str, ...], widths: list[int]) -> str:
    verdict, *values, name = row
    cells = [value.rjust(width) for value, width in zip(values, widths[1:], strict=True)]
    return "  ".join([verdict.ljust(widths[0]), *cells, name])


def row_of(file: FileReport) -> tuple[str, ...]:
    """Return a file's cells, in the order of `COLUMNS`; a dash for unknown values."""
    qpm = None if file.slowest_qpm is None else f"{file.slowest_qpm:g}"
    if file.fastest_qpm != file.slowest_qpm:
        qpm = f"{file.slowest_qpm:g}-{file.fastest_qpm:g}"
    cells = (
        file.bars,
        file.notes,
        file.notes_missing,
        file.parts,
        qpm,
        ", ".join(file.time_signatures[:3]) + (", ..." if file.time_signatures[3:] else "") or None,
        None if file.onset_p99_ms is None else f"{file.onset_p99_ms:.1f}",
        None if file.onset_max_ms is None else f"{file.onset_max_ms:.1f}",
        None if file.tokens_per_note is None else f"{file.tokens_per_note:.2f}",
        file.reader or None,
    )
    values = ("-" if cell is None else str(cell) for cell in cells)
    return (file.verdict, *values, shown_name(file.name))


def shown_name(name: str) -> str:
    """Return a file name in one line, with escapes for characters that cannot be shown."""
    return printable(name, one_line=True)


def remarks_of(report: FolderReport) -> dict[str, list[str]]:
    """Return the remarks about each file, by its name."""
    remarks = {file.name: list(_file_remarks(file)) for file in report.files}
    for first, *others in report.copies:
        for name in others:
            remarks[name].append(f"copy: the same music as {shown_name(first)}")
    for pair in report.near_duplicates:
        part = _shared_part(pair.share, pair.kind)
        remarks[pair.second].append(
            f"near-duplicate: {part} is the same in {shown_name(pair.first)}"
        )
        remarks[pair.first].append(
            f"near-duplicate: {part} is the same in {shown_name(pair.second)}"
        )
    return remarks


def _file_remarks(file: FileReport) -> Iterator[str]:
    if file.reason:
        yield f"why: {file.reason}"
    for repair in file.repairs:
        yield f"repaired: {repair}"
    if file.notes_missing:
        yield f"missing: {_missing(file)}"
    if file.notes_lost:
        yield f"lost: {_count(file.notes_lost, 'note')} not kept by the tokenizer"
    if file.has_repeats:
        yield "repeats: not unfolded, each passage is read once (unfold_repeats plays them)"


def _missing(file: FileReport) -> str:
    """Compare the notes that were read with those of the file."""
    read, missing = file.notes or 0, file.notes_missing or 0
    fault = "not read" if missing > 0 else "read that are not in it"
    return f"{_count(abs(missing), 'note')} {fault} ({read + missing:,} in the file, {read:,} read)"


def _shared_part(share: float, kind: str) -> str:
    whole = "the music" if kind == "whole" else "a part"
    return f"{share:.0%} of {whole}"


def _can_i_train(report: FolderReport) -> Iterator[str]:
    num_files = len(report.files) + report.not_examined
    groups = len(set(report.groups.values()))
    tokens = sum(file.tokens or 0 for file in report.usable)
    if not num_files:
        yield "No: there is no music file in this folder."
    elif groups < 2:
        usable = "no file" if not groups else "only one piece (copies count once)"
        yield (
            f"No: {usable} of {_count(num_files, 'music file')} can be used, and training needs at "
            "least 2 pieces, one of them to test with."
        )
    elif groups < _FEW_GROUPS or tokens < _FEW_TOKENS:
        yield (
            f"Yes, but it is little: {_count(groups, 'different piece')}, {tokens:,} tokens. A new "
            "model will soon memorize them; watch the held-out loss, and add music if you can."
        )
    else:
        yield f"Yes: {groups:,} different pieces, {tokens:,} tokens."
    if report.usable:
        bars = sum(file.bars or 0 for file in report.usable)
        notes = sum(file.notes or 0 for file in report.usable)
        hours = sum(file.seconds or 0 for file in report.usable) / 3600
        yield (
            f"{_are(len(report.usable), 'file')} usable of {num_files:,}: {bars:,} bars, {notes:,} "
            f"notes, {_duration(hours)} of music."
        )
        worst = max(report.usable, key=lambda file: file.onset_p99_ms or 0)
        yield (
            f"As tokens, 99 of 100 notes begin within {_round_up(worst.onset_p99_ms)} ms of their "
            f"onset in the file, even in the worst file ({shown_name(worst.name)})."
            if worst.onset_p99_ms
            else "As tokens, 99 of 100 notes begin exactly at their onset in the file."
        )


def _what_is_missing(report: FolderReport) -> Iterator[str]:
    if report.not_examined:
        yield f"{_are(report.not_examined, 'file')} not examined because of the interruption."
    skipped: dict[str, list[FileReport]] = {}
    for file in report.files:
        if not file.is_usable:
            skipped.setdefault(_kind_of(file.reason), []).append(file)
    for files in sorted(skipped.values(), key=len, reverse=True):
        yield f"{_are(len(files), 'file')} skipped ({_names_of(files)}): " + (
            files[0].reason if len(files) == 1 else f"each of them: {files[0].reason}"
        )
    yield from _missing_notes(report)
    lost = [file for file in report.usable if file.notes_lost]
    if lost:
        yield f"{_count(len(lost), 'file')} lose notes in the tokenizer: {_names_of(lost)}."
    repeated = [file for file in report.usable if file.has_repeats]
    if repeated:
        yield (
            f"{_count(len(repeated), 'file')} with repeats that are not unfolded, each passage is "
            f"read once: {_names_of(repeated)}."
        )
    if report.ignored:
        total = sum(report.ignored.values())
        endings = ", ".join(_endings(report.ignored.items()))
        yield f"{_are(total, 'file')} of another kind and not examined: {endings}."


def _missing_notes(report: FolderReport) -> Iterator[str]:
    """Compare the notes that were read with those of the files, where these were counted."""
    counted = [
        (file, file.notes_missing) for file in report.usable if file.notes_missing is not None
    ]
    total = sum((file.notes or 0) + missing for file, missing in counted)
    fewer = [file for file, missing in counted if missing > 0]
    if fewer:
        missing = sum(max(0, missing) for _, missing in counted)
        yield (
            f"{missing:,} of {total:,} notes are missing after reading "
            f"{_count(len(fewer), 'file')} ({_names_of(fewer)}): see the table."
        )
    more = [file for file, missing in counted if missing < 0]
    if more:
        extra = sum(max(0, -missing) for _, missing in counted)
        yield (
            f"{_count(extra, 'note')} more than in the source after reading "
            f"{_count(len(more), 'file')} ({_names_of(more)}): see the table."
        )


def _kind_of(reason: str) -> str:
    """Return a key that is the same for reasons that differ only in numbers and brackets."""
    return re.sub(r"\([^)]*\)|\d+", "", reason)


def _what_to_do(report: FolderReport) -> Iterator[str]:
    repaired = [file for file in report.files if file.repairs]
    if repaired:
        yield (
            f"{_count(len(repaired), 'file')} had faults that are repaired while reading "
            f"({_names_of(repaired)}): listen before you trust them; no file is changed."
        )
    for first, *others in report.copies[:_MAX_NAMES]:
        yield f"Delete {_names(others)}: the same music as {shown_name(first)}, note for note."
    if report.copies[_MAX_NAMES:]:
        rest = len(report.copies) - _MAX_NAMES
        yield f"There are {_count(rest, 'more set')} of copies; see the table."
    for pair in report.near_duplicates[:_MAX_NAMES]:
        first, second = shown_name(pair.first), shown_name(pair.second)
        yield (
            f"Compare {first} and {second}: {_shared_part(pair.share, pair.kind)} is the same. "
            "Training keeps them in one split; delete one if it is only a copy."
        )
    if report.near_duplicates[_MAX_NAMES:]:
        rest = len(report.near_duplicates) - _MAX_NAMES
        yield f"There are {_count(rest, 'more pair')} of near-duplicates; see the table."
    for leak in report.split_leaks[:_MAX_NAMES]:
        first, second = shown_name(leak.first), shown_name(leak.second)
        yield (
            f"{first} ({leak.splits[0]}) and {second} ({leak.splits[1]}) are the same "
            "music, so results measured on it would be too good. Remove one, or give training the "
            "whole folder and let it split by piece."
        )
    for leak in report.store_leaks[:_MAX_NAMES]:
        first, second = shown_name(leak.first), shown_name(leak.second)
        yield (
            f"Before you prepare a token store, delete {first} or {second}: a store "
            f"recognizes exact copies only, and would use one for {leak.splits[0]}, the other for "
            f"{leak.splits[1]}."
        )
    yield from _unusual_values(report)
    yield from _next_step(report)


def _next_step(report: FolderReport) -> Iterator[str]:
    if len(set(report.groups.values())) >= 2:
        held_out = sum(split == "validation" for split in report.splits.values())
        folder = shlex.quote(report.folder)
        yield (
            f"Train: rwkv-music train --corpus {folder} --out runs/mine. {_are(held_out, 'file')} "
            "then held out to test with. Prepare large folders once before: "
            f"rwkv-music prepare {folder} -o stores/mine."
        )
    else:
        yield "Add music files (MIDI, MusicXML, ABC or Humdrum) and run the doctor again."


def _unusual_values(report: FolderReport) -> Iterator[str]:
    short = [file for file in report.usable if set(file.time_signatures) <= _ONE_BEAT]
    if short and len(short) >= len(report.usable) / 10:
        yield (
            f"{_count(len(short), 'file')} have only bars of one beat ({_names_of(short)}). Some "
            "programs write them by mistake. Prompts are counted in bars: choose more of them, or "
            "correct the signatures."
        )
    coarse = [file for file in report.usable if (file.onset_p99_ms or 0) > _LARGE_ERROR_MS]
    if coarse:
        yield (
            f"{_count(len(coarse), 'file')} {'loses' if len(coarse) == 1 else 'lose'} more than "
            f"{_LARGE_ERROR_MS:g} ms of timing "
            f"({_names_of(coarse)}): a finer grid keeps it. Prepare a token store with "
            "steps_per_quarter 192, and train on that."
        )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _are(number: int, noun: str) -> str:
    return f"{_count(number, noun)} {'is' if number == 1 else 'are'}"


def _names_of(files: Iterable[FileReport]) -> str:
    return _names([file.name for file in files])


def _names(names: list[str]) -> str:
    rest = len(names) - _MAX_NAMES
    return ", ".join(map(shown_name, names[:_MAX_NAMES])) + (
        f" and {rest:,} more" if rest > 0 else ""
    )


def _endings(ignored: Iterable[tuple[str, int]]) -> list[str]:
    return [f"{count:,} {shown_name(ending) or 'without an ending'}" for ending, count in ignored]


def _round_up(milliseconds: float) -> str:
    return f"{math.ceil(10 * milliseconds) / 10:.1f}"


def _duration(hours: float) -> str:
    return f"{hours:.1f} hours" if hours >= 2 else f"{60 * hours:.1f} minutes"
