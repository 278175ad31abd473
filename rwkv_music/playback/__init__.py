"""Sound: a player over pygame, and a synthesizer without dependencies.

pygame is imported by the functions that need it. Without a sound device, `SoundPlayer.message` says
why and the notebook plays in the browser.
"""

from rwkv_music.playback.slicing import slice_ticks
from rwkv_music.playback.sound_player import SoundPlayer, play_file
from rwkv_music.playback.soundfont import find_soundfont
from rwkv_music.playback.synth import score_to_pcm, score_to_wav

__all__ = [
    "SoundPlayer",
    "find_soundfont",
    "play_file",
    "score_to_pcm",
    "score_to_wav",
    "slice_ticks",
]
