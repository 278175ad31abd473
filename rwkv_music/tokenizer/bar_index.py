"""What is in force at every bar line of a piece, found for all bars at once.

A row of 24 bytes a bar is all that a window needs to begin there; a token store keeps the rows of
its pieces, so that no piece is searched again.
"""

from functools import cache

import numpy as np
from jaxtyping import Int, Shaped, UInt8, UInt16

from rwkv_music.errors import InputError
from rwkv_music.tokenizer.vocabulary import TokenType, Vocabulary

Ids = UInt16[np.ndarray, " _"]
Places = Int[np.ndarray, " _"]

BAR_ROW = np.dtype([
    ("bar", "<u4"),  # index of the BAR token
    ("first_sound", "<u4"),  # index of the first note or pedal switch from the bar's own tokens on
    ("pedals", "<u4"),  # bit s is set if the pedal of slot s is down
    ("tempo", "<u2"), ("tempo_fraction", "<u2"),  # ids in force; fraction 0 (PAD) if there is none
    ("numerator", "<u2"), ("denominator", "<u2"),
    ("skipped", "u1"),  # tokens behind BAR that the header and the pedals say already
    ("part", "u1"),  # the slot of the first sound
    ("states_part", "u1"),  # whether a PART stands directly before it
    ("spare", "u1"),
])  # fmt: skip
"""One bar line: indexes count from the beginning of the piece."""

BarRows = Shaped[np.ndarray, " bars"]

# Classes of ids; those of what sounds come last.
_CLASSES = (
    TokenType.PART,
    TokenType.TEMPO,
    TokenType.TEMPO_FRACTION,
    TokenType.NUM,
    TokenType.PED,
    TokenType.PITCH,
    TokenType.DRUM,
)
_BAR, _PART, _TEMPO, _TEMPO_FRACTION, _NUM, _PED = range(1, 7)
_BEHIND = np.zeros(4, dtype=np.uint16)  # PAD, so that looking a few tokens ahead is safe


@cache
def _class_table(*ranges: range) -> UInt8[np.ndarray, " ids"]:
    """The class of every id that 16 bits can hold; 0 for all that is of no interest here."""
    table = np.zeros(1 << 16, dtype=np.uint8)
    table[TokenType.BAR] = _BAR
    for number, span in enumerate(ranges, start=_PART):
        table[span.start : span.stop] = number
    return table


def index_bars(ids: Ids, vocabulary: Vocabulary) -> BarRows:
    """The rows of all bars.

    Args:
        ids: A whole piece as `Tokenizer.encode` gives it.
        vocabulary: Of the tokenizer that made it.

    Raises:
        InputError: If the ids do not begin with a header.
    """
    table = _class_table(*(vocabulary.ranges[kind] for kind in _CLASSES))
    classes = table[np.append(ids, _BEHIND)]
    bars, slots, tempos, signatures, switches = (
        np.flatnonzero(classes == kind) for kind in (_BAR, _PART, _TEMPO, _NUM, _PED)
    )
    if not len(bars) or ids[0] != vocabulary.BOS or not len(slots) or slots[0] > bars[0]:
        raise InputError("the ids are no piece: they need BOS, a header and a bar")
    places = _behind_what_is_in_force(bars + 1, classes, any_pedal=len(switches) > 0)
    rows = np.zeros(len(bars), dtype=BAR_ROW)
    rows["bar"] = bars
    rows["skipped"] = places - bars - 1
    tempo = _last_before(places, tempos)
    rows["tempo"] = ids[tempo]
    rows["tempo_fraction"] = ids[tempo + 1] * (classes[tempo + 1] == _TEMPO_FRACTION)
    signature = _last_before(places, signatures)
    rows["numerator"], rows["denominator"] = ids[signature], ids[signature + 1]
    if len(switches):
        rows["pedals"] = _pedals_down(places, switches, slots, ids, vocabulary)
    sounds = np.append(np.flatnonzero(classes >= _PED), len(ids))
    sound = sounds[np.searchsorted(sounds, places)]
    rows["first_sound"] = sound
    rows["part"] = ids[_last_before(sound, slots)] - vocabulary.part.start
    rows["states_part"] = classes[sound - 1] == _PART
    return rows


def _behind_what_is_in_force(
    places: Places, classes: UInt8[np.ndarray, " _"], *, any_pedal: bool
) -> Places:
    """Indexes behind the signature, tempo and pedal switches that stand at a bar's beginning."""
    places = places + 2 * (classes[places] == _NUM)
    places += classes[places] == _TEMPO
    places += classes[places] == _TEMPO_FRACTION
    while any_pedal:
        behind = places + (classes[places] == _PART)
        is_pedal = classes[behind] == _PED
        if not is_pedal.any():
            break
        places = np.where(is_pedal, behind + 1, places)
    return places


def _pedals_down(
    places: Places, switches: Places, slots: Places, ids: Ids, vocabulary: Vocabulary
) -> Places:
    """For each place, the slots whose last switch before it was down, as bits."""
    down = np.zeros(len(places), dtype=np.int64)
    of_slot = ids[_last_before(switches, slots)] - vocabulary.part.start
    for slot in np.unique(of_slot).tolist():
        mine = switches[of_slot == slot]
        states = np.append(ids[mine] == vocabulary.pedal[1], False)  # the last for "none before"
        down |= states[np.searchsorted(mine, places) - 1].astype(np.int64) << slot
    return down


def _last_before(places: Places, among: Places) -> Places:
    """For each place, the last of some sorted indexes before it."""
    found: Places = among[among.searchsorted(places) - 1]
    return found
