"""Training: a completion-masked trainer, its run directory, and runs in their own process.

The run directory is the only interface between a trainer and whoever watches it; `TrainingRun`
reads and steers it, whether the run belongs to this process, another one, or yesterday.
"""

from rwkv_music.training.callbacks import Listeners
from rwkv_music.training.config import TrainingConfig
from rwkv_music.training.pipeline import train
from rwkv_music.training.presets import PRESETS
from rwkv_music.training.run.background import TrainingRun, attach, start_training
from rwkv_music.training.trainer import StepReport, Trainer

__all__ = [
    "PRESETS",
    "Listeners",
    "StepReport",
    "Trainer",
    "TrainingConfig",
    "TrainingRun",
    "attach",
    "start_training",
    "train",
]
