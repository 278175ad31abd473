"""Time from a request to the first new token in a session: reading a prompt anew, and again.

    python -m benchmarks.first_note general STORE --json benchmarks/results/first_note.json

Prompts are the first bars of one long held-out piece. "Anew" is the first request of a session;
"again" has other seeds, in the same session. Times are processor times of one thread.
"""

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.measuring import machine, rounded, write_report
from rwkv_music.data import Store
from rwkv_music.generation import Request, Session
from rwkv_music.model import load_model
from rwkv_music.score import num_bars, take_bars
from rwkv_music.tokenizer import BarIndex


def main() -> None:
    """Measure continuing and filling at every length."""
    given = arguments()
    torch.set_num_threads(1)
    model, store = load_model(given.model), Store(given.store)
    piece = max([*store.valid, *store.train], key=lambda piece: len(piece.ids))
    index = BarIndex(piece.ids, store.tokenizer)
    whole = store.tokenizer.decode(piece.ids)
    rows = []
    for tokens in given.tokens:
        bars = next(
            (bar for bar in range(1, index.num_bars) if len(index.window(0, bar).ids) >= tokens),
            index.num_bars,
        )
        score = take_bars(whole, 0, bars)
        bars = num_bars(score)
        requests = {"continue": {"bars": 4}, "fill": {"bars": (bars - 8, bars - 7)}}
        for name, request in requests.items():
            session = Session(model, score)
            times = [first_token(session, seed, request) for seed in range(given.repeats + 1)]
            rows.append(
                {
                    "tokens": len(store.tokenizer.encode(score)),
                    "bars": bars,
                    "request": name,
                    "anew": rounded(times[0]),
                    "again": rounded(statistics.median(times[1:])),
                    "slowest_again": rounded(max(times[1:])),
                }
            )
    settings = {"model": given.model, "store": given.store.name, "repeats": given.repeats}
    write_report({"machine": machine("rwkv-music"), "settings": settings, "rows": rows}, given.json)


def arguments() -> argparse.Namespace:
    """Return what was asked for on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("store", type=Path)
    parser.add_argument("--tokens", type=int, nargs="+", default=[1_000, 4_000, 16_000])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def first_token(session: Session, seed: int, request: dict[str, Any]) -> float:
    """Return the processor seconds from a request for three candidates to its first event."""
    begin = time.process_time()
    events = session.stream(Request(candidates=3, seed=seed, **request))
    next(iter(events), None)
    seconds = time.process_time() - begin
    events.close()
    return seconds


if __name__ == "__main__":
    main()
