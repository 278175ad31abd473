"""Reading and writing notation files, and isolation of their reader in a process."""

import io
import os
import signal
import time
import zipfile
from pathlib import Path

import psutil
import pytest
import symusic

from rwkv_music import worker_process
from rwkv_music.data.worker_pool import map_in_workers
from rwkv_music.errors import InputError, ScoreFileError
from rwkv_music.score import load_score, save_score, score_from_bytes, text_formats, worker
from rwkv_music.score.notation.quantization import quantize_for_notation
from rwkv_music.score.worker import read_notation
from rwkv_music.worker_process import WorkerProcess
from tests.music import BAR, tune
from tests.tokens import notes_of


def crash(request: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def never_answer(request: object) -> None:
    time.sleep(3600)


def take_memory(request: object) -> None:
    taken = bytearray(b"x") * (300 << 20)
    time.sleep(3600)
    del taken


def note_pitches_and_children(abc: str) -> tuple[list[int], int]:
    score = score_from_bytes(f"X:1\nM:4/4\nL:1/4\n{abc}".encode(), name="it.abc")
    return [row[4] for row in notes_of(score)], len(psutil.Process().children())


KERN = "**kern\n*M3/4\n*MM60\n=1\n4c\n4d\n4ee-\n=2\n2.g\n==\n*-\n"
ABC = "X:1\nT:two\nM:3/4\nL:1/4\nQ:1/4=60\nK:F\nV:1\n%%MIDI program 40\nB2 A|[M:4/4][CEG]4|\n"


def busy_tune() -> symusic.Score:
    """Overlaps, triplets, a note over bar lines, drums, a change of meter and tempo."""
    score = tune(bars=3, program=40)
    score.tracks[0].notes.append(symusic.Note(32, 5 * 96, 100, 80))
    score.tracks[1].notes.append(symusic.Note(64, 32, 101, 80))
    score.tempos.append(symusic.Tempo(BAR + 48, qpm=90.0))
    score.time_signatures.append(symusic.TimeSignature(2 * BAR, 3, 4))
    drums = symusic.Track("kit", 0, True)
    drums.notes.append(symusic.Note(96, 48, 38, 80))
    score.tracks.append(drums)
    return score


def sounding(score: symusic.Score) -> list[tuple[float, float, int]]:
    """Onset and duration in quarters, and pitch; in order."""
    quarter = score.ticks_per_quarter
    return sorted(
        (round(note[2] / quarter, 4), round(note[3] / quarter, 4), note[4])
        for note in notes_of(score)
    )


@pytest.mark.parametrize("name", ["tune.abc", "tune.musicxml", "tune.mxl", "tune.xml"])
def test_notation_that_is_saved_loads_again_on_its_grid(name: str, tmp_path: Path) -> None:
    score = busy_tune()
    back = load_score(save_score(score, tmp_path / name))
    assert sounding(back) == sounding(quantize_for_notation(score))
    assert {track.program for track in back.tracks if not track.is_drum} == {40}
    assert sum(track.is_drum for track in back.tracks) == 1
    quarter = back.ticks_per_quarter
    signs = {
        (time_signature.time, time_signature.numerator) for time_signature in back.time_signatures
    }
    assert signs == {(0, 4), (8 * quarter, 3)}
    tempos = [(tempo.time, round(tempo.qpm)) for tempo in back.tempos]
    assert tempos == [(0, 100), (4.5 * quarter, 90)]


def test_keys_are_written_into_abc_and_change_no_pitch(tmp_path: Path) -> None:
    for sharps in range(-7, 8):
        score = tune(bars=2)
        score.key_signatures.append(symusic.KeySignature(0, sharps, 0))
        score.key_signatures.append(symusic.KeySignature(BAR, -sharps, 1))
        path = save_score(score, tmp_path / "keys.abc")
        back = load_score(path)
        keys = {
            (key_signature.time, key_signature.key, key_signature.tonality)
            for key_signature in back.key_signatures
        }
        assert keys == {(0, sharps, 0), (4 * back.ticks_per_quarter, -sharps, 1)}
        assert sounding(back) == sounding(score)
        if sharps == -3:
            text = path.read_text()
            assert "\nK:Eb\n" in text
            assert "[K:F#m]" in text


def test_humdrum_is_read() -> None:
    score = score_from_bytes(KERN.encode(), name="it.krn")
    assert sounding(score) == [(0, 1, 60), (1, 1, 62), (2, 1, 75), (3, 3, 67)]
    assert [(sign.time, sign.numerator) for sign in score.time_signatures] == [(0, 3)]
    assert [round(tempo.qpm) for tempo in score.tempos] == [60]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.krn", b" \n", r"is empty \(2 bytes\)"),
        ("a.xml", b"<score-partwise>", r"cannot be read \(.*line 1"),
        ("a.musicxml", b"<html></html>", "cannot be read .*<html>"),
        ("a.krn", b"not kern", "cannot be read"),
        ("a.mxl", b"PK not a zip", "cannot be read"),
    ],
)
def test_a_bad_text_is_refused_in_one_line(name: str, content: bytes, reason: str) -> None:
    with pytest.raises(ScoreFileError, match=rf"^{name}: .*({reason})") as refused:
        score_from_bytes(content, name=name)
    assert "\n" not in str(refused.value)


