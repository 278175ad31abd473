"""Sound: a player over pygame, and a synthesizer that needs nothing.

pygame is imported by the functions that need it. Where there is no sound device, `Player.message`
says so in one sentence and the notebook plays in the browser instead.
"""

from rwkv_music.playback.player import Player, play_file
from rwkv_music.playback.slicing import slice_ticks
from rwkv_music.playback.soundfont import find_soundfont
from rwkv_music.playback.synth import score_to_pcm, score_to_wav

__all__ = [
    "Player",
    "find_soundfont",
    "play_file",
    "score_to_pcm",
    "score_to_wav",
    "slice_ticks",
]
