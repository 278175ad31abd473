"""What of the old music in a hole stays: some of its notes, or its rhythm.

Both are rules over the grammar, applied behind the constraints.
"""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Bool

from rwkv_music.errors import InputError
from rwkv_music.generation.prompts.hole_prompt import HolePrompt
from rwkv_music.generation.request.keep import Keep
from rwkv_music.tokenizer import Grammar, TokenType
from rwkv_music.tokenizer.holes.write import HoleRuns
from rwkv_music.tokenizer.quantize import Grid
from rwkv_music.tokenizer.vocabulary import DRUM_PROGRAM, Vocabulary

if TYPE_CHECKING:
    import symusic

Mask = Bool[np.ndarray, " vocab"]
_POSITIONS = (TokenType.BEAT, TokenType.SUBBEAT)
_PITCHES = (TokenType.PITCH, TokenType.DRUM)
_Place = tuple[int, int, int]
"""Track, grid step from the beginning of the hole, and pitch."""


class OldNote(NamedTuple):
    """A note that stood in a hole, as token values, in the order of the stream."""

    bar: int
    """Counted from 0 at the first bar of the hole."""
    step: int
    """Grid step within the bar."""
    part: int
    pitch: int
    level: int
    duration: int


class KeptNotes:
    """Makes a candidate write some notes; what it writes between them is free.

    No token is allowed that leads past the next of these notes.

    Args:
        notes: Notes to keep, sorted.
        first_bar: `Grammar.bars` inside the first bar of the hole.
        starts: Grid step at which each bar of the hole begins, from the first one on.
        room: Most notes to write besides them, by bar and part; any number when None.
    """

    def __init__(
        self,
        notes: Sequence[OldNote],
        *,
        first_bar: int,
        starts: Sequence[int],
        room: Counter[tuple[int, int]] | None = None,
    ) -> None:
        self._notes = list(notes)
        self._room = room
        self._first_bar = first_bar
        self._starts = starts
        self._next = 0
        self._is_writing = False

    def observe(self, grammar: Grammar, token: int) -> None:
        """Notice when a kept note begins and when it is complete."""
        last, note = grammar.last_type, self._next_here(grammar)
        if last is TokenType.VEL and self._is_writing:
            self._next += 1
            self._is_writing = False
        elif last is TokenType.VEL and self._room is not None and grammar.part is not None:
            self._room[grammar.bars - self._first_bar, grammar.part] -= 1
        elif note is not None and grammar.vocabulary.types[token] in _PITCHES:
            pitch = int(grammar.vocabulary.values[token])
            self._is_writing = self._is_reached(grammar, note) and pitch == note.pitch

    def restrict(self, grammar: Grammar, mask: Mask) -> None:
        """Clear the tokens that lead past the next kept note, or sound into one."""
        last, note = grammar.last_type, self._next_here(grammar)
        if last in _PITCHES or last is TokenType.VEL:
            self._restrict_sound(grammar, mask)
        else:
            allowed = mask.copy()
            if self._room is not None:
                self._restrict_number(grammar, mask, self._room)
            if note is not None:
                self._restrict_moment(grammar, mask, note)
            if not mask.any():  # other rules leave only parts without room
                mask[:] = allowed
                if note is not None:
                    self._restrict_moment(grammar, mask, note)

    def _restrict_number(
        self, grammar: Grammar, mask: Mask, room: Counter[tuple[int, int]]
    ) -> None:
        """Write no more notes than there is room for."""
        vocabulary = grammar.vocabulary
        bar = grammar.bars - self._first_bar
        is_full = [room[bar, part] <= 0 for part in range(len(grammar.programs))]
        for part, token in enumerate(vocabulary.part[: len(is_full)]):
            mask[token] &= not is_full[part]
        if grammar.part is not None and is_full[grammar.part]:
            for ids in (vocabulary.pitch, vocabulary.drum):
                mask[ids.start : ids.stop] = False
        if all(is_full):
            for ids in (vocabulary.beat, vocabulary.subbeat, vocabulary.pedal):
                mask[ids.start : ids.stop] = False

    def _next_here(self, grammar: Grammar) -> OldNote | None:
        """Return the next kept note if it is in the current bar."""
        if self._next == len(self._notes):
            return None
        note = self._notes[self._next]
        return note if note.bar == grammar.bars - self._first_bar else None

    def _is_reached(self, grammar: Grammar, note: OldNote) -> bool:
        return grammar.time - grammar.bar_start == note.step and grammar.part == note.part

    def _restrict_sound(self, grammar: Grammar, mask: Mask) -> None:
        """Force velocity and duration of a kept note; end others before the next of its pitch."""
        vocabulary = grammar.vocabulary
        is_level = grammar.last_type in _PITCHES
        tokens = vocabulary.velocity if is_level else vocabulary.duration
        if self._is_writing:
            note = self._notes[self._next]
            mask[:] = False
            mask[tokens[note.level if is_level else note.duration]] = True
        elif not is_level:
            now = grammar.time - grammar.bar_start + self._starts[grammar.bars - self._first_bar]
            onsets = [
                self._starts[note.bar] + note.step
                for note in self._notes[self._next :]
                if (note.part, note.pitch) == (grammar.part, grammar.pitch)
            ]
            later = [onset for onset in onsets if onset > now]
            if later:
                fitting = int(vocabulary.durations.searchsorted(later[0] - now, side="right"))
                mask[tokens.start + fitting : tokens.stop] = False

    def _restrict_moment(self, grammar: Grammar, mask: Mask, note: OldNote) -> None:
        vocabulary = grammar.vocabulary
        grid = vocabulary.steps_per_quarter
        beat, subbeat = divmod(note.step, grid)
        now, now_subbeat = divmod(grammar.time - grammar.bar_start, grid)
        mask[[vocabulary.BAR, vocabulary.EOS]] = False
        mask[vocabulary.beat.start + beat + 1 : vocabulary.beat.stop] = False
        if now < beat:
            if grammar.last_type not in (*_POSITIONS, TokenType.PART):
                mask[vocabulary.beat[beat]] = True
            return
        mask[vocabulary.subbeat.start + subbeat + 1 : vocabulary.subbeat.stop] = False
        if now_subbeat != subbeat:
            if now_subbeat > subbeat:  # BEAT alone leads too far: SUBBEAT must go back
                mask[: vocabulary.subbeat.start] = mask[vocabulary.subbeat.stop :] = False
            if grammar.last_type not in (TokenType.SUBBEAT, TokenType.PART):
                mask[vocabulary.subbeat[subbeat]] = True
            return
        self._restrict_order(grammar, mask, note)

    def _restrict_order(self, grammar: Grammar, mask: Mask, note: OldNote) -> None:
        """Keep the order of parts and pitches at the moment of a kept note."""
        vocabulary, part = grammar.vocabulary, grammar.part
        mask[vocabulary.part.start + note.part + 1 : vocabulary.part.stop] = False
        is_drum = grammar.programs[note.part] == DRUM_PROGRAM
        pitches = vocabulary.drum if is_drum else vocabulary.pitch
        if part == note.part:
            mask[pitches.start + note.pitch + 1 : pitches.stop] = False
            mask[pitches[note.pitch]] = True
        else:
            if part is not None and part > note.part:
                for ids in (vocabulary.pitch, vocabulary.drum):
                    mask[ids.start : ids.stop] = False
            if grammar.last_type is not TokenType.PART:
                mask[vocabulary.part[note.part]] = True


