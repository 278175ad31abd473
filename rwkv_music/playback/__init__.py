"""Sound: a player over pygame, rendering with a SoundFont, and a synthesizer without dependencies.

pygame is imported by the functions that need it. Without a sound device, `SoundPlayer.message` says
why and the notebook plays in the browser what `stream_sound` renders.
"""

from rwkv_music.playback.rendering import (
    choose_soundfont,
    render_sound,
    stream_sound,
    warm_up,
)
from rwkv_music.playback.slicing import slice_ticks
from rwkv_music.playback.sound_file import encode_sound, save_sound
from rwkv_music.playback.sound_player import SoundPlayer, play_file
from rwkv_music.playback.soundfont import find_soundfont, find_soundfonts
from rwkv_music.playback.synth import score_to_pcm, score_to_wav

__all__ = [
    "SoundPlayer",
    "choose_soundfont",
    "encode_sound",
    "find_soundfont",
    "find_soundfonts",
    "play_file",
    "render_sound",
    "save_sound",
    "score_to_pcm",
    "score_to_wav",
    "slice_ticks",
    "stream_sound",
    "warm_up",
]
