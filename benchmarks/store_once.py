"""Prepare one store in a process that does nothing else, for `benchmarks.store`.

python -m benchmarks.store_once FOLDER STORE WORKERS
"""

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.memory import peak_memory
from rwkv_music.data import Store, Windows, prepare_store


def one_store(folder: Path, store: Path, *, workers: int) -> dict[str, Any]:
    """Prepare a folder and return what it cost."""
    began = time.perf_counter()
    result = prepare_store(folder, store, workers=workers)
    seconds = time.perf_counter() - began
    mine = resource.getrusage(resource.RUSAGE_SELF)
    theirs = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = mine.ru_utime + mine.ru_stime + theirs.ru_utime + theirs.ru_stime
    peak = peak_memory()
    began = time.perf_counter()
    opened = Store(store)
    usable = Windows(
        (*opened.train, *opened.valid), opened.tokenizer, prompt_bars=4, completion_bars=4
    )
    opening = time.perf_counter() - began
    files = result.added + result.skipped
    return {
        "files": files,
        "skipped": result.skipped,
        "tokens": sum(result.info.tokens.values()),
        "bytes": sum(path.stat().st_size for path in store.iterdir()),
        "seconds": _rounded(seconds),
        "processor_seconds": _rounded(processor),
        "files_per_second_and_core": _rounded(files / processor),
        "peak_bytes": peak,
        "peak_bytes_of_a_worker": theirs.ru_maxrss * 1024,
        "opening_seconds": _rounded(opening),
        "windows": len(usable),
    }


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


if __name__ == "__main__":
    print(json.dumps(one_store(Path(sys.argv[1]), Path(sys.argv[2]), workers=int(sys.argv[3]))))
