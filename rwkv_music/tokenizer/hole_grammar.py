"""Grammar of streams with a hole: bars and parts to write, with music around them.

    hole stream = BOS header bar* [SUFFIX bar+] [PREFIX bar+] FILL hole EOS
    hole        = control* (PART control*)* (BAR [NUM DEN] [GIVEN PART* event* WRITE] event*) x k

A model writes the events of a hole, its BAR tokens and EOS: `allowed` offers nothing else. What a
request gives (marks, controls, time signatures, GIVEN to WRITE) is accepted by `advance` as well.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from rwkv_music.tokenizer.grammar import Grammar
from rwkv_music.tokenizer.grammar_state import part_bits
from rwkv_music.tokenizer.vocabulary import (
    CONTROL_LEVELS,
    DENOMINATORS,
    PART_CONTROLS,
    TokenType,
    Vocabulary,
)

_SECTIONS = (TokenType.SUFFIX, TokenType.PREFIX)
_INSIDE_EVENT = (
    TokenType.PART, TokenType.PITCH, TokenType.DRUM, TokenType.VEL, TokenType.NUM, *_SECTIONS,
)  # fmt: skip


class _Boundary(NamedTuple):
    """What holds where the hole begins: at the end of the prefix, or in the header."""

    tempo: tuple[int, int]
    signature: tuple[int, int]
    pedals: frozenset[int] = frozenset()


class _Hole(NamedTuple):
    """How far a hole has been read."""

    bars: int
    """Bars that it has."""
    bars_begun: int = 0
    listed: tuple[int, ...] = ()
    """Parts listed behind FILL, to be written; all parts are if none is listed."""
    part_has_control: bool = False
    last_control: int = -1
    """Type of the last control of the whole hole, or of the part listed last."""
    given_here: tuple[int, ...] = ()
    """Parts that are written elsewhere in the hole and given in this bar."""
    run: TokenType | None = None
    """GIVEN or WRITE, whichever came last in this bar."""
    is_cut: bool = False
    """Whether this bar ends before its signature says so."""

    @property
    def bars_left(self) -> int:
        """Bars behind the current one."""
        return self.bars - self.bars_begun

    def writes(self, part: int) -> bool:
        """Whether the hole has bars in which a part is to be written."""
        return part in self.listed or not self.listed


class HoleGrammar(Grammar):
    """The grammar of pieces and windows, and of streams with a hole.

    Args:
        vocabulary: Of the tokens.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__(vocabulary)
        self._sections: tuple[TokenType, ...] = ()
        self._boundary: _Boundary | None = None
        self._hole: _Hole | None = None
        self._hole_end: int | None = None
        self._lists_behind: TokenType | None = None

    @property
    def hole_bars_left(self) -> int | None:
        """Bars of the hole that have not begun; None before FILL."""
        return None if self._hole is None else self._hole.bars_left

    def end_hole_at(self, step: int) -> None:
        """Let no note of the hole sound beyond a grid step, counted from the hole's beginning.

        Without this, a reader expects that the time signature stays, and that no bar is cut.
        """
        self._hole_end = step

    @property
    def is_in_bar(self) -> bool:
        """Whether a bar has begun, of the hole if there is one, and is not the end of anything."""
        has_begun = self._hole is None or self._hole.bars_begun > 0
        return super().is_in_bar and has_begun and self._last not in _SECTIONS

    def numbers(self) -> dict[str, int | tuple[int, ...]]:
        """Return the state inside a bar by the names of `GrammarState` in grammar.h."""
        hole = self._hole or _Hole(0)
        return super().numbers() | {
            "hole_bars": hole.bars,
            "bars_begun": hole.bars_begun,
            "listed": part_bits(hole.listed),
            "given_here": part_bits(hole.given_here),
            "run": hole.run or 0,
            "is_cut": hole.is_cut,
            "hole_end": -1 if self._hole_end is None else self._hole_end,
        }

    def allows(self, token: int) -> bool:
        """Return whether a token may come next, be it written or given."""
        return super().allows(token) or self._is_given(token)

    def take(self, token: int) -> None:
        """Advance by one token that is known to be allowed."""
        self._lists_behind = None
        super().take(token)
        # A part that is listed begins no event.
        self._last = self._lists_behind or self._last

    # What a model may write.

    def _allow_header(self, mask: Bool[np.ndarray, " vocab"]) -> None:
        if self._sections or self._hole is not None:  # there is no bar before them
            self._allow_in_bar(mask)
        else:
            super()._allow_header(mask)

    def _allow_in_bar(self, mask: Bool[np.ndarray, " vocab"]) -> None:
        hole = self._hole
        if hole is None:
            if self._last in _SECTIONS:
                mask[self.vocabulary.BAR] = True
            else:
                super()._allow_in_bar(mask)
        elif not hole.bars_begun:
            is_complete = len(hole.listed) < len(self._programs) or hole.part_has_control
            mask[self.vocabulary.BAR] = is_complete
        else:
            if hole.run is TokenType.GIVEN or any(map(self._may_sound, range(len(self._programs)))):
                super()._allow_in_bar(mask)
            mask[self._span(TokenType.NUM)] &= self._was_cut
            can_end = hole.run is not TokenType.GIVEN and not self._is_pending
            can_end &= not (self._was_cut and self._last is TokenType.BAR)
            mask[self.vocabulary.BAR] = can_end and hole.bars_left > 0
            mask[self.vocabulary.EOS] = can_end and hole.bars_left == 0

    def _allow_denominators(self, mask: Bool[np.ndarray, " vocab"]) -> None:
        super()._allow_denominators(mask)
        if self._hole is not None:
            for index, denominator in enumerate(DENOMINATORS):
                length = self._length_of(self._new_numerator, denominator)
                end = self._bar_start + length * (1 + self._hole.bars_left)
                mask[self.vocabulary.denominator[index]] &= self._sound_end <= end

    def _may_change_tempo(self) -> bool:
        is_context = self._hole is None or self._hole.run is TokenType.GIVEN
        return is_context and super()._may_change_tempo()

    def _may_sound(self, part: int) -> bool:
        hole = self._hole
        if hole is None:
            return super()._may_sound(part)
        is_written = hole.writes(part) and part not in hole.given_here
        return super()._may_sound(part) and is_written == (hole.run is not TokenType.GIVEN)

    def _durations_that_fit(self) -> int:
        if self._hole is None:
            return super()._durations_that_fit()
        end = self._bar_start + self._bar_length + self._hole.bars_left * self._full_length()
        if self._hole_end is not None:
            end = min(end, self._hole_end)
        longest = end - self._bar_start - self._position()
        return int(self.vocabulary.durations.searchsorted(longest, side="right"))

    # What a request gives.

    def _is_given(self, token: int) -> bool:
        """Return whether a token that a model does not write may come next."""
        if not 0 <= token < self.vocabulary.size or not self._programs or self.finished:
            return False
        token_type = TokenType(int(self.vocabulary.types[token]))
        value, hole = int(self.vocabulary.values[token]), self._hole
        if hole is None:
            return token_type in {*_SECTIONS, TokenType.FILL} and self._may_begin(token_type)
        if not hole.bars_begun:
            return self._may_state(hole, token_type, value)
        return self._is_given_in_bar(hole, token_type, value)

    def _is_given_in_bar(self, hole: _Hole, token_type: TokenType, value: int) -> bool:
        if token_type is TokenType.NUM:
            return self._last is TokenType.BAR and self._bars > 1
        if token_type is TokenType.GIVEN:
            is_stated = self._last is TokenType.BAR and not self._was_cut
            return hole.run is None and (is_stated or self._last is TokenType.DEN)
        if token_type is TokenType.WRITE:
            return hole.run is TokenType.GIVEN and self._may_end_given(hole)
        return token_type is TokenType.PART and self._may_list_given(hole, value)

    def _may_begin(self, mark: TokenType) -> bool:
        """Whether a section or the hole may begin."""
        if self._bars == 0 and not self._sections:
            is_complete = self._last is TokenType.PROG and mark is not TokenType.PREFIX
        else:
            is_complete = self._is_between_events() and (not self._is_pending or self._can_cut())
        later = {TokenType.SUFFIX: (), TokenType.PREFIX: (TokenType.SUFFIX,)}
        return is_complete and self._sections == later.get(mark, self._sections)

    def _may_state(self, hole: _Hole, token_type: TokenType, value: int) -> bool:
        """Whether a control, or a part to be written, may be stated here."""
        if token_type is TokenType.PART:
            return hole.listed[-1:] < (value,) and value < len(self._programs)
        controls = PART_CONTROLS if hole.listed else tuple(CONTROL_LEVELS)
        return token_type in controls and token_type > hole.last_control

    def _may_end_given(self, hole: _Hole) -> bool:
        """Whether WRITE may follow: behind something given, or where the bar is cut."""
        if self._is_pending:
            # Where more bars follow, the signature of the next one decides where the hole ends.
            end = self._bar_start + self._position()
            fits = hole.bars_left > 0 or self._sound_end <= end
            return self._is_between_events() and self._can_cut() and fits
        return self._is_between_events() and not (self._bar_is_empty and not hole.given_here)

    def _may_list_given(self, hole: _Hole, part: int) -> bool:
        is_next = self._last is TokenType.GIVEN and hole.given_here[-1:] < (part,)
        return is_next and hole.writes(part) and part < len(self._programs)

    def _is_between_events(self) -> bool:
        if self._last is TokenType.TEMPO:
            return self._is_new_tempo()
        is_cut = self._was_cut and self._last is TokenType.BAR
        return self._last not in _INSIDE_EVENT and not is_cut

    # Changes of state.

    def _take(self, token_type: TokenType, value: int) -> None:
        hole = self._hole
        if token_type in _SECTIONS or token_type is TokenType.FILL:
            self._begin_section(token_type, value)
        elif hole is None:
            super()._take(token_type, value)
        elif not hole.bars_begun and token_type is not TokenType.BAR:
            self._state(hole, token_type, value)
        elif token_type is TokenType.GIVEN:
            self._hole = hole._replace(run=TokenType.GIVEN)
        elif token_type is TokenType.WRITE:
            self._begin_writing(hole)
        elif token_type is TokenType.PART and self._may_list_given(hole, value):
            self._hole = hole._replace(given_here=(*hole.given_here, value))
            self._lists_behind = TokenType.GIVEN
        elif token_type is TokenType.BAR:
            super()._take(token_type, value)
            self._was_cut = hole.is_cut
            self._part = None
            self._hole = hole._replace(
                bars_begun=hole.bars_begun + 1, given_here=(), run=None, is_cut=False
            )
        else:
            super()._take(token_type, value)

    def _begin_section(self, mark: TokenType, value: int) -> None:
        is_prefix = not self._sections or self._sections[-1] is TokenType.PREFIX
        if is_prefix:
            self._boundary = _Boundary(self._tempo, self._signature, self._pedals)
        self._bar_start = self._bar_length = self._beat = self._subbeat = 0
        self._sound_end, self._last_tempo_time = 0, -1
        self._is_pending = False
        self._part = self._key = None
        self._pedals = frozenset()
        if mark is TokenType.FILL:
            assert self._boundary is not None
            self._tempo, self._signature, self._pedals = self._boundary
            self._hole = _Hole(value + 1)
        else:
            self._sections = (*self._sections, mark)

    def _state(self, hole: _Hole, token_type: TokenType, value: int) -> None:
        """Take a control, or a part that is to be written."""
        if token_type is TokenType.PART:
            self._hole = hole._replace(listed=(*hole.listed, value), last_control=-1)
            self._lists_behind = TokenType.FILL
        else:
            has_control = hole.part_has_control or bool(hole.listed)
            self._hole = hole._replace(last_control=token_type, part_has_control=has_control)

    def _begin_writing(self, hole: _Hole) -> None:
        """Go back to the beginning of the bar, whose given events are complete."""
        if self._is_pending:
            self._bar_length = self._position()
        self._hole = hole._replace(run=TokenType.WRITE, is_cut=self._is_pending)
        self._beat = self._subbeat = 0
        self._is_pending = False
        self._part = self._key = None
