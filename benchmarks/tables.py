"""Write the tables of docs/benchmarks.md from benchmarks/results/*.json.

    python -m benchmarks.tables            # renew the page
    python -m benchmarks.tables --check    # fail if the page says anything else than the results

A table stands between `<!-- begin NAME -->` and `<!-- end NAME -->`, where NAME is the result file.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.measuring import REPOSITORY, RESULTS

PAGE = REPOSITORY / "docs" / "benchmarks.md"
_MARKED = re.compile(
    r"(?P<begin><!-- begin (?P<name>\w+) -->\n).*?(?P<end><!-- end (?P=name) -->)", re.DOTALL
)
Report = dict[str, Any]


def main() -> None:
    """Renew or check the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    before = given.page.read_text(encoding="utf-8")
    after = renewed(before, given.results)
    if given.check and after != before:
        sys.exit(f"{given.page.name} is not what the results say: run python -m benchmarks.tables")
    if not given.check:
        given.page.write_text(after, encoding="utf-8")


def renewed(page: str, results: Path) -> str:
    """The page with every table made anew."""

    def replace(found: re.Match[str]) -> str:
        report = json.loads((results / f"{found['name']}.json").read_text(encoding="utf-8"))
        return f"{found['begin']}{section(found['name'], report)}\n{found['end']}"

    return _MARKED.sub(replace, page)


def section(name: str, report: Report) -> str:
    """A result file as Markdown: its tables, and what it was measured on."""
    assert not report.get("settings", {}).get("quick"), f"{name}.json is of quick mode: run it all"
    left_out = [f"Left out: {report['left_out']}."] if report.get("left_out") else []
    return "\n\n".join([*TABLES[name](report), *left_out, measured_on(report["machine"])])


