"""Controls: soft wishes for new music, which a model was trained to follow."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from rwkv_music.errors import InputError
from rwkv_music.generation.constraints.harmony import scale_of
from rwkv_music.tokenizer.vocabulary import CONTROL_LEVELS, PART_CONTROLS, TokenType

SIMILARITIES = ("contrast", "vary", "repeat")
_MINOR = 12


@dataclass(frozen=True, kw_only=True)
class Controls:
    """What new music should be like; None leaves it to the model.

    A level counts from 0. The table in docs/tokenizer.md says where each begins.

    Raises:
        InputError: If a level or name is out of range.

    Example:
        >>> controls = Controls(density=3, key="A minor", similarity="repeat")
        >>> controls.levels()[None][TokenType.KEY]
        21
        >>> Controls(parts={"Bass": Controls(register=1)}).levels()["Bass"]
        {<TokenType.REGISTER: 25>: 1}
    """

    density: int | None = None
    """Onsets a quarter: 0 (fewer than 0.5) to 7 (7 or more)."""
    polyphony: int | None = None
    """Notes that sound at once: 0 (one) to 5 (4.5 or more)."""
    register: int | None = None
    """Mean pitch: 0 (below C2) to 7 (F#5 or higher)."""
    leaps: int | None = None
    """Share of leaps in the top line: 0 (below 0.15) to 4 (0.65 or more)."""
    similarity: str | int | None = None
    """Likeness to the bars around: "contrast", "vary" or "repeat"."""
    key: str | None = None
    """A key, such as "A major"."""
    parts: Mapping[str | int, "Controls"] = field(default_factory=dict)
    """Controls of single parts, by name or index: density, polyphony, register and leaps."""

    def __post_init__(self) -> None:
        for control, level in self._own().items():
            most = CONTROL_LEVELS[control] - 1
            if not 0 <= level <= most:
                raise InputError(f"{control.name.lower()} must be 0 to {most}, got {level}")
        for part, own in self.parts.items():
            if own.parts or own.key is not None or own.similarity is not None:
                names = ", ".join(control.name.lower() for control in PART_CONTROLS)
                raise InputError(f"part '{part}' can have these controls: {names}")

    def levels(self) -> dict[str | int | None, dict[TokenType, int]]:
        """Return the levels of the whole request (None) and of single parts."""
        levels: dict[str | int | None, dict[TokenType, int]] = {None: self._own()}
        levels |= {part: own.levels()[None] for part, own in self.parts.items()}
        return {part: own for part, own in levels.items() if own}

    def _own(self) -> dict[TokenType, int]:
        stated = {
            TokenType.DENSITY: self.density,
            TokenType.POLYPHONY: self.polyphony,
            TokenType.REGISTER: self.register,
            TokenType.LEAPS: self.leaps,
            TokenType.SIMILARITY: _similarity(self.similarity),
            TokenType.KEY: None if self.key is None else _key(self.key),
        }
        return {control: level for control, level in stated.items() if level is not None}


def _similarity(similarity: str | int | None) -> int | None:
    if not isinstance(similarity, str):
        return similarity
    if similarity not in SIMILARITIES:
        raise InputError(f"similarity must be one of {SIMILARITIES}, got '{similarity}'")
    return SIMILARITIES.index(similarity)


def _key(name: str) -> int:
    tonic, _ = scale_of(name)
    mode = name.rsplit(maxsplit=1)[-1].lower()
    if mode not in {"major", "minor"}:
        raise InputError(
            f"key must be major or minor, got '{name}': a constraint can have any scale"
        )
    return tonic + (_MINOR if mode == "minor" else 0)
