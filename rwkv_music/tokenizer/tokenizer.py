"""The tokenizer: settings, encode, decode."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Integer, UInt16

from rwkv_music.errors import InputError
from rwkv_music.old_names import TOKENIZER_SETTINGS, renamed
from rwkv_music.tokenizer.hole_grammar import HoleGrammar
from rwkv_music.tokenizer.tokenizer_settings import MAX_PARTS
from rwkv_music.tokenizer.vocabulary import Vocabulary

if TYPE_CHECKING:
    import symusic


class Tokenizer:
    """Converts scores to token ids and back.

    Args:
        steps_per_quarter: Grid steps in a quarter note: 48, 96, 192 or 480. An onset moves by half
            a step at most (2.6 ms at 96 steps and 120 quarters per minute).
        velocities: Velocity levels: 32, 64 or 128.
        max_parts: Parts a piece may have, 1 to 32; more of them are merged by program.

    Example:
        >>> tokenizer = Tokenizer()
        >>> tokenizer.vocab_size
        2048
        >>> Tokenizer.from_settings(tokenizer.settings).settings == tokenizer.settings
        True
    """

    VERSION = 2
    """Increases when the same score would become other ids; token stores record it.

    What each id means follows from the settings alone, so models need no version: a model trained
    on ids of version 1 reads those of version 2, which keep more switches of the pedal.
    """

    def __init__(
        self, *, steps_per_quarter: int = 96, velocities: int = 32, max_parts: int = MAX_PARTS
    ) -> None:
        self.vocabulary = Vocabulary(
            steps_per_quarter=steps_per_quarter, velocities=velocities, max_parts=max_parts
        )

    @property
    def vocab_size(self) -> int:
        """Number of ids, rounded up to a multiple of 64."""
        return self.vocabulary.size

    @property
    def settings(self) -> dict[str, int]:
        """Settings for `from_settings`; a checkpoint records them."""
        return {
            "steps_per_quarter": self.vocabulary.steps_per_quarter,
            "velocities": self.vocabulary.velocities,
            "max_parts": self.vocabulary.max_parts,
        }

    @classmethod
    def from_settings(cls, settings: Mapping[str, int]) -> "Tokenizer":
        """Return the tokenizer with these settings; older names of them are accepted.

        Raises:
            InputError: If a setting is unknown or out of range.
        """
        settings = renamed(settings, TOKENIZER_SETTINGS)
        unknown = sorted(set(settings) - {"steps_per_quarter", "velocities", "max_parts"})
        if unknown:
            raise InputError(
                f"unknown tokenizer setting '{unknown[0]}': the checkpoint was made by another "
                "version of rwkv-music"
            )
        return cls(**settings)

    def encode(self, score: "symusic.Score") -> UInt16[np.ndarray, " tokens"]:
        """Return the score as token ids, from BOS to EOS.

        Notes are moved to the nearest grid step; none is dropped. Where a score has more parts than
        `max_parts`, some of one program become one part: `merged_parts` tells which. The score
        is not changed.

        Args:
            score: In ticks, with at least one note.

        Raises:
            InputError: If there is no note, or the score cannot be written: more programs than
                `max_parts`, a time signature beyond 128/64 or 128 quarters a bar, a note or pedal
                before tick 0, or more than 2**24 grid steps of music.
        """
        from rwkv_music.tokenizer.encode import encode

        return encode(score, self.vocabulary)

    def part_order(self, score: "symusic.Score") -> list[int]:
        """Return the index of the first track of each part, in the order of the parts of `encode`.

        Raises:
            InputError: If there is no note, or there are more programs than `max_parts`.
        """
        from rwkv_music.tokenizer.parts import parts_of

        return [part.tracks[0] for part in parts_of(score, self.vocabulary.max_parts)]

    def merged_parts(self, score: "symusic.Score") -> dict[int, list[int]]:
        """Return the tracks that `encode` merges where a score has more than `max_parts` parts.

        Returns:
            Program (128 for drums) -> indices of its merged tracks; empty for nearly all music.

        Raises:
            InputError: If there is no note, or there are more programs than `max_parts`.
        """
        from rwkv_music.tokenizer.parts import parts_of

        parts = parts_of(score, self.vocabulary.max_parts)
        return {part.program: list(part.tracks) for part in parts if len(part.tracks) > 1}

    def decode(self, ids: Integer[np.ndarray, " tokens"]) -> "symusic.Score":
        """Return token ids as a score. Never raises: tokens that the grammar refuses are ignored.

        Args:
            ids: Any integers; a piece, a window, or what a model generated.

        Returns:
            A score with `ticks_per_quarter` of this tokenizer, possibly without notes.
        """
        from rwkv_music.tokenizer.decode import decode

        return decode(np.asarray(ids), self.vocabulary)

    def token_times(self, ids: Integer[np.ndarray, " tokens"]) -> Integer[np.ndarray, " tokens"]:
        """Return the time of each token of a stream in grid steps; 0 in the header.

        Args:
            ids: A piece or a window.

        Raises:
            InputError: If the ids are neither.
        """
        from rwkv_music.tokenizer.reader import token_times

        return token_times(np.asarray(ids), self.vocabulary)

    def grammar(self) -> HoleGrammar:
        """Return the grammar of canonical streams, before BOS."""
        return HoleGrammar(self.vocabulary)

    def num_bars(self, ids: Integer[np.ndarray, " tokens"]) -> int:
        """Return the number of bars in a stream."""
        return int((ids == self.vocabulary.BAR).sum())

    def note_count(self, ids: Integer[np.ndarray, " tokens"]) -> int:
        """Return the number of notes in a stream."""
        durations = self.vocabulary.duration
        return int(((ids >= durations.start) & (ids < durations.stop)).sum())


def settings_text(settings: Mapping[str, int]) -> str:
    """Return the settings of a tokenizer as text for messages.

    Example:
        >>> settings_text({"steps_per_quarter": 96, "velocities": 32})
        'steps_per_quarter 96, velocities 32'
    """
    return ", ".join(f"{name} {value}" for name, value in settings.items())
