"""The loss chart: training, held-out pieces, and what needs no training."""

from collections.abc import Mapping
from typing import Any

import anywidget
import traitlets

from rwkv_music_widgets.bundle import bundled, style
from rwkv_music_widgets.runlog import packed_points


class LossChart(anywidget.AnyWidget):
    """Draws nats per completion token over optimizer steps."""

    _esm = bundled("chart.mjs")
    _css = style("piano_roll.css")

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
        """Draw other curves.

        Args:
            train: (step, nats per completion token).
            valid: The same on held-out pieces.
            baselines: Nats per completion token by name; the lowest is always in sight.
        """
        with self.hold_sync():
            self.train, self.valid = packed_points(train), packed_points(valid)
            self.baselines = [[name, value] for name, value in (baselines or {}).items()]
            last = f", now {train[-1][1]:.3f}" if train else ""
            self.summary = f"Loss of {len(train)} steps{last} nats per completion token"
            self.version += 1
