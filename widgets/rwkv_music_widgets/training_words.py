"""What the training panel says, as HTML: state, figures, kinds of token. No widgets here."""

import html
from typing import Any

from rwkv_music.devices import busy_label
from rwkv_music.old_names import TOKEN_TYPES, renamed
from rwkv_music_widgets.runlog import RunLog, seconds_left

_CHIP = "color:white;border-radius:9px;padding:1px 9px"
_COLORS = {
    "running": "#2e7d32", "finished": "#1565c0", "failed": "#c62828", "paused": "#8d6e00",
}  # fmt: skip
_OTHER_COLOR = "#6d4c41"
_KINDS = {
    "BAR": "bar", "EOS": "end of the piece", "TEMPO": "tempo", "TEMPO_FRACTION": "tempo, fraction",
    "NUM": "signature, above", "DEN": "signature, below", "PART": "part", "PROG": "instrument",
    "BEAT": "beat", "SUBBEAT": "place in the beat", "PITCH": "pitch", "DRUM": "drum",
    "VEL": "velocity", "DUR": "duration", "PED": "pedal",
}  # fmt: skip
_CELL = "padding:1px 10px 1px 0"


def header_html(status: dict[str, Any], log: RunLog) -> str:
    """State, step, time left, device, and the trainer's own message."""
    state, step, steps = status["state"], status["step"], status["steps"]
    left = seconds_left(log, step, steps, duration) if state == "running" else ""
    words = [
        f'<b style="{_CHIP};background:{_COLORS.get(state, _OTHER_COLOR)}">{state}</b>',
        f"step {step} of {steps}" if steps else "",
        f"about {left} left" if left else "",
        html.escape(_where(status["device"], log)),
        f"<i>{html.escape(status['message'])}</i>" if status["message"] else "",
    ]
    return " &nbsp; ".join(word for word in words if word)


def _where(device: str, log: RunLog) -> str:
    """The device, and the kernel that runs the recurrence on it once the run says so."""
    kernel = (log.config() or {}).get("kernel")
    return f"{device}, {kernel} kernel" if kernel else device


def figures_html(log: RunLog, device: str) -> str:
    """The newest figures in one line, the held-out ones beside those of the best baseline."""
    line, held_out = log.latest, log.latest_evaluation
    if not line:
        return ""
    cells = [
        ("training", f"{line['loss_train']:.3f} nats per token"),
        ("speed", f"{line['tokens_per_second']:,.0f} tokens/s"),
        (busy_label(device), _percent(line["device_busy_percent"])),
        ("memory", _gib(line["memory_gib"])),
    ]
    for name, unit in (("power_watts", "W"), ("temperature_celsius", "°C")):
        value = line.get(f"device_{name}")
        if value is not None:
            cells.append((name.partition("_")[0], f"{value:.0f} {unit}"))
    if held_out:
        text = f"{held_out['loss_valid']:.3f}, {held_out['nats_per_note_valid']:.3f} nats per note"
        name, floor = best_baseline(log)
        if floor:
            text += f" ({name}: {floor['nats_per_token']:.3f}, {floor['nats_per_note']:.3f})"
        cells.insert(1, ("held-out", text))
        if "bits_per_second_valid" in held_out:
            cells.insert(2, ("", f"{held_out['bits_per_second_valid']:.1f} bits/s of music"))
    return " &nbsp; ".join(
        f'<span style="white-space:nowrap"><b>{name}</b> {value}</span>' for name, value in cells
    )


def best_baseline(log: RunLog) -> tuple[str, dict[str, Any]]:
    """The baseline with the fewest nats, and its name; empty while nothing is known."""
    found = log.baselines()
    name = min(found, key=lambda each: float(found[each]["nats_per_token"]), default="")
    return name, found.get(name, {})


def warnings_html(log: RunLog) -> str:
    """What the newest look at the held-out pieces warns of."""
    lines = [
        f'<span style="color:#b26a00">&#9888; {html.escape(warning)}</span>'
        for warning in log.latest_evaluation.get("warnings", ())
    ]
    return "<br>".join(lines)


def kinds_html(log: RunLog) -> str:
    """A table of the held-out loss by kind of token, beside the best baseline."""
    found = log.latest_evaluation.get("loss_by_kind_valid")
    if not found:
        return "after the first look at the held-out pieces"
    name, floor = best_baseline(log)
    found = renamed(found, TOKEN_TYPES)
    beside = renamed(floor.get("by_kind", {}), TOKEN_TYPES)
    most = max([*found.values(), *(beside.get(kind, 0.0) for kind in found)], default=1.0)
    rows = [
        f'<tr><td style="{_CELL}">{_KINDS.get(kind, kind.lower())}</td>'
        f'<td style="{_CELL};text-align:right">{value:.3f}</td>'
        f'<td style="{_CELL};text-align:right;opacity:.6">{_number(beside.get(kind))}</td>'
        f'<td style="{_CELL}">{_bar(value / most)}</td></tr>'
        for kind, value in sorted(found.items(), key=lambda each: -each[1])
    ]
    head = (
        f'<tr style="text-align:left"><th style="{_CELL}">kind of token</th>'
        f'<th style="{_CELL}">model</th><th style="{_CELL}">{html.escape(name)}</th><th></th></tr>'
    )
    return f'<table style="line-height:1.35">{head}{"".join(rows)}</table>'


def _bar(share: float) -> str:
    style = (
        f"display:inline-block;height:9px;border-radius:2px;width:{max(1, round(160 * share))}px"
    )
    return f'<span style="{style};background:#d55e00"></span>'


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _percent(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.0f} %"


def _gib(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f} GiB"


def duration(seconds: float) -> str:
    """Minutes and seconds in words."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
