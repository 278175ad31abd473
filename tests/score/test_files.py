"""Reading and writing files; bad files raise a one-line error."""

from pathlib import Path

import pytest
import symusic

from rwkv_music.errors import ScoreFileError
from rwkv_music.score import load_score, save_score, score_from_bytes
from tests.music import tune

HEADER = b"MThd\x00\x00\x00\x06\x00\x01\x00\x01\x01\xe0"
EMPTY_TRACK = b"MTrk\x00\x00\x00\x04\x00\xff\x2f\x00"


def test_a_saved_file_can_be_loaded(tmp_path: Path) -> None:
    path = save_score(tune(bars=3), tmp_path / "deeper" / "tune.mid")
    back = load_score(path)
    assert back.note_num() == tune(bars=3).note_num()
    assert [path.name for path in path.parent.iterdir()] == ["tune.mid"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"RIFFxxxxWAVE", "byte 0: is not a MIDI file"),
        (HEADER[:9], r"byte 9: is truncated \(9 bytes"),
        (HEADER[:12] + b"\xe7\x00" + EMPTY_TRACK, "byte 12: counts time in 0 ticks of 25 SMPTE"),
        (HEADER[:12] + b"\x00\x00" + EMPTY_TRACK, "byte 12: has 0 ticks per quarter note"),
        (HEADER + EMPTY_TRACK, r"mid: contains no notes, at least 1 is needed"),
        (HEADER, "byte 14: has no tracks"),
        (HEADER + b"MTrk\x00\x00\x00\x10\x00\x90", "is damaged"),
    ],
)
def test_a_bad_file_raises_a_one_line_error(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.mid"
    path.write_bytes(content)
    with pytest.raises(ScoreFileError, match=reason) as refused:
        load_score(path)
    assert "\n" not in str(refused.value)
    assert str(refused.value).startswith(str(path))


def test_missing_files_folders_and_other_suffixes_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(ScoreFileError, match="file not found: check the path"):
        load_score(tmp_path / "nowhere.mid")
    (tmp_path / "folder.mid").mkdir()
    with pytest.raises(ScoreFileError, match="is a folder or a device, not a file"):
        load_score(tmp_path / "folder.mid")
    with pytest.raises(
        ScoreFileError, match=r"the suffix '\.mp3' is not supported: use one of \.mid"
    ):
        load_score(tmp_path / "song.mp3")
    with pytest.raises(
        ScoreFileError, match=r"a name without a suffix is not supported: use one of \.mid"
    ):
        load_score(tmp_path / "song")
    with pytest.raises(
        ScoreFileError, match=r"the suffix '\.txt' is not supported: use one of \.mid, \.midi"
    ):
        save_score(tune(bars=1), tmp_path / "song.txt")


def test_a_path_that_cannot_be_written_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ScoreFileError, match="cannot be written"):
        save_score(tune(bars=1), tmp_path / "file" / "tune.mid")


def test_a_karaoke_file_and_a_riff_wrapper_are_read(tmp_path: Path) -> None:
    content = tune(bars=1).dumps_midi()
    (tmp_path / "song.kar").write_bytes(content)
    size = len(content).to_bytes(4, "little")
    total = (len(content) + 12).to_bytes(4, "little")
    (tmp_path / "song.rmi").write_bytes(b"RIFF" + total + b"RMIDdata" + size + content)
    for name in ("song.kar", "song.rmi"):
        assert load_score(tmp_path / name).note_num() == tune(bars=1).note_num()


def test_every_odd_file_loads_or_raises_a_one_line_error(shared_data: Path) -> None:
    paths = [*(shared_data / "odd_midi").rglob("*"), *(shared_data / "cc0_midis").rglob("*")]
    files = [path for path in paths if path.suffix.lower() in {".mid", ".midi", ".kar", ".rmi"}]
    assert len(files) > 100
    refusals = {}
    for path in files:
        try:
            assert load_score(path).note_num() > 0
        except ScoreFileError as refused:
            refusals[path.name] = str(refused)
    assert 20 < len(refusals) < 25
    for name, text in refusals.items():
        assert name in text
        assert "\n" not in text


def test_errors_for_bytes_use_the_given_name() -> None:
    with pytest.raises(ScoreFileError, match=r"^upload\.mid: is empty"):
        score_from_bytes(b"", name="upload.mid")
    assert isinstance(
        score_from_bytes(tune(bars=1).dumps_midi(), name="x.mid"), symusic.core.ScoreTick
    )
