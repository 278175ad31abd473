"""Scores and files whose token ids were recorded with version 0.1.0."""

from pathlib import Path

import numpy as np
import symusic

REPOSITORY = Path(__file__).resolve().parents[2]
SHARED_SETS = ("pop909", "groove", "freedoom", "polish_scores", "mutopia")
FILES_PER_SET = 40
NUM_RANDOM_SCORES = 100

_RESOLUTIONS = (96, 120, 220, 480, 960)
_SIGNATURES = ((4, 4), (3, 4), (6, 8), (5, 4), (7, 8), (2, 2))


def random_score(seed: int) -> symusic.Score:
    """A score with several parts, drums, pedals, and changes of tempo and time signature."""
    rng = np.random.default_rng(seed)
    ticks = int(rng.choice(_RESOLUTIONS))
    length = int(rng.integers(4, 40)) * ticks
    score = symusic.Score(ticks)
    for tick in sorted({0, *rng.integers(0, length, int(rng.integers(0, 4))).tolist()}):
        score.tempos.append(symusic.Tempo(int(tick), qpm=float(rng.uniform(30, 240))))
    for bar in range(int(rng.integers(1, 4))):
        numerator, denominator = _SIGNATURES[int(rng.integers(len(_SIGNATURES)))]
        bar_ticks = 4 * ticks * numerator // denominator
        score.time_signatures.append(
            symusic.TimeSignature(bar * 4 * bar_ticks, numerator, denominator)
        )
    for part in range(int(rng.integers(1, 6))):
        is_drum = bool(rng.random() < 0.2)
        program = 0 if is_drum else int(rng.integers(128))
        track = symusic.Track(f"part {part}", program, is_drum)
        for _ in range(int(rng.integers(1, 60))):
            onset, duration = int(rng.integers(length)), int(rng.integers(1, 3 * ticks))
            pitch, velocity = int(rng.integers(21, 109)), int(rng.integers(1, 128))
            track.notes.append(symusic.Note(onset, duration, pitch, velocity))
        for tick in sorted(rng.integers(0, length, int(rng.integers(0, 6))).tolist()):
            value = int(rng.integers(128))
            track.controls.append(symusic.ControlChange(int(tick), 64, value))
        score.tracks.append(track)
    return score


def project_files() -> list[Path]:
    """Every MIDI file that belongs to the project, by name."""
    folders = ("rwkv_music/prompts", "examples")
    return sorted(path for name in folders for path in (REPOSITORY / name).rglob("*.mid"))


def shared_files(shared_data: Path) -> list[Path]:
    """Forty files of each MIDI set in ../shared/data, spread evenly over the set."""
    chosen = []
    for name in SHARED_SETS:
        paths = sorted((shared_data / name).rglob("*.mid"))
        chosen += paths[:: max(1, len(paths) // FILES_PER_SET)][:FILES_PER_SET]
    return chosen
