"""Feed hostile files to the library, one after another: `python -m tests.fuzz_worker 0 500`.

Prints a JSON line before and after each file, so that the caller knows which file crashed the
process. The process limits its own memory.
"""

import json
import math
import os
import sys
import time
from pathlib import Path

import symusic

from benchmarks.memory import peak_memory
from rwkv_music.data.doctor.file_report import examine_score
from rwkv_music.errors import InputError, ScoreFileError
from rwkv_music.native import load_library
from rwkv_music.score import TempoMap, num_bars
from rwkv_music.score.abc.abc_reader import read_abc
from rwkv_music.score.files import TEXT_FORMATS
from rwkv_music.score.loaded_score import LoadedScore
from rwkv_music.score.midi.midi_reader import read_midi
from rwkv_music.score.worker import read_notation
from rwkv_music.tokenizer import Tokenizer
from rwkv_music.tokenizer.native import VARIABLE
from tests.fuzz import hostile_file
from tests.music import tune

try:
    import resource
except ModuleNotFoundError:  # Windows
    resource = None  # type: ignore[assignment]

MEMORY_BYTES = 3 << 30
TEXT_SECONDS = 8.0
"""Shorter than the default: some broken texts make their parser loop forever."""


def main() -> None:
    """Run the files with the numbers range(*arguments)."""
    if resource is not None:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    tokenizer = Tokenizer()
    loops = ("numpy", "native") if load_library().functions else ("numpy",)
    for loop in loops:  # loaded and compiled here, outside the measured time
        os.environ[VARIABLE] = loop
        examine_score("", LoadedScore(tune(bars=2), ()), tokenizer=tokenizer)
    for index in range(*(int(loop) for loop in sys.argv[1:4])):
        os.environ[VARIABLE] = loops[index % len(loops)]
        file = hostile_file(index)
        _print_line(begins=file.name)
        began = time.perf_counter()
        clock = _Clock()
        outcome, text = _outcome(file.name, file.content, tokenizer, clock)
        seconds = time.perf_counter() - began
        _print_line(
            ends=file.name,
            outcome=outcome,
            text=text,
            seconds=seconds,
            processor_seconds=clock.seconds,
            peak_mib=peak_memory() / 2**20,
        )


def _print_line(**words: object) -> None:
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


class _Clock:
    """CPU time of this process until the clock is stopped."""

    def __init__(self) -> None:
        self._began = time.process_time()
        self._seconds: float | None = None

    @property
    def seconds(self) -> float:
        return time.process_time() - self._began if self._seconds is None else self._seconds

    def stop(self) -> None:
        self._seconds = self.seconds


def _outcome(name: str, content: bytes, tokenizer: Tokenizer, clock: _Clock) -> tuple[str, str]:
    step = "load"
    try:
        loaded = _load(name, content)
        step = "measure"
        _measure(loaded.score)
        step = "encode"
        ids = tokenizer.encode(loaded.score)
        step = "decode"
        decoded = tokenizer.decode(ids)
        clock.stop()  # the checks below are not part of the measured time
        again = tokenizer.encode(decoded)
        assert len(ids) == len(again)
        assert (ids == again).all(), "decoding and encoding gives another stream"
        step = "examine"
        report = examine_score(name, loaded, tokenizer=tokenizer)
        assert report.notes_lost == 0, f"{report.notes_lost} notes lost"
        assert report.content_hash, report.reason
    except ScoreFileError as refused:
        return "refused", str(refused)
    except Exception as error:  # noqa: BLE001 - a bug, reported with its file
        if isinstance(error, InputError) and step in {"measure", "encode"}:
            return f"no {step}", str(error)
        return "raised", f"{step}: {type(error).__name__}: {error}"
    return ("repaired" if loaded.repairs else "read"), "; ".join(loaded.repairs)


def _load(name: str, content: bytes) -> LoadedScore:
    text_format = TEXT_FORMATS.get(Path(name).suffix)
    if text_format is None:
        return read_midi(content, name=name)
    if text_format == "abc":
        loaded = read_abc(content, name=name)
        read_abc(content, name=name, unfold_repeats=True)
        assert loaded.notes_read > 0
        return loaded
    loaded = read_notation(content, text_format, name=name, seconds=TEXT_SECONDS)
    if loaded.has_repeats:
        read_notation(content, text_format, name=name, unfold_repeats=True, seconds=TEXT_SECONDS)
    return loaded


def _measure(score: symusic.Score) -> None:
    """Compute the number of bars and the duration in seconds."""
    end = score.end()
    assert num_bars(score) >= 1
    seconds = float(TempoMap(score).ticks_to_seconds(end)[0])
    assert math.isfinite(seconds), seconds


if __name__ == "__main__":
    main()
