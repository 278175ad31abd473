"""Scores <-> token ids: vocabulary, encoder, decoder, grammar, and windows of whole bars.

A piece is a flat stream of ids:

    piece  = BOS header bar* EOS
    header = TEMPO [TEMPO_FRACTION] NUM DEN (PART PROG)+       what is in force at the first bar
    bar    = BAR [NUM DEN] event*                      NUM DEN only where the signature changes
    event  = [BEAT] [SUBBEAT] (TEMPO [TEMPO_FRACTION] | [PART] PED | [PART] (PITCH | DRUM) VEL DUR)

- BEAT is the quarter within the bar, SUBBEAT the grid step within the quarter; each is written only
  when it changes, and a bar begins with both at 0. A position directly before BAR says that the bar
  is cut short there, as by a time signature in its middle.
- PART names a part and stays in force until the next one. Parts are sorted by program, drums last.
  At one moment come the tempo, pedals up, pedals down, then notes by part, pitch, velocity and
  duration.
- A stream is canonical when it is what the encoder writes. The grammar admits exactly the canonical
  streams, so `encode(decode(x)) == x` holds for whatever is sampled under it.
- Not written: what comes after the last note or pedal (empty bars, signatures, tempos that no note
  hears), the sound of controllers other than the sustain pedal, track names.
"""

from rwkv_music.tokenizer.grammar import Grammar
from rwkv_music.tokenizer.tokenizer import Tokenizer
from rwkv_music.tokenizer.vocabulary import TokenType, Vocabulary
from rwkv_music.tokenizer.windows import BarIndex, Window

__all__ = ["BarIndex", "Grammar", "TokenType", "Tokenizer", "Vocabulary", "Window"]
