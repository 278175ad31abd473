"""Holes: bars and parts to write, with the music around them, as one stream."""

from rwkv_music.tokenizer.holes.hole import Hole, HoleStream, cut_hole
from rwkv_music.tokenizer.holes.measure import measure_hole
from rwkv_music.tokenizer.holes.split import split_hole
from rwkv_music.tokenizer.holes.write import write_hole

__all__ = ["Hole", "HoleStream", "cut_hole", "measure_hole", "split_hole", "write_hole"]
