"""A tokenizer that crashes or hangs its process, as a defective native library may."""

import os
import time

import numpy as np
import symusic
from jaxtyping import UInt16

from rwkv_music.tokenizer import Tokenizer

CRASH_PITCH, HANG_PITCH, BUG_PITCH = 1, 2, 3


class CrashingTokenizer(Tokenizer):
    """Dies of certain pitches."""

    def encode(self, score: symusic.Score) -> UInt16[np.ndarray, " tokens"]:
        pitches = {note.pitch for track in score.tracks for note in track.notes}
        if CRASH_PITCH in pitches:
            os.abort()
        if HANG_PITCH in pitches:
            time.sleep(3600)
        if BUG_PITCH in pitches:
            raise RuntimeError("a bug of ours")
        return super().encode(score)
