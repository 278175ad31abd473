"""Public benchmarks: likelihood of the JSB chorales and of four sets of polyphonic frames."""

from rwkv_music.evaluation.benchmarks.benchmark_figures import jsb_report, polyphonic_report
from rwkv_music.evaluation.benchmarks.fitting import FitSettings
from rwkv_music.evaluation.benchmarks.frames import SETS
from rwkv_music.evaluation.benchmarks.jsb import JSBSettings
from rwkv_music.evaluation.benchmarks.polyphonic import FrameSettings

__all__ = [
    "SETS",
    "FitSettings",
    "FrameSettings",
    "JSBSettings",
    "jsb_report",
    "polyphonic_report",
]
