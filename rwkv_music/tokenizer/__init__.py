"""Scores <-> token ids: vocabulary, event table, encoder, decoder, grammar, windows of whole bars.

A piece is a flat stream of ids:

    piece  = BOS header bar* EOS
    header = TEMPO [TEMPO_FRACTION] NUM DEN (PART PROG)+       what holds at the first bar
    bar    = BAR [NUM DEN] event*                      NUM DEN only where the signature changes
    event  = [BEAT] [SUBBEAT] (TEMPO [TEMPO_FRACTION] | [PART] PED | [PART] (PITCH | DRUM) VEL DUR)

- BEAT is the quarter within the bar, SUBBEAT the grid step within the quarter; each is written only
  when it changes, and a bar begins with both at 0. A position directly before BAR says that the bar
  is cut there, as by a time signature in its middle.
- PART selects a part until the next PART. Parts are sorted by program, drums last. At one moment
  come the tempo, pedals up, pedals down, then notes by part, pitch, velocity and duration.
- A stream is canonical when it is what the encoder writes. The grammar allows exactly the canonical
  streams, so `encode(decode(x)) == x` holds for whatever is sampled under it.
- Not written: what comes after the last note or pedal (empty bars, signatures, tempos), the effect
  of controllers other than the sustain pedal, track names.

Names are imported on first use, so that settings can be read without numpy.
"""

from typing import TYPE_CHECKING

from rwkv_music.lazy_names import lazy_names

if TYPE_CHECKING:
    from rwkv_music.tokenizer.grammar import Grammar
    from rwkv_music.tokenizer.tokenizer import Tokenizer
    from rwkv_music.tokenizer.tokenizer_settings import TokenizerSettings
    from rwkv_music.tokenizer.vocabulary import TokenType, Vocabulary
    from rwkv_music.tokenizer.windows import BarIndex, Window

_MODULES = {
    "BarIndex": "windows",
    "Grammar": "grammar",
    "TokenType": "vocabulary",
    "Tokenizer": "tokenizer",
    "TokenizerSettings": "tokenizer_settings",
    "Vocabulary": "vocabulary",
    "Window": "windows",
}

__all__ = [
    "BarIndex",
    "Grammar",
    "TokenType",
    "Tokenizer",
    "TokenizerSettings",
    "Vocabulary",
    "Window",
]

__getattr__, __dir__ = lazy_names(__name__, _MODULES)
