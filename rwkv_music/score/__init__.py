"""Music in memory and on disk. The type is `symusic.Score` in tick time.

symusic, music21, pretty_midi and matplotlib are imported by the functions that need them, so that
importing this package is cheap.
"""

from rwkv_music.score.editing import splice, split_at_bar, take_bars, transpose
from rwkv_music.score.files import load_score, read_score, save_score, score_from_bytes
from rwkv_music.score.instruments import program_name
from rwkv_music.score.interop.convert import to_music21, to_pretty_midi, to_score
from rwkv_music.score.loaded_score import LoadedScore
from rwkv_music.score.piano_roll import draw_piano_roll, piano_roll, save_piano_roll
from rwkv_music.score.timing import TempoMap, bar_starts, beat_ticks, num_bars

__all__ = [
    "LoadedScore",
    "TempoMap",
    "bar_starts",
    "beat_ticks",
    "draw_piano_roll",
    "load_score",
    "num_bars",
    "piano_roll",
    "program_name",
    "read_score",
    "save_piano_roll",
    "save_score",
    "score_from_bytes",
    "splice",
    "split_at_bar",
    "take_bars",
    "to_music21",
    "to_pretty_midi",
    "to_score",
    "transpose",
]
