"""Speed and fidelity of the tokenizer compared with MidiTok."""

from benchmarks.reports import Report, table

_KEPT = (
    "notes kept", "parts", "pedal switches", "signatures",
    "files that encode again to the same ids", "wrong at random bar cuts",
)  # fmt: skip
_MOVED = (
    "tokens per note", "onset, largest error in grid steps",
    "onset on the clock, ms: median / 99 % / largest, of the worst file",
    "duration, ms: median / 99 % / 99 % of the worst file", "velocity: mean / largest",
)  # fmt: skip


def tables(report: Report) -> list[str]:
    """Return tables of speed, fidelity by corpus, and fidelity by settings."""
    speed = [
        [
            f"{row['set']} ({row['files']}), {row['who']}",
            f"{row['encode_times_peer']:.1f}",
            f"{row['decode_times_peer']:.1f}",
            f"{row['encode_notes_per_second'] / 1e6:.2f}",
            f"{row['decode_notes_per_second'] / 1e6:.2f}",
        ]
        for row in report["speed"]
    ]
    head = (
        "files, implementation", "encoding, times MidiTok", "decoding, times MidiTok",
        "encoding, million notes/s", "decoding, million notes/s",
    )  # fmt: skip
    sets = {
        f"{name} ({row['files']:,}, {row['refused']} skipped)": row
        for name, row in report["rows"].items()
    }
    settings = {
        f"{row['settings']['steps_per_quarter']} steps, {row['settings']['velocities']} velocities "
        f"({row['vocabulary']:,} ids)": row
        for row in report["options"]
    }
    return [
        table(head, speed),
        table(("files", *_KEPT), [[name, *kept(row)] for name, row in sets.items()]),
        table(("files", *_MOVED), [[name, *moved(row)] for name, row in sets.items()]),
        table(
            (f"{report['options'][0]['files']} files of pop909", *_MOVED),
            [[name, *moved(row)] for name, row in settings.items()],
        ),
    ]


def kept(row: Report) -> list[str]:
    """What comes back, of how much."""
    counts = [row["kept"][what] for what in ("notes", "parts", "pedals", "signatures")]
    return [
        *(f"{here:,} of {there:,}" for here, there in counts),
        f"{row['idempotent']:,}",
        f"{row['wrong_cuts'][0]} of {row['wrong_cuts'][1]}",
    ]


def moved(row: Report) -> list[str]:
    """How long it is, and how far notes are moved."""
    return [
        f"{row['tokens_per_note']:.2f}",
        f"{row['onset_steps_max']:.2f}",
        " / ".join(
            f"{row[what]:.1f}"
            for what in ("heard_ms_median", "heard_ms_p99_worst_file", "drift_ms_worst_file")
        ),
        " / ".join(
            f"{row[what]:.1f}"
            for what in ("duration_ms_median", "duration_ms_p99", "duration_ms_p99_worst_file")
        ),
        f"{row['velocity_mean']:.2f} / {row['velocity_max']:.0f}",
    ]