def measured_on(machine: dict[str, Any]) -> str:
    """One line: when, what, on which machine."""
    shown = ("cores", "threads", "python", "numpy", "symusic", "miditok")
    plain = {key: machine[key] for key in ("processor", *shown) if key in machine}
    versions = machine.get("versions", {})
    words = [
        *(f"{value}" if key == "processor" else f"{key} {value}" for key, value in plain.items()),
        *([machine["torch_uses"]] if "torch_uses" in machine else []),
        *(f"{key} {value}" for key, value in versions.items()),
    ]
    return f"*{machine['date']}, commit {machine['commit']}: {', '.join(words)}.*"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table; the first column is text, the others figures."""
    names = list(head)
    lines = [names, ["-", *["-:"] * (len(names) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def times(ratio: dict[str, float] | None, digits: int = 2) -> str:
    """A ratio with its range."""
    if ratio is None:
        return ""
    median, lowest, highest = (
        f"{ratio[key]:.{digits}f}" for key in ("median", "lowest", "highest")
    )
    return f"{median} ({lowest} to {highest})"


def mebibytes(number: float) -> str:
    """Bytes, for reading."""
    return f"{number / 2**20:,.0f}"


def tokenizer_tables(report: Report) -> list[str]:
    """Speed and fidelity by corpus."""
    head = (
        "files", "notes", "tokens a note", "encoding, times MidiTok", "decoding, times MidiTok",
        "onset error, 99 %, ms", "duration error, 99 %, ms",
    )  # fmt: skip
    rows = [
        [
            f"{name} ({row['files']})",
            f"{row['notes']:,}",
            f"{row['tokens_per_note']:.2f}",
            f"{row['encode_times_peer']:.1f}",
            f"{row['decode_times_peer']:.1f}",
            f"{row['worst_file_wall_clock_p99_ms']:.1f}",
            f"{row['worst_file_duration_p99_ms']:.1f}",
        ]
        for name, row in report["rows"].items()
    ]
    return [table(head, rows)]


def train_step_tables(report: Report) -> list[str]:
    """Ours beside the transformer, by precision and length."""
    peers = {
        (row["precision"], row["length"]): row
        for row in report["rows"] if row["model"] == "transformer"
    }  # fmt: skip
    head = (
        "precision, T, backend", "tokens/s", "transformer", "time, ours / transformer",
        "kept bytes a token and layer", "transformer", "peak MiB", "transformer",
    )  # fmt: skip
    rows = []
    for row in report["rows"]:
        if row["model"] != "transformer":
            peer = peers[row["precision"], row["length"]]
            rows.append([
                f"{row['precision']}, {row['length']}, {row['backend']}",
                f"{row['tokens_per_second']:,}",
                f"{peer['tokens_per_second']:,}",
                times(row["time_over_transformer"]),
                f"{row['saved_bytes_per_token_and_layer']:,.0f}",
                f"{peer['saved_bytes_per_token_and_layer']:,.0f}",
                mebibytes(row["peak_bytes"]),
                mebibytes(peer["peak_bytes"]),
            ])  # fmt: skip
    return [table(head, rows)]


def wkv_cpu_tables(report: Report) -> list[str]:
    """The recurrence by shape, and its accuracy by family of inputs."""
    head = (
        "B x T x H, precision, who", "ms", "times our step loop", "times the autograd loop",
        "worst error", "kept bytes a token at C = 256",
    )  # fmt: skip
    rows = [
        [
            f"{row['shape']}, {row['precision']}, {row['contestant']}",
            f"{row['seconds'] * 1000:.3g}",
            times(row["times_faster_than"]["reference"], 1),
            times(row["times_faster_than"].get("autograd loop"), 1),
            f"{row['worst_error']:.1e}",
            f"{row['saved_bytes_per_token_at_256']:,.0f}",
        ]
        for row in report["rows"]
    ]
    families = list(dict.fromkeys(row["family"] for row in report["accuracy"]))
    errors = {(row["backend"], row["family"]): row["worst_error"] for row in report["accuracy"]}
    backends = list(dict.fromkeys(backend for backend, _ in errors))
    accuracy = [
        [backend, *(f"{errors[backend, family]:.1e}" for family in families)]
        for backend in backends
    ]
    return [table(head, rows), table(("worst error, float32", *families), accuracy)]


def decode_tables(report: Report) -> list[str]:
    """Speed by model and task, memory over time, and the loss on music."""
    head = ("model, task, who", "tokens/s", "times the package", "logit error")
    rows = [
        [
            f"{row['size']} ({row['parameters'] / 1e6:.1f} M), {row['task']}, "
            f"{row['contestant']} {row['precision']}",
            f"{row['tokens_per_second']:,.0f}",
            times(row["times_faster_than_package"], 1),
            f"{row['logit_error']:.1e}",
        ]
        for row in report["rows"]
    ]
    memory = [
        [
            f"{row['contestant']}, {row['size']}",
            mebibytes(row["resident_bytes_early"]),
            mebibytes(row["resident_bytes_late"]),
            f"{row['tokens']:,}",
        ]
        for row in report["memory"]
    ]
    made = [table(head, rows)]
    if memory:
        made.append(table(("memory", "MiB at token 100", "MiB at the last", "tokens"), memory))
    return [*made, *music_tables(report.get("music"))]


def music_tables(music: Report | None) -> list[str]:
    """What narrower weights cost."""
    if music is None:
        return []
    rows = [
        [
            f"{row['contestant']} {row['precision']}",
            f"{row['nats_per_token']:.4f}",
            f"{row['more_than_float32']:+.1e}",
        ]
        for row in music["rows"]
    ]
    where = f"{music['model']} on {music['source']}, {music['pieces']} pieces"
    return [table((where, "nats a token", "more than float32"), rows)]


TABLES: dict[str, Callable[[Report], list[str]]] = {
    "tokenizer": tokenizer_tables,
    "train_step": train_step_tables,
    "wkv_cpu": wkv_cpu_tables,
    "decode": decode_tables,
}
"""What makes the tables of each result file."""


if __name__ == "__main__":
    main()
