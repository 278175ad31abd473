"""Notebook widgets: piano roll, player, continuation session, training panel, data doctor."""

from rwkv_music_widgets.doctor.data_doctor import DataDoctor
from rwkv_music_widgets.export.html_page import PagePiece, save_page
from rwkv_music_widgets.export.score_files import save_as
from rwkv_music_widgets.player.player import Player
from rwkv_music_widgets.roll.piano_roll import PianoRoll
from rwkv_music_widgets.session.continuation_session import ContinuationSession
from rwkv_music_widgets.training.loss_chart import LossChart
from rwkv_music_widgets.training.settings_form import SettingsForm
from rwkv_music_widgets.training.training_panel import TrainingPanel

__all__ = [
    "ContinuationSession",
    "DataDoctor",
    "LossChart",
    "PagePiece",
    "PianoRoll",
    "Player",
    "SettingsForm",
    "TrainingPanel",
    "save_as",
    "save_page",
]