class SameRhythm:
    """Makes a candidate write the old tokens of a hole, except for the pitches.

    Args:
        runs: The hole with its old content.
        vocabulary: Of the tokens.
    """

    def __init__(self, runs: HoleRuns, vocabulary: Vocabulary) -> None:
        self._bars = [[*bar.tolist(), vocabulary.BAR] for bar in runs.written]
        self._bars[-1][-1] = vocabulary.EOS
        self._num_given = [len(given) - 1 for given in runs.given]
        self._bar = self._next = 0

    def observe(self, grammar: Grammar, token: int) -> None:
        """Move on by one token, of those that are not given."""
        if token == grammar.vocabulary.BAR:
            self._bar += 1
            self._next = -self._num_given[self._bar]
        else:
            self._next += 1

    def restrict(self, grammar: Grammar, mask: Mask) -> None:
        """Allow the old token only; where it is a pitch, those that leave room for its chord.

        Raises:
            InputError: If the constraints leave no pitch.
        """
        old, vocabulary = self._bars[self._bar][self._next], grammar.vocabulary
        token_type = vocabulary.types[old]
        if token_type not in _PITCHES:
            mask[:] = False
            mask[old] = True
            return
        ids = vocabulary.ranges[TokenType(int(token_type))]
        allowed = ids.start + np.flatnonzero(mask[ids.start : ids.stop])
        free = allowed[: len(allowed) - self._above(vocabulary)]
        if not len(free):
            raise InputError(
                f"the constraints leave no pitch for bar {self._bar + 1} of the rhythm: widen the "
                "scale or the pitch_range"
            )
        mask[:] = False
        mask[free] = True

    def _above(self, vocabulary: Vocabulary) -> int:
        """Return how many notes of the same part follow at the same moment."""
        following = self._bars[self._bar][self._next + 1 :]
        sounds = (*_PITCHES, TokenType.VEL, TokenType.DUR)
        count = 0
        for token in following:
            if vocabulary.types[token] not in sounds:
                break
            count += vocabulary.types[token] in _PITCHES
        return count


