"""Which token types may follow each other."""

from rwkv_music.tokenizer.vocabulary import TokenType

_EVENTS = (TokenType.TEMPO, TokenType.PART, TokenType.PED, TokenType.PITCH, TokenType.DRUM)
_AFTER_EVENT = (TokenType.BEAT, TokenType.SUBBEAT, *_EVENTS, TokenType.BAR, TokenType.EOS)

FOLLOWERS: dict[TokenType, tuple[TokenType, ...]] = {
    TokenType.BOS: (TokenType.TEMPO,),
    TokenType.TEMPO: (TokenType.TEMPO_FRACTION, TokenType.NUM, *_AFTER_EVENT),
    TokenType.TEMPO_FRACTION: (TokenType.NUM, *_AFTER_EVENT),
    TokenType.NUM: (TokenType.DEN,),
    TokenType.DEN: _AFTER_EVENT,
    TokenType.PART: (TokenType.PROG, TokenType.PED, TokenType.PITCH, TokenType.DRUM),
    TokenType.PROG: (TokenType.PART, TokenType.BAR),
    TokenType.BAR: (TokenType.NUM, *_AFTER_EVENT),
    TokenType.BEAT: (TokenType.SUBBEAT, *_EVENTS, TokenType.BAR),
    TokenType.SUBBEAT: (*_EVENTS, TokenType.BAR),
    TokenType.PITCH: (TokenType.VEL,),
    TokenType.DRUM: (TokenType.VEL,),
    TokenType.VEL: (TokenType.DUR,),
    TokenType.DUR: _AFTER_EVENT,
    TokenType.PED: _AFTER_EVENT,
    TokenType.EOS: (),
}
"""Types that may follow a type at all; the state of the grammar decides which of their values."""
