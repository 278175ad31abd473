"""What the notebook shows: piano roll, player, continuation session and training panel."""

from rwkv_music_widgets.continuation_session import ContinuationSession
from rwkv_music_widgets.loss_chart import LossChart
from rwkv_music_widgets.piano_roll import PianoRoll
from rwkv_music_widgets.player import Player
from rwkv_music_widgets.training_panel import TrainingPanel

__all__ = ["ContinuationSession", "LossChart", "PianoRoll", "Player", "TrainingPanel"]
