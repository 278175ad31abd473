"""Training: a completion-masked trainer, its run directory, and runs in their own process.

The run directory is the only interface between a trainer and its viewers; `TrainingRun` reads and
controls it, whether the run belongs to this process, another one, or has ended.

The names are imported on first use, so that settings can be read without torch.
"""

from typing import TYPE_CHECKING

from rwkv_music.lazy_names import lazy_names

if TYPE_CHECKING:
    from rwkv_music.training.callbacks import Callbacks
    from rwkv_music.training.config import TrainingConfig
    from rwkv_music.training.pipeline import train
    from rwkv_music.training.presets import PRESETS
    from rwkv_music.training.run.background import TrainingRun, attach, start_training
    from rwkv_music.training.trainer import StepMetrics, Trainer

_MODULES = {
    "PRESETS": "presets",
    "Callbacks": "callbacks",
    "StepMetrics": "trainer",
    "Trainer": "trainer",
    "TrainingConfig": "config",
    "TrainingRun": "run.background",
    "attach": "run.background",
    "start_training": "run.background",
    "train": "pipeline",
}

__all__ = [
    "PRESETS",
    "Callbacks",
    "StepMetrics",
    "Trainer",
    "TrainingConfig",
    "TrainingRun",
    "attach",
    "start_training",
    "train",
]

__getattr__, __dir__ = lazy_names(__name__, _MODULES)
