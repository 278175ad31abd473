"""What the notebook shows: piano roll, player, continuation, training panel and data doctor."""

from rwkv_music_widgets.continuation_session import ContinuationSession
from rwkv_music_widgets.data_doctor import DataDoctor
from rwkv_music_widgets.loss_chart import LossChart
from rwkv_music_widgets.piano_roll import PianoRoll
from rwkv_music_widgets.player import Player
from rwkv_music_widgets.training_panel import TrainingPanel

__all__ = [
    "ContinuationSession",
    "DataDoctor",
    "LossChart",
    "PianoRoll",
    "Player",
    "TrainingPanel",
]
