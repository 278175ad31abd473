"""The loss chart: training, held-out pieces, and the n-gram floor."""

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
    floor = traitlets.Float(0.0).tag(sync=True)
    height = traitlets.Int(240).tag(sync=True)
    summary = traitlets.Unicode("Loss of the run").tag(sync=True)
    version = traitlets.Int(0).tag(sync=True)

    def show(
        self, train: list[tuple[float, float]], valid: list[tuple[float, float]], floor: float
    ) -> None:
        """Draw other curves.

        Args:
            train: (step, nats per completion token).
            valid: The same on held-out pieces.
            floor: The n-gram's; 0 leaves it out.
        """
        with self.hold_sync():
            self.train, self.valid, self.floor = packed_points(train), packed_points(valid), floor
            last = f", now {train[-1][1]:.3f}" if train else ""
            self.summary = f"Loss of {len(train)} steps{last} nats per completion token"
            self.version += 1
