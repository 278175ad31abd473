"""The doctor reports every file with the right verdict, and what to do."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import symusic

from rwkv_music.data import split_corpus
from rwkv_music.data.corpora.folders import folder_corpus
from rwkv_music.data.doctor.file_report import (
    FileReport,
    examine_file,
    examine_score,
    onset_errors_ms,
)
from rwkv_music.data.doctor.folder_report import FolderReport, examine_folder, folder_report
from rwkv_music.data.doctor.pictures import draw_overview, save_pictures
from rwkv_music.data.doctor.report_json import report_values
from rwkv_music.data.doctor.report_text import (
    COLUMNS,
    advice,
    remarks_of,
    row_of,
    summary_text,
    table_text,
)
from rwkv_music.data.pieces import held_out_groups
from rwkv_music.data.scanning import find_files
from rwkv_music.errors import InputError
from rwkv_music.score import load_score, save_score, transpose
from rwkv_music.score.loaded_score import LoadedScore
from rwkv_music.tokenizer import Tokenizer
from tests.data import crashing
from tests.music import BAR, tune

TOKENIZER = Tokenizer()


def midi(*events: bytes, tracks: int = 1) -> bytes:
    """A format 1 file of 96 ticks a quarter with one track of these events."""
    body = b"".join(events) + b"\x00\xff\x2f\x00"
    head = b"MThd\x00\x00\x00\x06\x00\x01" + tracks.to_bytes(2, "big") + b"\x00\x60"
    return head + b"MTrk" + len(body).to_bytes(4, "big") + body


def note(pitch: int, quarters: int, *, velocity: int = 80) -> bytes:
    ticks = 96 * quarters
    length = bytes((0x80 | ticks >> 7, ticks & 0x7F)) if ticks > 127 else bytes((ticks,))
    return bytes((0, 0x90, pitch, velocity)) + length + bytes((0x80, pitch, 0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good, repaired, unusable and other files; a copy and a transposed one."""
    music_folder = tmp_path_factory.mktemp("music")
    for seed in range(4):
        save_score(tune(bars=12, seed=seed), music_folder / f"tune {seed}.mid")
    save_score(tune(bars=12, seed=0), music_folder / "deeper" / "copy.MID")
    save_score(transpose(tune(bars=12, seed=1), 3), music_folder / "higher.mid")
    save_score(tune(bars=1), music_folder / "short.mid")
    (music_folder / "loud.mid").write_bytes(midi(*[note(60 + n % 5, 1) for n in range(9)],
                                          note(60, 1, velocity=128)))  # fmt: skip
    (music_folder / "open.mid").write_bytes(midi(*[note(60 + n % 7, 1) for n in range(9)],
                                          bytes((0, 0x90, 50, 80))))  # fmt: skip
    (music_folder / "broken.mid").write_bytes(b"MThd nothing more")
    (music_folder / "empty.xml").write_bytes(b"")
    (music_folder / "song.abc").write_text("X:1\nT:a\nM:4/4\nL:1/4\nK:C\nCDEF|GABc|cBAG|FEDC|\n")
    (music_folder / "notes.txt").write_text("not music")
    (music_folder / "cover.PNG").write_bytes(b"")
    (music_folder / "LICENSE").write_text("free")
    return music_folder


@pytest.fixture(scope="module")
def report(folder: Path) -> FolderReport:
    return examine_folder(folder, workers=2)


def row(report: FolderReport, name: str) -> FileReport:
    (actual,) = [file for file in report.files if file.name == name]
    return actual


def test_every_file_is_in_the_table_or_counted_by_its_ending(
    folder: Path, report: FolderReport
) -> None:
    actual = [path for path in folder.rglob("*") if path.is_file()]
    assert len(report.files) + sum(report.ignored.values()) == len(actual) == 15
    assert report.ignored == {".txt": 1, ".png": 1, "": 1}
    assert [file.name for file in report.files] == sorted(file.name for file in report.files)
    table = table_text(report)
    for file in report.files:
        assert f"  {file.name}\n" in table
    assert "not examined: 1 without an ending" in table


def test_verdicts_and_reasons(report: FolderReport) -> None:
    verdicts = {file.name: file.verdict for file in report.files}
    assert verdicts == {
        "broken.mid": "skipped", "deeper/copy.MID": "fine", "empty.xml": "skipped",
        "higher.mid": "fine", "loud.mid": "repaired", "open.mid": "repaired",
        "short.mid": "skipped", "song.abc": "fine", "tune 0.mid": "fine", "tune 1.mid": "fine",
        "tune 2.mid": "fine", "tune 3.mid": "fine",
    }  # fmt: skip
    assert "is 1 bar long; training needs at least 2" in row(report, "short.mid").reason
    assert "is empty (0 bytes)" in row(report, "empty.xml").reason
    assert row(report, "broken.mid").reason.endswith(": copy it again (byte 14)")
    assert row(report, "loud.mid").repairs == ("track 1: velocity above 127 set to 127",)
    assert row(report, "open.mid").repairs == (
        "track 1: note that never ends sounds to the end of the track",
        "1 note without duration gets the shortest one there is",
    )