def keep_rule(
    keep: Keep, prompt: HolePrompt, seed: int, vocabulary: Vocabulary
) -> KeptNotes | SameRhythm:
    """Return the rule of one candidate.

    Args:
        keep: What stays.
        prompt: The hole.
        seed: Of the candidate.
        vocabulary: Of the tokens.

    Raises:
        InputError: If a note to keep is not in the hole.
    """
    if keep.rhythm:
        return SameRhythm(prompt.runs, vocabulary)
    notes = kept_notes(keep, prompt, seed, vocabulary)
    removed = set(_old_notes(prompt, vocabulary)) - set(notes)
    room = Counter((note.bar, note.part) for note in removed) if keep.share else None
    return KeptNotes(notes, first_bar=prompt.grammar.bars, starts=prompt.bar_steps, room=room)


def kept_notes(keep: Keep, prompt: HolePrompt, seed: int, vocabulary: Vocabulary) -> list[OldNote]:
    """Return the notes that stay in the candidate of a seed, sorted.

    Raises:
        InputError: If a note to keep is not in the hole.
    """
    old = _old_notes(prompt, vocabulary)
    drawn = np.random.default_rng(seed).permutation(len(old))[: round(keep.share * len(old))]
    chosen = {old[index] for index in drawn.tolist()}
    by_place = {_position(prompt, note): note for note in old}
    grid = _grid(prompt, vocabulary)
    for track, tick, pitch in keep.notes:
        position = (track, grid.round_one(tick) - grid.round_one(prompt.start), pitch)
        if position not in by_place:
            raise InputError(
                f"there is no note of track {track} at tick {tick} with pitch {pitch} in the bars "
                "and parts to write: keep notes that are there"
            )
        chosen.add(by_place[position])
    return sorted(chosen)


def restore_notes(
    score: "symusic.Score", notes: Sequence[OldNote], prompt: HolePrompt, vocabulary: Vocabulary
) -> None:
    """Give kept notes of a filled score the onset, duration and velocity that they had, exactly."""
    import symusic

    originals = _originals(prompt, vocabulary)
    kept = {
        position: originals[position] for position in (_position(prompt, note) for note in notes)
    }
    grid = _grid(prompt, vocabulary)
    start = grid.round_one(prompt.start)
    for track in {track for track, _, _ in kept}:
        score.tracks[track].notes = symusic.core.NoteTickList(
            [
                kept.get((track, grid.round_one(note.time) - start, note.pitch), note)
                if prompt.start <= note.time < prompt.end
                else note
                for note in score.tracks[track].notes
            ]
        )


def _originals(prompt: HolePrompt, vocabulary: Vocabulary) -> "dict[_Place, symusic.Note]":
    """Return the notes that begin in the bars and parts to write, by their place."""
    grid = _grid(prompt, vocabulary)
    start = grid.round_one(prompt.start)
    return {
        (choice.track, grid.round_one(note.time) - start, note.pitch): note
        for choice in prompt.parts.values()
        if choice.track is not None
        for note in prompt.score.tracks[choice.track].notes
        if prompt.start <= note.time < prompt.end
    }


def _grid(prompt: HolePrompt, vocabulary: Vocabulary) -> Grid:
    return Grid(prompt.score.ticks_per_quarter, vocabulary.steps_per_quarter)


def _position(prompt: HolePrompt, note: OldNote) -> _Place:
    track = prompt.parts[note.part].track
    assert track is not None, "a new track has no old notes"
    return track, prompt.bar_steps[note.bar] + note.step, note.pitch


def _old_notes(prompt: HolePrompt, vocabulary: Vocabulary) -> list[OldNote]:
    """Return the notes that stood in a hole, sorted."""
    notes: list[OldNote] = []
    originals = _originals(prompt, vocabulary)
    for bar, run in enumerate(prompt.runs.written):
        values = dict.fromkeys(TokenType, 0)
        for token in run.tolist():
            token_type, value = vocabulary.types_and_values[token]
            values[TokenType.PITCH if token_type is TokenType.DRUM else token_type] = value
            if token_type is TokenType.DUR:
                beat, subbeat = values[TokenType.BEAT], values[TokenType.SUBBEAT]
                step = beat * vocabulary.steps_per_quarter + subbeat
                sound = (
                    values[token_type]
                    for token_type in (TokenType.PITCH, TokenType.VEL, TokenType.DUR)
                )
                note = OldNote(bar, step, values[TokenType.PART], *sound)
                # A note just before the first bar may be rounded into it; it stays anyway.
                if _position(prompt, note) in originals:
                    notes.append(note)
    return sorted(notes)
