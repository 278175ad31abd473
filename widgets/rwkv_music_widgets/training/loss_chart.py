"""Loss chart: training loss, held-out loss and baselines."""

from collections.abc import Mapping
from typing import Any

import anywidget
import numpy as np
import traitlets

from rwkv_music_widgets.bundle import bundled, style_sheet

_MAX_POINTS = 4000


class LossChart(anywidget.AnyWidget):
    """Plots nats per completion token over optimizer steps."""

    _esm = bundled("chart.mjs")
    _css = style_sheet("piano_roll.css")

    train = traitlets.Bytes(b"").tag(sync=True)
    valid = traitlets.Bytes(b"").tag(sync=True)
    baselines: traitlets.List[list[Any]] = traitlets.List([]).tag(sync=True)
    height = traitlets.Int(240).tag(sync=True)
    summary = traitlets.Unicode("Loss of the run").tag(sync=True)
    version = traitlets.Int(0).tag(sync=True)

    def show(
        self,
        train: list[tuple[float, float]],
        valid: list[tuple[float, float]],
        baselines: Mapping[str, float] | None = None,
    ) -> None:
        """Plot other curves.

        Args:
            train: (step, nats per completion token).
            valid: The same on held-out pieces.
            baselines: Nats per completion token by name; the lowest is always visible.
        """
        with self.hold_sync():
            self.train, self.valid = packed_points(train), packed_points(valid)
            self.baselines = [[name, value] for name, value in (baselines or {}).items()]
            newest = f", now {train[-1][1]:.3f}" if train else ""
            self.summary = f"Loss of {len(train)} steps{newest} nats per completion token"
            self.version += 1


def packed_points(points: list[tuple[float, float]], max_points: int = _MAX_POINTS) -> bytes:
    """Return points as pairs of 32-bit floats, thinned evenly to at most `max_points`."""
    if len(points) > max_points:
        kept = np.unique(np.linspace(0, len(points) - 1, max_points).astype(int))
        points = [points[index] for index in kept]
    return bytes(np.array(points, dtype="<f4").tobytes())