def test_the_values_of_a_file(report: FolderReport) -> None:
    file = row(report, "tune 2.mid")
    score = tune(bars=12, seed=2)
    ids = TOKENIZER.encode(score)
    assert (file.bars, file.notes, file.parts, file.notes_lost) == (12, score.note_num(), 2, 0)
    assert (file.slowest_qpm, file.fastest_qpm, file.time_signatures) == (100.0, 100.0, ("4/4",))
    assert file.seconds == pytest.approx(12 * 4 * 60 / 100)
    assert (file.tokens, file.tokens_per_note) == (len(ids), round(len(ids) / file.notes, 3))
    assert (file.onset_p99_ms, file.onset_max_ms) == (0.0, 0.0)
    cells = dict(zip(COLUMNS, row_of(file), strict=True))
    assert (cells["bars"], cells["notes"], cells["parts"]) == ("12", str(file.notes), "2")
    assert (cells["verdict"], cells["read by"]) == ("fine", "symusic")


def test_missing_notes_readers_and_repeats_are_reported() -> None:
    score = tune(bars=4)
    read = score.note_num()
    files = [
        examine_score(name, loaded, tokenizer=TOKENIZER)
        for name, loaded in {
            "all.krn": LoadedScore(score, reader="verovio", notes_in_source=read),
            "fewer.abc": LoadedScore(score, notes_in_source=read + 3, has_repeats=True),
            "more.xml": LoadedScore(score, notes_in_source=read - 1),
            "uncounted.mid": LoadedScore(score),
        }.items()
    ]
    column = COLUMNS.index("notes missing")
    assert [row_of(file)[column] for file in files] == ["0", "3", "-1", "-"]
    assert row_of(files[0])[COLUMNS.index("read by")] == "verovio"
    report = FolderReport("music", tuple(files), {})
    remarks = remarks_of(report)
    assert (
        f"missing: 3 notes not read ({read + 3} in the file, {read} read)" in remarks["fewer.abc"]
    )
    assert (
        "repeats: not unfolded, each passage is read once (unfold_repeats plays them)"
        in remarks["fewer.abc"]
    )
    assert (
        f"missing: 1 note read that are not in it ({read - 1} in the file, {read} read)"
        in remarks["more.xml"]
    )
    assert not any("missing" in remark for remark in remarks["all.krn"] + remarks["uncounted.mid"])
    summary = summary_text(report)
    total = 3 * read + 2
    assert f"3 of {total} notes are missing after reading 1 file (fewer.abc): see the" in summary
    assert "1 note more than in the source after reading 1 file (more.xml): see the tab" in summary
    assert "1 file with repeats that are not unfolded, each passage is read once: few" in summary
    assert report_values(report)["files"][1]["notes_missing"] == 3


def test_copies_and_near_duplicates_are_named_and_share_a_split(report: FolderReport) -> None:
    assert report.copies == [["deeper/copy.MID", "tune 0.mid"]]
    assert [pair[:2] for pair in report.near_duplicates] == [("higher.mid", "tune 1.mid")]
    remarks = remarks_of(report)
    assert remarks["tune 0.mid"] == ["copy: the same music as deeper/copy.MID"]
    assert "near-duplicate: 100% of the music is the same in tune 1.mid" in remarks["higher.mid"]
    for one, other in [("deeper/copy.MID", "tune 0.mid"), ("higher.mid", "tune 1.mid")]:
        assert report.groups[one] == report.groups[other]
        assert report.splits[one] == report.splits[other]


def test_splits_are_those_of_training(folder: Path, tmp_path: Path) -> None:
    for seed in range(12):
        save_score(tune(bars=8, seed=seed), tmp_path / f"{seed}.mid")
    save_score(transpose(tune(bars=8, seed=5), -4), tmp_path / "lower.mid")
    report = examine_folder(tmp_path, workers=1)
    train, valid = split_corpus(folder_corpus(tmp_path, TOKENIZER))
    assert valid
    assert report.splits == {
        **{piece.name: "training" for piece in train},
        **{piece.name: "validation" for piece in valid},
    }


