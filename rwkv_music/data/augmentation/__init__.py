"""Augmentation of examples: key, tempo, loudness, instruments, and the layout of parts and bars.

`token_changes` works on token ids; `part_layout`, `note_changes` and `bar_shift` work on event
tables. `RandomAugmentation` applies them at random. Training needs no scores for it. All changes
keep the ids canonical: they are what the tokenizer would have made of the changed music.
"""

from rwkv_music.data.augmentation.random_augmentation import RandomAugmentation
from rwkv_music.data.augmentation.random_layout import RandomLayout
from rwkv_music.data.augmentation.token_changes import (
    replace_program,
    scale_tempo,
    shift_velocity,
    transpose_ids,
)

__all__ = [
    "RandomAugmentation",
    "RandomLayout",
    "replace_program",
    "scale_tempo",
    "shift_velocity",
    "transpose_ids",
]
