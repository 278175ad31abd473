"""Measure fidelity and speed of the tokenizer on real music, compared with MidiTok's REMI.

    python -m benchmarks.tokenizer ../shared/data --json benchmarks/results/tokenizer.json

Fidelity is measured on every file of POP909, Freedoom and Groove; speed on every n-th file of the
first two, against REMI at its finest grid (48 positions a quarter) with tempos, signatures and
pedals. The implementations take turns in one process, each over all files of a set. A ratio is of
processor time summed over files; the time of a file is the least of its turns, which other work on
the machine disturbs least.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import symusic

from benchmarks.fidelity import Fidelity, compare, in_figures, wrong_cuts
from benchmarks.measuring import machine, rounded, write_report
from rwkv_music.environment import temporary_env_var
from rwkv_music.errors import InputError
from rwkv_music.native import load_library
from rwkv_music.score import load_score
from rwkv_music.tokenizer import Tokenizer
from rwkv_music.tokenizer.native import VARIABLE

SETS = ("pop909", "freedoom", "groove")
TIMED = ("pop909", "freedoom")
OPTIONS = ((48, 32), (96, 32), (192, 64), (480, 128))
"""Grid steps in a quarter, and velocities."""
PEER = "MidiTok REMI"


def main() -> None:
    """Measure, and print the report."""
    given = arguments()
    rng = np.random.default_rng(given.seed)
    tokenizer = Tokenizer()
    scores = {name: read_set(given.data / name, given.every_file) for name in SETS}
    timed = {name: scores[name][:: given.every_timed] for name in TIMED}
    report = {
        "machine": machine("symusic", "miditok"),
        "settings": {
            **tokenizer.settings, "turns": given.turns, "every_timed": given.every_timed,
            "cuts": given.cuts, "seed": given.seed, "quick": given.quick,
        },
        "rows": {
            name: fidelity(scores[name], tokenizer, given.cuts, rng) for name in SETS
        },
        "options": [
            option(steps, velocities, timed["pop909"]) for steps, velocities in OPTIONS
        ],
        "speed": speed(timed, tokenizer, given.turns),
    }  # fmt: skip
    write_report(report, given.json)


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help=f"folder that holds {', '.join(SETS)}")
    parser.add_argument("--every-timed", type=int, default=5, help="time every n-th file")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--cuts", type=int, default=500, help="random bar cuts in each set")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="a few files, to see that it works")
    given = parser.parse_args()
    given.every_file = 1
    if given.quick:
        given.every_file, given.every_timed, given.turns, given.cuts = 50, 10, 1, 20
    return given


def read_set(folder: Path, every: int) -> list[symusic.Score]:
    """Read every n-th MIDI file below a folder."""
    return [load_score(path) for path in sorted(folder.rglob("*.mid"))[::every]]


def fidelity(
    scores: list[symusic.Score], tokenizer: Tokenizer, cuts: int, rng: np.random.Generator
) -> dict[str, Any]:
    """Measure the fidelity of a set of files."""
    files: list[Fidelity] = []
    tokens = refused = idempotent = wrong = 0
    cut_at = np.bincount(rng.integers(len(scores), size=cuts), minlength=len(scores))
    for score, num_cuts in zip(scores, cut_at.tolist(), strict=True):
        try:
            ids = tokenizer.encode(score)
        except InputError:
            refused += 1
            continue
        back = tokenizer.decode(ids)
        tokens += len(ids)
        idempotent += np.array_equal(tokenizer.encode(back), ids)
        wrong += wrong_cuts(ids, tokenizer, num_cuts, rng)
        files.append(compare(score, back, tokenizer))
    return {
        "files": len(files),
        "refused": refused,
        "idempotent": idempotent,
        "tokens_per_note": rounded(tokens / sum(file.notes for file in files)),
        "wrong_cuts": [wrong, cuts],
        **in_figures(files),
    }


def option(steps: int, velocities: int, scores: list[symusic.Score]) -> dict[str, Any]:
    """Measure fidelity with other settings."""
    tokenizer = Tokenizer(steps_per_quarter=steps, velocities=velocities)
    row = fidelity(scores, tokenizer, 0, np.random.default_rng(0))
    return {"settings": tokenizer.settings, "vocabulary": tokenizer.vocabulary.num_used, **row}


def remi() -> Any:  # noqa: ANN401 - miditok's class
    """Return MidiTok's REMI at its finest grid, with the same kinds of event as ours."""
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


loops_forced = partial(temporary_env_var, VARIABLE)
"""Set the loops of the tokenizer, "numpy" or "native", inside a `with` block."""


def speed(
    timed: dict[str, list[symusic.Score]], tokenizer: Tokenizer, turns: int
) -> list[dict[str, Any]]:
    """Measure encoding and decoding by set and pooled, for each implementation."""
    peer = remi()
    implementations = [PEER, "numpy", *(["native"] if load_library().functions else [])]
    seconds = {
        name: {
            **in_turns("encode", implementations, scores, scores, tokenizer, peer, turns),
            **in_turns(
                "decode",
                implementations,
                [tokenizer.encode(score) for score in scores],
                [peer.encode(score) for score in scores],
                tokenizer,
                peer,
                turns,
            ),
        }
        for name, scores in timed.items()
    }
    notes = {name: sum(score.note_num() for score in scores) for name, scores in timed.items()}
    rows = []
    for names in [(name,) for name in timed] + [tuple(timed)]:
        played = sum(notes[name] for name in names)
        files = sum(len(timed[name]) for name in names)
        for who in implementations:
            row: dict[str, Any] = {"set": " + ".join(names), "files": files, "who": who}
            for way in ("encode", "decode"):
                taken = sum(seconds[name][way, who] for name in names)
                peers = sum(seconds[name][way, PEER] for name in names)
                row[f"{way}_times_peer"] = rounded(peers / taken)
                row[f"{way}_notes_per_second"] = rounded(played / taken)
            rows.append(row)
    return rows


def in_turns(
    way: str,
    implementations: list[str],
    ours: list[Any],
    theirs: list[Any],
    tokenizer: Tokenizer,
    peer: Any,  # noqa: ANN401
    turns: int,
) -> dict[tuple[str, str], float]:
    """Return processor seconds of each implementation for all files, the least of each file summed.

    In a turn, each implementation processes all files once, as when a folder is prepared.
    """
    taken = {who: np.zeros((turns + 1, len(ours))) for who in implementations}
    for turn in range(turns + 1):
        for who in implementations:
            work: Callable[[Any], object] = getattr(peer if who == PEER else tokenizer, way)
            with loops_forced("numpy" if who == PEER else who):
                for index, given in enumerate(theirs if who == PEER else ours):
                    began = time.process_time()
                    work(given)
                    taken[who][turn, index] = time.process_time() - began
    return {(way, who): float(times[1:].min(axis=0).sum()) for who, times in taken.items()}


if __name__ == "__main__":
    main()