def test_leaks_between_folders_called_train_and_valid_are_named(tmp_path: Path) -> None:
    for seed in range(5):
        save_score(tune(bars=12, seed=seed), tmp_path / "train" / f"{seed}.mid")
    save_score(transpose(tune(bars=12, seed=3), 5), tmp_path / "Valid" / "x.mid")
    save_score(tune(bars=12, seed=9), tmp_path / "Valid" / "y.mid")
    report = examine_folder(tmp_path, workers=1)
    assert report.split_leaks == [("Valid/x.mid", "train/3.mid", ("validation", "training"))]
    assert "are the same music, so results measured on it would be too good" in summary_text(report)


def test_leaks_in_a_token_store_are_named(tmp_path: Path) -> None:
    """Of twelve keys some fall to the other side; each is the same music."""
    for key in range(12):
        save_score(transpose(tune(bars=12), key), tmp_path / f"{key:02}.mid")
    report = examine_folder(tmp_path, workers=1)
    held_out = held_out_groups(file.content_hash for file in report.files)
    names = {file.name: file.content_hash in held_out for file in report.files}
    assert 0 < sum(names.values()) < 12
    expected = {frozenset(pair) for pair in itertools.combinations(names, 2)
              if names[pair[0]] != names[pair[1]]}  # fmt: skip
    assert {frozenset(leak[:2]) for leak in report.store_leaks} == expected
    assert len(set(report.groups.values())) == 1
    assert "Before you prepare a token store, delete " in summary_text(report)


def test_the_summary_answers_three_questions(report: FolderReport) -> None:
    can, missing, todo = advice(report)
    assert can.question == "Can I train on this?"
    assert can.lines[0].startswith("Yes, but it is little: 7 different pieces")
    assert can.lines[1].startswith("9 files are usable of 12:")
    assert "1 file is skipped (short.mid): is 1 bar long" in "\n".join(missing.lines)
    assert "3 files are of another kind and not examined" in missing.lines[-1]
    assert (
        "2 files had faults that are repaired while reading (loud.mid, open.mid)" in todo.lines[0]
    )
    assert "Delete tune 0.mid: the same music as deeper/copy.MID, note for note." in todo.lines
    assert todo.lines[-1].startswith("Train: rwkv-music train --corpus ")


def test_a_folder_that_cannot_be_trained_on_is_reported(tmp_path: Path) -> None:
    report = examine_folder(tmp_path)
    assert advice(report)[0].lines == ["No: there is no music file in this folder."]
    save_score(tune(bars=4), tmp_path / "a.mid")
    save_score(tune(bars=4), tmp_path / "b.mid")
    lines = advice(examine_folder(tmp_path, workers=1))
    assert lines[0].lines[0].startswith("No: only one piece (copies count once) of 2 music files")
    assert lines[2].lines[-1].startswith("Add music files")
    with pytest.raises(InputError, match="is not a folder: give a folder of music files"):
        examine_folder(tmp_path / "a.mid")


def test_bars_of_one_beat_are_reported(tmp_path: Path) -> None:
    for seed in range(3):
        score = tune(bars=4, seed=seed)
        score.time_signatures[0].numerator = 1
        save_score(score, tmp_path / f"{seed}.mid")
    assert "3 files have only bars of one beat (0.mid, 1.mid, 2.mid)" in summary_text(
        examine_folder(tmp_path, workers=1)
    )


def test_lost_timing_is_reported_with_a_setting_that_keeps_it() -> None:
    files = tuple(
        FileReport(f"{ms}.mid", "fine", bars=4, notes=9, tokens=40, onset_p99_ms=ms)
        for ms in (12.9, 13.1)
    )
    said = summary_text(FolderReport("music", files, {}))
    assert "1 file loses more than 13 ms of timing (13.1.mid): a finer grid keeps it." in said
    assert "Prepare a token store with steps_per_quarter 192, and train on that." in said


def test_the_report_can_be_written_as_json(report: FolderReport) -> None:
    stored = json.loads(json.dumps(report_values(report)))
    assert [file["name"] for file in stored["files"]] == [file.name for file in report.files]
    assert stored["files"][0]["verdict"] == "skipped"
    assert stored["copies"] == report.copies
    assert stored["near_duplicates"][0]["share"] == 1
    assert {file["split"] for file in stored["files"]} <= {"training", "validation", None}


def test_files_that_were_not_examined_are_counted(folder: Path) -> None:
    actual = find_files(folder)
    done = [examine_file(folder / actual.music[0].name, tokenizer=TOKENIZER)]
    report = folder_report(folder, actual, done)
    assert report.not_examined == len(actual.music) - 1 == 11
    assert "11 files are not examined because of the interruption." in summary_text(report)