def test_a_zip_that_unpacks_without_end_is_refused() -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("score.xml", bytes(33 << 20))
    with pytest.raises(ScoreFileError, match=r"unpacks to more than 33554432 bytes: split it"):
        score_from_bytes(packed.getvalue(), name="bomb.mxl")


def test_a_reader_that_takes_too_long_is_ended_and_the_next_file_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(worker, "_workers", [WorkerProcess(never_answer)])
        with pytest.raises(ScoreFileError, match=r"slow\.krn: has not answered for 1 s"):
            read_notation(KERN.encode(), "humdrum", name="slow.krn", seconds=0.1)
    assert score_from_bytes(KERN.encode(), name="it.krn").note_num() == 4


def test_a_reader_that_crashes_is_told_and_the_next_file_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    score_from_bytes(KERN.encode(), name="it.krn")
    with monkeypatch.context() as patched:
        patched.setattr(worker, "_workers", [WorkerProcess(crash)])
        with pytest.raises(ScoreFileError, match=r"^it\.krn: crashes its reader \(it ends its"):
            score_from_bytes(KERN.encode(), name="it.krn")
    assert score_from_bytes(KERN.encode(), name="it.krn").note_num() == 4


def test_a_reader_that_ended_while_it_waited_is_replaced() -> None:
    score_from_bytes(KERN.encode(), name="it.krn")
    worker._workers[0].kill()
    worker._workers[0]._process.wait()
    assert score_from_bytes(KERN.encode(), name="it.krn").note_num() == 4


def test_a_worker_reads_notation_itself() -> None:
    (outcome,) = map_in_workers(note_pitches_and_children, ["K:C\nCDE|\n"], workers=1, seconds=60)
    assert outcome.result == ([60, 62, 64], 0), outcome.failure


def test_real_scores_are_read(shared_data: Path) -> None:
    for path in (
        sorted((shared_data / "openscore_lieder").glob("*.mxl"))[3],
        sorted((shared_data / "chopin_first_editions").glob("*.krn"))[0],
    ):
        assert load_score(path).note_num() > 100


def test_a_reader_that_takes_too_much_memory_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_process, "RESIDENT_BYTES", 200 << 20)
    monkeypatch.setattr(worker, "_workers", [WorkerProcess(take_memory)])
    with pytest.raises(ScoreFileError, match=r"^it\.krn: needs more than 0 GiB of memory: convert"):
        score_from_bytes(KERN.encode(), name="it.krn")


@pytest.mark.parametrize(
    ("content_name", "name"),
    [("it.mxl", "it.musicxml"), ("it.musicxml", "it.mxl"), ("it.mid", "it.krn"),
     ("it.xml", "it.mid"), ("it.mxl", "it.abc")],
)  # fmt: skip
def test_a_file_with_the_wrong_ending_is_read_by_its_content(
    content_name: str, name: str, tmp_path: Path
) -> None:
    content = save_score(busy_tune(), tmp_path / content_name).read_bytes()
    expected = load_score(tmp_path / content_name)
    assert sounding(score_from_bytes(content, name=name)) == sounding(expected)


def test_a_score_that_makes_too_many_measures_is_not_written_as_musicxml(tmp_path: Path) -> None:
    score = tune(bars=1)
    score.tracks[0].notes.append(symusic.Note(110_000 * BAR, BAR, 60, 80))
    with pytest.raises(InputError, match=r"has \d+ measures in all parts, at most 100000 can be"):
        save_score(score, tmp_path / "late.musicxml")
    assert not list(tmp_path.iterdir())


def test_a_file_is_refused_by_its_size_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "big.mid"
    with path.open("wb") as file:
        file.truncate(6 << 30)
    with pytest.raises(ScoreFileError, match=r"has 6442450944 bytes, at most 33554432 are"):
        load_score(path)


def test_a_file_that_our_reader_refuses_is_tried_with_music21(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(text: str, *, unfold_repeats: bool) -> None:
        raise ValueError("not today")

    monkeypatch.setattr(text_formats, "read_kern", fail)
    loaded = text_formats.parse_request(text_formats.ReadRequest(KERN.encode(), "humdrum"))
    assert (loaded.reader, loaded.notes_read, loaded.notes_missing) == ("music21", 4, 0)
