"""A bare browser page that shows a widget with a model made by the test."""

import base64
import json
from typing import Any

from playwright.sync_api import Page

# What anywidget gives a widget: a model with get, set, on, off and save_changes.
HARNESS = """
async ([source, style, state]) => {
  document.body.innerHTML = `<style>${style}</style><div id="root" style="width:800px"></div>`;
  document.body.dataset.jpThemeLight = "true";
  const bytes = (text) => {
    const raw = Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
    return new DataView(raw.buffer);
  };
  const values = Object.fromEntries(Object.entries(state).map(
    ([name, value]) => [name, value && value.bytes !== undefined ? bytes(value.bytes) : value]));
  const handlers = {};
  window.saves = 0;
  window.sent = [];
  window.model = {
    values,
    get: (name) => values[name],
    set: (name, value) => { values[name] = value; },
    on: (event, handle) => (handlers[event] ??= new Set()).add(handle),
    off: (event, handle) => handlers[event]?.delete(handle),
    save_changes: () => { window.saves += 1; },
    send: (message) => { window.sent.push(message); },
    fire: (event, ...details) =>
      [...(handlers[event] ?? [])].forEach((handle) => handle(...details)),
    listeners: () => Object.values(handlers).reduce((sum, each) => sum + each.size, 0),
  };
  const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const module = await import(url);
  const el = document.getElementById("root");
  const end = module.default.initialize?.({ model: window.model }) ?? (() => {});
  const close = module.default.render({ model: window.model, el });
  window.bytes = bytes;
  window.cleanup = () => { close(); end(); };
}
"""


def show(page: Page, widget: Any, names: tuple[str, ...], *, navigate: bool = True) -> None:
    """Render a Python widget's state in the bare page."""
    state = {}
    for name in names:
        value = getattr(widget, name)
        is_bytes = isinstance(value, bytes)
        state[name] = {"bytes": base64.b64encode(value).decode()} if is_bytes else value
    if navigate:
        page.goto("about:blank")
    page.evaluate(HARNESS, [widget._esm, widget._css, json.loads(json.dumps(state))])


ROLL = (
    "notes", "bars", "beats", "signatures", "tempos", "parts", "summary", "ticks_per_quarter",
    "continuation_start", "height", "selection", "playback", "ended_playback", "volume", "sound_id",
    "hidden_parts", "muted_parts", "new_end", "can_edit", "selected_parts", "locked_parts",
    "locked_notes", "other", "surprise",
)  # fmt: skip
