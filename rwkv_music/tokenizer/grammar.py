"""Grammar of canonical streams: which tokens may come next.

It allows exactly what the encoder writes. Sampling masks a model's logits with it, and decoding
passes streams that are not well-formed through it.

Times are in grid steps. Inside a bar, `_beat` and `_subbeat` are the current position; after a BEAT
or SUBBEAT token it is *pending* until an event, or a BAR that cuts the bar there.
"""

import copy

import numpy as np
from jaxtyping import Bool, Integer

from rwkv_music.errors import InputError
from rwkv_music.tokenizer.events import EventType
from rwkv_music.tokenizer.grammar_state import EventKey, GrammarState
from rwkv_music.tokenizer.vocabulary import (
    DENOMINATORS,
    DRUM_PROGRAM,
    MAX_BEATS,
    TokenType,
)

# NOTE stands for DRUM too: drum parts are the last ones, so that both are sorted by part.
_TEMPO, _UP, _DOWN, _NOTE = (
    EventType.TEMPO, EventType.PEDAL_UP, EventType.PEDAL_DOWN, EventType.NOTE,
)  # fmt: skip


class Grammar(GrammarState):
    """State machine over tokens; it begins before BOS.

    Args:
        vocabulary: Of the tokens.

    Example:
        >>> grammar = Grammar(Vocabulary())
        >>> grammar.allowed().nonzero()[0].tolist()  # only BOS
        [1]
    """

    def copy(self) -> "Grammar":
        """Return an independent grammar in the same state."""
        return copy.copy(self)

    @property
    def sounding_parts(self) -> tuple[int, ...]:
        """Parts that may have events in this bar."""
        return tuple(part for part in range(len(self._programs)) if self._may_sound(part))

    def feed(self, ids: Integer[np.ndarray, " tokens"], *, check: bool = True) -> None:
        """Advance by several tokens.

        Args:
            ids: The tokens.
            check: Whether to check that each is allowed; not needed for what `Tokenizer.encode`
                returned, and several times slower.

        Raises:
            InputError: At the first token that is not allowed.
        """
        for token in ids.tolist():
            if check:
                self.advance(token)
            else:
                self.take(token)

    def allows(self, token: int) -> bool:
        """Return whether a token may come next."""
        return bool(self.allowed()[token])

    def advance(self, token: int) -> None:
        """Advance by one token.

        Raises:
            InputError: If it is not allowed here.
        """
        if not 0 <= token < self.vocabulary.size or not self.allows(token):
            last = "the beginning" if self._last is None else self._last.name
            raise InputError(
                f"token {token} ({self.vocabulary.describe(token)}) cannot follow {last} here"
            )
        self.take(token)

    def take(self, token: int) -> None:
        """Advance by one token that is known to be allowed."""
        token_type, value = self.vocabulary.types_and_values[token]
        self._take(token_type, value)
        self._last = token_type

    def allowed(self) -> Bool[np.ndarray, " vocab"]:
        """Return a mask of the tokens that may come next; all False after EOS."""
        mask = np.zeros(self.vocabulary.size, dtype=bool)
        if self._last is None:
            mask[self.vocabulary.BOS] = True
        elif self._bars == 0:
            self._allow_header(mask)
        elif self._last in {TokenType.PITCH, TokenType.DRUM}:
            mask[self._span(TokenType.VEL, self._lowest_level(), self._levels())] = True
        elif self._last is TokenType.VEL:
            longest = self._durations_that_fit()
            mask[self._span(TokenType.DUR, self._lowest_duration(), longest)] = True
        elif self._last is TokenType.NUM:
            self._allow_denominators(mask)
        elif self._last is TokenType.PART:
            self._allow_sounds(mask, self._part or 0)
        elif not self.finished:
            self._allow_in_bar(mask)
        return mask

    # Masks.

    def _span(self, token_type: TokenType, first: int = 0, stop: int | None = None) -> slice:
        ids = self.vocabulary.ranges[token_type]
        return slice(ids.start + first, ids.stop if stop is None else ids.start + stop)

    def _levels(self) -> int:
        return self.vocabulary.num_velocities_used

    def _allow_header(self, mask: Bool[np.ndarray, " vocab"]) -> None:
        if self._last is TokenType.BOS:
            mask[self._span(TokenType.TEMPO)] = self.vocabulary.possible_tempos
        elif self._last is TokenType.TEMPO:
            self._allow_fractions(mask)
            if self.vocabulary.exact_tempos[self._tempo]:
                self._allow_numerators(mask)
        elif self._last is TokenType.TEMPO_FRACTION:
            self._allow_numerators(mask)
        elif self._last is TokenType.NUM:
            self._allow_denominators(mask)
        elif self._last is TokenType.PART:
            lowest = self._programs[-1] if self._programs else 0
            mask[self._span(TokenType.PROG, lowest)] = True
        else:
            if len(self._programs) < self.vocabulary.max_parts:
                mask[self.vocabulary.part[len(self._programs)]] = True
            mask[self.vocabulary.BAR] = bool(self._programs)

    def _allow_fractions(self, mask: Bool[np.ndarray, " vocab"]) -> None:
        fractions = self.vocabulary.exact_tempos[self._tempo[0]].copy()
        fractions[0] = False
        self._forbid_same_fraction(fractions)
        mask[self._span(TokenType.TEMPO_FRACTION)] = fractions

    def _forbid_same_fraction(self, fractions: Bool[np.ndarray, " fractions"]) -> None:
        if self._bars and self._old_tempo[0] == self._tempo[0]:
            fractions[self._old_tempo[1]] = False

    def _allow_numerators(self, mask: Bool[np.ndarray, " vocab"]) -> None:
        mask[self._span(TokenType.NUM)] = True

    def _allow_denominators(self, mask: Bool[np.ndarray, " vocab"]) -> None:
        for index, denominator in enumerate(DENOMINATORS):
            is_new = (self._new_numerator, denominator) != self._signature
            fits = 4 * self._new_numerator <= MAX_BEATS * denominator
            mask[self.vocabulary.denominator[index]] = is_new and fits

    def _allow_in_bar(self, mask: Bool[np.ndarray, " vocab"]) -> None:
        if self._last is TokenType.BAR:
            if self._bars > 1:
                self._allow_numerators(mask)
            if self._was_cut:
                return
        if self._last is TokenType.TEMPO:
            self._allow_fractions(mask)
            if not self._is_new_tempo():
                return
        if self._position() < self._bar_length:
            self._allow_events(mask)
        self._allow_positions(mask)
        mask[self.vocabulary.BAR] = not self._is_pending or self._can_cut()
        mask[self.vocabulary.EOS] = self._can_end()

    def _is_new_tempo(self) -> bool:
        """Whether the last TEMPO is complete without a TEMPO_FRACTION."""
        return self._tempo != self._old_tempo and bool(self.vocabulary.exact_tempos[self._tempo])

    def _can_cut(self) -> bool:
        return 0 < self._position() < self._bar_length

    def _can_end(self) -> bool:
        return (
            not self._is_pending
            and not self._bar_is_empty
            and self._has_note
            and len(self._used) == len(self._programs)
            and self._last_tempo_time < self._sound_end
        )

    def _allow_positions(self, mask: Bool[np.ndarray, " vocab"]) -> None:
        grid = self.vocabulary.steps_per_quarter
        if self._last is TokenType.SUBBEAT:
            return
        remaining = self._bar_length - self._beat * grid
        if self._last is TokenType.BEAT:
            mask[self._span(TokenType.SUBBEAT, 0, max(0, min(grid, remaining)))] = True
            mask[self.vocabulary.subbeat[self._subbeat]] = False
            return
        later = self._subbeat + 1
        mask[self._span(TokenType.SUBBEAT, later, max(later, min(grid, remaining)))] = True
        beats = -(-self._bar_length // grid)
        mask[self._span(TokenType.BEAT, self._beat + 1, max(self._beat + 1, beats))] = True

    def _allow_events(self, mask: Bool[np.ndarray, " vocab"]) -> None:
        if self._key is None and self._may_change_tempo():
            mask[self._span(TokenType.TEMPO)] = self.vocabulary.possible_tempos
            self._forbid_only_tempo(mask)
        for part in range(len(self._programs)):
            if not self._may_sound(part):
                continue
            if part == self._part:
                self._allow_sounds(mask, part)
            elif self._can_sound(part):
                mask[self.vocabulary.part[part]] = True

    def _may_change_tempo(self) -> bool:
        """Whether the tempo may change at this moment; the header states that of the first."""
        return self._bars > 1 or self._position() > 0

    def _may_sound(self, part: int) -> bool:
        """Whether events of this part may come here at all."""
        return part < len(self._programs)

    def _durations_that_fit(self) -> int:
        """Return how many durations, from the shortest on, a note may have here."""
        return len(self.vocabulary.durations)

    def _forbid_only_tempo(self, mask: Bool[np.ndarray, " vocab"]) -> None:
        """Allow the current whole tempo only if another fraction can follow it."""
        whole, fraction = self._tempo
        fractions = self.vocabulary.exact_tempos[whole].copy()
        fractions[fraction] = False
        mask[self.vocabulary.tempo[whole]] = bool(fractions.any())

    def _can_sound(self, part: int) -> bool:
        """Whether a pedal switch or a note of this part may still come at this moment."""
        return self._key is None or self._key.type < _NOTE or part >= self._key.part

    def _allow_sounds(self, mask: Bool[np.ndarray, " vocab"], part: int) -> None:
        is_down = part in self._pedals
        key = self._key or EventKey(-1)
        switch = _UP if is_down else _DOWN
        if (switch, part) > (key.type, key.part):
            mask[self.vocabulary.pedal[0 if is_down else 1]] = True
        token_type = TokenType.DRUM if self._programs[part] == DRUM_PROGRAM else TokenType.PITCH
        if (_NOTE, part) > (key.type, key.part):
            mask[self._span(token_type)] = True
        elif (_NOTE, part) == (key.type, key.part):
            mask[self._span(token_type, key.pitch)] = True

    def _lowest_level(self) -> int:
        key, note = self._key, self._note
        is_repeat = key is not None and key[:3] == note[:3]
        return key.level if key is not None and is_repeat else 0

    def _lowest_duration(self) -> int:
        key, note = self._key, self._note
        is_repeat = key is not None and key[:4] == note[:4]
        return key.duration if key is not None and is_repeat else 0

    # Changes of state.

    def _take(self, token_type: TokenType, value: int) -> None:
        if token_type is TokenType.BAR:
            self._take_bar()
        elif token_type is TokenType.TEMPO:
            self._old_tempo = self._tempo
            self._tempo = (value, 0)
            self._take_tempo_event()
        elif token_type is TokenType.TEMPO_FRACTION:
            self._tempo = (self._tempo[0], value)
        elif token_type is TokenType.NUM:
            self._new_numerator = value + 1
        elif token_type is TokenType.DEN:
            self._signature = (self._new_numerator, DENOMINATORS[value])
            self._bar_length = self._full_length()
            self._was_cut = False
        elif token_type is TokenType.PART:
            self._part = value
        elif token_type is TokenType.PROG:
            self._programs += (value,)
            self._part = None
        elif token_type is TokenType.BEAT:
            self._beat, self._is_pending, self._key = value, True, None
        elif token_type is TokenType.SUBBEAT:
            self._subbeat, self._is_pending, self._key = value, True, None
        else:
            self._take_sound(token_type, value)

    def _full_length(self) -> int:
        return self._length_of(*self._signature)

    def _length_of(self, numerator: int, denominator: int) -> int:
        """Return the length of a bar in grid steps."""
        return 4 * self.vocabulary.steps_per_quarter * numerator // denominator

    def _take_bar(self) -> None:
        if self._bars:
            self._was_cut = self._is_pending
            self._bar_start += self._position() if self._is_pending else self._bar_length
        self._bars += 1
        self._bar_length = self._full_length()
        self._bar_is_empty = True
        self._beat = self._subbeat = 0
        self._is_pending = False
        self._key = None

    def _take_tempo_event(self) -> None:
        if self._bars:
            self._add_event(EventKey(_TEMPO))
            self._last_tempo_time = self._bar_start + self._position()

    def _take_sound(self, token_type: TokenType, value: int) -> None:
        part = self._part or 0
        now = self._bar_start + self._position()
        if token_type is TokenType.PED:
            is_down = value == 1
            self._add_event(EventKey(_DOWN if is_down else _UP, part))
            self._pedals = self._pedals | {part} if is_down else self._pedals - {part}
            self._sound_end = max(self._sound_end, now)
            self._used |= {part}
        elif token_type in {TokenType.PITCH, TokenType.DRUM}:
            self._note = EventKey(_NOTE, part, value)
        elif token_type is TokenType.VEL:
            self._note = self._note._replace(level=value)
        elif token_type is TokenType.DUR:
            self._add_event(self._note._replace(duration=value))
            end = now + int(self.vocabulary.durations[value])
            self._sound_end = max(self._sound_end, end)
            self._has_note = True
            self._used |= {part}

    def _add_event(self, key: EventKey) -> None:
        self._key = key
        self._is_pending = False
        self._bar_is_empty = False
