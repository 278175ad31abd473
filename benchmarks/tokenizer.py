"""Measure the tokenizer on real music: what survives, and how fast, beside MidiTok's REMI.

    pip install -e '.[bench]'
    python benchmarks/tokenizer.py FOLDER [FOLDER ...] --every 10 --json tokenizer.json

REMI runs at its finest grid (48 positions a quarter) with tempos, signatures and pedals. Encoding
and decoding of both alternate file by file in one process; times are medians of three. Notes are
kept if the decoded score has as many of each part and pitch; they are compared in time order.
"""

import argparse
import json
import platform
import statistics
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import symusic

from rwkv_music.errors import InputError
from rwkv_music.score import TempoMap, load_score
from rwkv_music.tokenizer import Tokenizer

_REPEATS = 3


def main() -> None:
    """Measure every folder and print one row each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--every", type=int, default=10, help="take every n-th file")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    tokenizer = Tokenizer()
    peer = remi()
    rows = {}
    pooled: list[dict[str, Any]] = []
    for folder in given.folders:
        found = [measure(path, tokenizer, peer) for path in files(folder, given.every)]
        kept = [row for row in found if row is not None]
        pooled += kept
        rows[folder.name] = {**summary(kept), "refused": len(found) - len(kept)}
    rows["pooled"] = summary(pooled)
    report = {"machine": machine(), "settings": tokenizer.settings, "rows": rows}
    print(json.dumps(report, indent=1))
    if given.json:
        given.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def files(folder: Path, every: int) -> list[Path]:
    """Every n-th MIDI file below a folder."""
    return sorted(folder.rglob("*.mid"))[::every]


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    versions = {name: metadata.version(name) for name in ("numpy", "symusic", "miditok")}
    return {
        "processor": platform.machine(),
        "python": platform.python_version(),
        "commit": commit,
        "date": time.strftime("%Y-%m-%d"),
        **versions,
    }


def remi() -> Any:  # noqa: ANN401 - miditok's class
    """MidiTok's REMI at its finest grid, with what we write too."""
    import miditok

    config = miditok.TokenizerConfig(
        beat_res={(0, 12): 48},
        num_velocities=32,
        use_tempos=True,
        use_time_signatures=True,
        use_sustain_pedals=True,
        use_programs=True,
        num_tempos=128,
        one_token_stream_for_programs=True,
    )
    return miditok.REMI(config)


def measure(path: Path, tokenizer: Tokenizer, peer: Any) -> dict[str, Any] | None:  # noqa: ANN401
    """One file's figures; None for one that cannot be read."""
    try:
        score = load_score(path)
        ids = tokenizer.encode(score)
    except InputError:
        return None
    back = tokenizer.decode(ids)
    theirs = peer.encode(score)
    return {
        "notes": score.note_num(),
        "tokens": len(ids),
        **fidelity(score, back, tokenizer),
        "idempotent": np.array_equal(tokenizer.encode(back), ids),
        "encode_seconds": median_seconds(lambda: tokenizer.encode(score)),
        "peer_encode_seconds": median_seconds(lambda: peer.encode(score)),
        "decode_seconds": median_seconds(lambda: tokenizer.decode(ids)),
        "peer_decode_seconds": median_seconds(lambda: peer.decode(theirs)),
    }


def median_seconds(work: Callable[[], object]) -> float:
    """Median processor time of a few calls."""
    times = []
    for _ in range(_REPEATS):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return statistics.median(times)


def fidelity(score: symusic.Score, back: symusic.Score, tokenizer: Tokenizer) -> dict[str, Any]:
    """How the decoded score differs from the original."""
    ours, theirs = rows_of(score), rows_of(back)
    same = Counter(row[:2] for row in ours) == Counter(row[:2] for row in theirs)
    times, other = TempoMap(score), TempoMap(back)
    grid = tokenizer.vocabulary.ticks_per_quarter
    onsets = np.array([row[2] for row in ours], dtype=np.int64)
    lengths = np.array([row[3] for row in ours], dtype=np.int64)
    got_onsets = np.array([row[2] for row in theirs], dtype=np.int64)
    got_lengths = np.array([row[3] for row in theirs], dtype=np.int64)
    moved = np.abs(onsets / score.ticks_per_quarter - got_onsets / grid)
    heard = times.ticks_to_seconds(onsets) - other.ticks_to_seconds(got_onsets)
    durations = (times.ticks_to_seconds(onsets + lengths) - times.ticks_to_seconds(onsets)) - (
        other.ticks_to_seconds(got_onsets + got_lengths) - other.ticks_to_seconds(got_onsets)
    )
    velocities = np.abs([a[4] - b[4] for a, b in zip(ours, theirs, strict=True)])
    return {
        "all_notes_kept": same,
        "parts_kept": sum(bool(len(track.notes)) for track in score.tracks)
        == sum(bool(len(track.notes)) for track in back.tracks),
        "onset_grid_steps_max": float(moved.max() * grid),
        "wall_clock_p99_ms": float(np.percentile(np.abs(heard), 99) * 1000),
        "drift_ms": float(np.abs(heard).max() * 1000),
        "duration_p99_ms": float(np.percentile(np.abs(durations), 99) * 1000),
        "velocity_mean": float(velocities.mean()),
        "velocity_max": int(velocities.max()),
    }


def rows_of(score: symusic.Score) -> list[tuple[int, int, int, int, int]]:
    """Notes as (part, pitch, onset, duration, velocity), parts sorted as the tokenizer does."""
    tracks = sorted(
        (track for track in score.tracks if len(track.notes) or len(track.controls)),
        key=lambda track: 128 if track.is_drum else track.program,
    )
    tracks = [track for track in tracks if len(track.notes)]
    return sorted(
        (place, note.pitch, note.time, note.duration, note.velocity)
        for place, track in enumerate(tracks)
        for note in track.notes
    )


def summary(rows: list[dict[str, Any]]) -> dict[str, float]:
    """The figures of a set of files."""
    total = {
        key: sum(row[key] for row in rows)
        for key in ("notes", "tokens", "encode_seconds", "peer_encode_seconds",
                    "decode_seconds", "peer_decode_seconds")
    }  # fmt: skip
    worst = {
        key: round(max(row[key] for row in rows), 3)
        for key in ("onset_grid_steps_max", "wall_clock_p99_ms", "drift_ms", "duration_p99_ms",
                    "velocity_mean", "velocity_max")
    }  # fmt: skip
    shares = {
        f"{key}_share": sum(row[key] for row in rows) / len(rows)
        for key in ("all_notes_kept", "parts_kept", "idempotent")
    }
    return {
        "files": len(rows),
        "notes": total["notes"],
        "tokens_per_note": round(total["tokens"] / total["notes"], 3),
        **shares,
        **{f"worst_file_{key}": value for key, value in worst.items()},
        "encode_times_peer": round(total["peer_encode_seconds"] / total["encode_seconds"], 1),
        "decode_times_peer": round(total["peer_decode_seconds"] / total["decode_seconds"], 1),
        "encode_notes_per_second": round(total["notes"] / total["encode_seconds"]),
        "decode_notes_per_second": round(total["notes"] / total["decode_seconds"]),
    }


if __name__ == "__main__":
    main()