def test_pictures_are_not_empty(report: FolderReport, tmp_path: Path) -> None:
    paths = save_pictures(report, tmp_path / "pictures")
    assert [path.stem for path in paths] == ["lengths", "pitches", "durations", "signatures"]
    assert all(path.read_bytes()[:4] == b"\x89PNG" for path in paths)
    figure = draw_overview(report, text_color="white")
    lengths, pitches, durations, signatures = figure.axes
    usable = len(report.usable)
    assert sum(bar.get_height() for bar in lengths.patches) == usable
    notes = sum(file.notes or 0 for file in report.usable)
    assert sum(bar.get_height() for bar in pitches.patches) == notes
    assert sum(bar.get_height() for bar in durations.patches) == notes
    assert [bar.get_height() for bar in signatures.patches] == [usable]
    draw_overview(folder_report(tmp_path, find_files(tmp_path), []))


def test_a_file_that_crashes_its_reader_is_named_and_affects_no_other(tmp_path: Path) -> None:
    """A hang or a bug ends nothing either; the calling process continues."""
    for seed in range(5):
        save_score(tune(bars=4, seed=seed), tmp_path / f"good {seed}.mid")
    for pitch, name in {1: "crash", 3: "bug"}.items():
        score = tune(bars=4)
        score.tracks[0].notes.append(symusic.Note(0, BAR, pitch, 80))
        save_score(score, tmp_path / f"{name}.mid")
    report = examine_folder(tmp_path, tokenizer=crashing.CrashingTokenizer(), workers=1)
    reasons = {file.name: file.reason for file in report.files if not file.is_usable}
    assert set(reasons) == {"crash.mid", "bug.mid"}
    assert len(report.usable) == 5
    assert "bug of ours" in reasons["bug.mid"]
    assert "\n" not in reasons["crash.mid"]


def test_onset_errors_do_not_use_the_tempo_map_of_the_library() -> None:
    """One tick of 480 at 60 a minute is 1/480 s; moved by hand, it is found to the microsecond."""
    score = symusic.Score(480)
    score.tempos.append(symusic.Tempo(0, qpm=60.0))
    track = symusic.Track("", 0, False)
    for index in range(4):
        track.notes.append(symusic.Note(480 * index, 240, 60 + index % 2, 80))
    score.tracks.append(track)
    moved = score.copy()
    moved.tracks[0].notes[2].time += 1
    errors, lost = onset_errors_ms(score, moved, [[0]])
    np.testing.assert_allclose(errors.max(), 1000 / 480, atol=1e-3)
    assert lost == 0
    moved.tracks[0].notes.pop(3)
    assert onset_errors_ms(score, moved, [[0]])[1] == 1
    moved.tempos[0].mspq *= 2
    np.testing.assert_allclose(
        onset_errors_ms(score, moved, [[0]])[0].max(), 2000 + 2000 / 480, 1e-4
    )


def test_known_values_of_a_skipped_file_are_reported(tmp_path: Path) -> None:
    score = symusic.Score(96)
    for index in range(40):
        track = symusic.Track("", index, False)
        track.notes.append(symusic.Note(0, BAR, 60, 80))
        score.tracks.append(track)
    path = save_score(score, tmp_path / "forty.mid")
    file = examine_file(path, tokenizer=TOKENIZER)
    assert file.verdict == "skipped"
    assert "has 40 parts of different programs, at most 32 can be written" in file.reason
    assert (file.bars, file.notes, file.parts, file.tokens) == (1, 40, 40, None)


def test_merged_parts_are_reported_and_keep_their_notes(tmp_path: Path) -> None:
    score = tune(bars=4, parts=1, program=5)
    while len(score.tracks) < 40:
        score.tracks.append(score.tracks[0].copy().shift_pitch(len(score.tracks) % 12))
    path = save_score(score, tmp_path / "forty.mid")
    file = examine_file(path, tokenizer=TOKENIZER)
    assert file.verdict == "repaired"
    assert file.repairs == (
        "9 parts of Electric Piano 2 are merged into one, at most 32 parts are allowed",
    )
    assert (file.parts, file.notes_lost, file.onset_max_ms) == (40, 0, 0.0)


def test_notes_without_duration_are_reported(tmp_path: Path) -> None:
    score = tune(bars=4)
    score.tracks[0].notes[1].duration = 0
    path = save_score(score, tmp_path / "zero.mid")
    assert load_score(path).tracks[0].notes[1].duration == 0
    file = examine_file(path, tokenizer=TOKENIZER)
    assert file.repairs == ("1 note without duration gets the shortest one there is",)
    assert file.notes_lost == 0


def test_on_real_songs_every_onset_is_kept_within_bounds(shared_data: Path) -> None:
    paths = sorted((shared_data / "pop909").glob("*.mid"))[::160]
    files = [examine_file(path, tokenizer=TOKENIZER) for path in paths]
    assert {file.verdict for file in files} == {"fine"}
    assert max(file.onset_p99_ms or 0 for file in files) <= 13
    assert sum(file.notes_lost or 0 for file in files) == 0
