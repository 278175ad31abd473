"""Texts of the training panel as HTML: state, figures, loss by token type.

Everything that comes from the run's files is escaped: a run may be somebody else's.
"""

from typing import Any

from rwkv_music.devices import busy_label
from rwkv_music.old_names import TOKEN_TYPES, renamed
from rwkv_music_widgets.messages import escaped
from rwkv_music_widgets.training.run_log import RunLog, is_number, seconds_left

_CHIP = "color:white;border-radius:9px;padding:1px 9px"
_COLORS = {
    "running": "#2e7d32", "finished": "#1565c0", "failed": "#c62828", "paused": "#8d6e00",
}  # fmt: skip
_OTHER_COLOR = "#6d4c41"
_TOKEN_TYPES = {
    "BAR": "bar", "EOS": "end of the piece", "TEMPO": "tempo", "TEMPO_FRACTION": "tempo, fraction",
    "NUM": "time signature, numerator", "DEN": "time signature, denominator", "PART": "part",
    "PROG": "instrument", "BEAT": "beat", "SUBBEAT": "position in the beat", "PITCH": "pitch",
    "DRUM": "drum", "VEL": "velocity", "DUR": "duration", "PED": "pedal",
}  # fmt: skip
_CELL = "padding:1px 10px 1px 0"


def header_html(status: dict[str, Any], log: RunLog) -> str:
    """Return state, step, time left, device, and the trainer's own message."""
    state, step, steps = status["state"], status["step"], status["steps"]
    has_steps = is_number(step) and is_number(steps)
    left = seconds_left(log, step, steps, duration) if state == "running" and has_steps else ""
    color = _COLORS.get(str(state), _OTHER_COLOR)
    texts = [
        f'<b style="{_CHIP};background:{color}">{escaped(state)}</b>',
        f"step {escaped(step)} of {escaped(steps)}" if steps else "",
        f"about {left} left" if left else "",
        escaped(_device_and_kernel(str(status.get("device", "")), log)),
        f"<i>{escaped(status['message'])}</i>" if status["message"] else "",
    ]
    return " &nbsp; ".join(text for text in texts if text)


def _device_and_kernel(device: str, log: RunLog) -> str:
    kernel = (log.config() or {}).get("kernel")
    return f"{device}, {kernel} kernel" if kernel else device


def figures_html(log: RunLog, device: str) -> str:
    """Return the newest figures in one line, the held-out ones beside the best baseline."""
    line, held_out = log.latest, log.latest_evaluation
    if not line:
        return ""
    cells = [
        ("training", f"{_number(line.get('loss_train'))} nats per token"),
        ("speed", f"{_number(line.get('tokens_per_second'), ',.0f')} tokens/s"),
        (busy_label(device), _number(line.get("device_busy_percent"), ".0f", " %")),
        ("memory", _number(line.get("memory_gib"), ".2f", " GiB")),
    ]
    for name, unit in (("power_watts", " W"), ("temperature_celsius", " °C")):
        value = line.get(f"device_{name}")
        if value is not None:
            cells.append((name.partition("_")[0], _number(value, ".0f", unit)))
    if held_out:
        cells.insert(1, ("held-out", _held_out_text(log)))
        if "bits_per_second_valid" in held_out:
            bits = _number(held_out["bits_per_second_valid"], ".1f")
            cells.insert(2, ("", f"{bits} bits/s of music"))
    return " &nbsp; ".join(
        f'<span style="white-space:nowrap"><b>{name}</b> {value}</span>' for name, value in cells
    )


def _held_out_text(log: RunLog) -> str:
    held_out = log.latest_evaluation
    text = (
        f"{_number(held_out['loss_valid'])}, "
        f"{_number(held_out.get('nats_per_note_valid'))} nats per note"
    )
    name, baseline = best_baseline(log)
    if baseline:
        text += (
            f" ({escaped(name)}: {_number(baseline['nats_per_token'])}, "
            f"{_number(baseline.get('nats_per_note'))})"
        )
    return text


def best_baseline(log: RunLog) -> tuple[str, dict[str, Any]]:
    """Return the name and figures of the baseline with the fewest nats; empty if there is none."""
    baselines = log.baselines()
    name = min(baselines, key=lambda key: float(baselines[key]["nats_per_token"]), default="")
    return name, baselines.get(name, {})


def warnings_html(log: RunLog) -> str:
    """Return the warnings of the newest evaluation."""
    lines = [
        f'<span style="color:#b26a00">&#9888; {escaped(warning)}</span>'
        for warning in log.latest_evaluation.get("warnings", ())
    ]
    return "<br>".join(lines)


def token_types_html(log: RunLog) -> str:
    """Return a table of the held-out loss by token type, beside the best baseline."""
    losses = _losses(log.latest_evaluation.get("loss_by_type_valid"))
    if not losses:
        return "shown after the first evaluation"
    name, baseline = best_baseline(log)
    beside = _losses(baseline.get("by_type"))
    largest = max([*losses.values(), *(beside.get(kind, 0.0) for kind in losses)])
    rows = [
        f'<tr><td style="{_CELL}">{escaped(_TOKEN_TYPES.get(name, name.lower()))}</td>'
        f'<td style="{_CELL};text-align:right">{_number(value)}</td>'
        f'<td style="{_CELL};text-align:right;opacity:.6">{_number(beside.get(name), missing="")}'
        f'</td><td style="{_CELL}">{_bar(value / max(largest, 1e-9))}</td></tr>'
        for name, value in sorted(losses.items(), key=lambda item: -item[1])
    ]
    head = (
        f'<tr style="text-align:left"><th style="{_CELL}">token type</th>'
        f'<th style="{_CELL}">model</th><th style="{_CELL}">{escaped(name)}</th><th></th></tr>'
    )
    return f'<table style="line-height:1.35">{head}{"".join(rows)}</table>'


def _losses(by_type: object) -> dict[str, float]:
    """Return losses by token type, under today's names and without values that are no numbers."""
    if not isinstance(by_type, dict):
        return {}
    losses = renamed(by_type, TOKEN_TYPES)
    return {str(name): value for name, value in losses.items() if is_number(value)}


def _bar(fraction: float) -> str:
    width = max(1, round(160 * fraction))
    style = f"display:inline-block;height:9px;border-radius:2px;width:{width}px"
    return f'<span style="{style};background:#d55e00"></span>'


def _number(value: object, spec: str = ".3f", unit: str = "", *, missing: str = "unknown") -> str:
    """Return a number as text; `missing` for anything that is not a number."""
    return f"{value:{spec}}{unit}" if is_number(value) else missing


def duration(seconds: float) -> str:
    """Return a duration as "2 min 05 s"."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
