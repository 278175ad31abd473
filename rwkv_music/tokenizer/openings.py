"""What is in force at every bar line of a piece, found for all bars at once.

A row of 24 bytes a bar is all that a window needs to begin there; a token store keeps the rows of
its pieces, so that no piece is searched again.
"""

import numpy as np
from jaxtyping import Int, Integer, Shaped, UInt16

from rwkv_music.errors import InputError
from rwkv_music.tokenizer.vocabulary import Vocabulary

Ids = UInt16[np.ndarray, " _"]
Places = Int[np.ndarray, " _"]

OPENING = np.dtype([
    ("bar", "<u4"),  # index of the BAR token
    ("first_sound", "<u4"),  # index of the first note or pedal switch from the bar's own tokens on
    ("pedals", "<u4"),  # bit s is set if the pedal of slot s is down
    ("tempo", "<u2"), ("tempo_fraction", "<u2"),  # ids in force; fraction 0 (PAD) if there is none
    ("numerator", "<u2"), ("denominator", "<u2"),
    ("skipped", "u1"),  # tokens behind BAR that the header and the pedals say already
    ("slot", "u1"),  # the slot of the first sound
    ("states_slot", "u1"),  # whether a SLOT stands directly before it
    ("spare", "u1"),
])  # fmt: skip
"""One bar line: indexes count from the beginning of the piece."""

Openings = Shaped[np.ndarray, " bars"]


def openings_of(ids: Ids, vocabulary: Vocabulary) -> Openings:
    """The rows of all bars.

    Args:
        ids: A whole piece as `Tokenizer.encode` gives it.
        vocabulary: Of the tokenizer that made it.

    Raises:
        InputError: If the ids do not begin with a header.
    """
    bars = np.flatnonzero(ids == vocabulary.BAR)
    slots = _within(ids, vocabulary.slot)
    if not len(bars) or ids[0] != vocabulary.BOS or not len(slots) or slots[0] > bars[0]:
        raise InputError("the ids are no piece: they need BOS, a header and a bar")
    padded = np.append(ids, np.full(4, vocabulary.EOS, dtype=ids.dtype))
    switches = _within(ids, vocabulary.pedal)
    places = _behind_what_is_in_force(bars + 1, padded, vocabulary, any_pedal=len(switches) > 0)
    rows = np.zeros(len(bars), dtype=OPENING)
    rows["bar"] = bars
    rows["skipped"] = places - bars - 1
    tempos = _last_before(places, _within(ids, vocabulary.tempo))
    rows["tempo"] = ids[tempos]
    rows["tempo_fraction"] = np.where(_is(padded[tempos + 1], vocabulary.tempo_fraction),
                                      padded[tempos + 1], vocabulary.PAD)  # fmt: skip
    signatures = _last_before(places, _within(ids, vocabulary.numerator))
    rows["numerator"], rows["denominator"] = ids[signatures], padded[signatures + 1]
    pitches = range(vocabulary.pitch.start, vocabulary.drum.stop)
    sounds = np.flatnonzero(_is(ids, pitches) | _is(ids, vocabulary.pedal))
    rows["pedals"] = _pedals_down(places, switches, slots, ids, vocabulary)
    found = np.append(sounds, len(ids))[np.searchsorted(sounds, places)]
    rows["first_sound"] = found
    rows["slot"] = ids[_last_before(found, slots)] - vocabulary.slot.start
    rows["states_slot"] = _is(ids[found - 1], vocabulary.slot)
    return rows


def _behind_what_is_in_force(
    places: Places, padded: Ids, vocabulary: Vocabulary, *, any_pedal: bool
) -> Places:
    """Indexes behind the signature, tempo and pedal switches that stand at a bar's beginning."""
    places = places + 2 * _is(padded[places], vocabulary.numerator)
    has_tempo = _is(padded[places], vocabulary.tempo)
    places += has_tempo
    places += has_tempo & _is(padded[places], vocabulary.tempo_fraction)
    while any_pedal:
        behind = places + _is(padded[places], vocabulary.slot)
        is_pedal = _is(padded[behind], vocabulary.pedal)
        if not is_pedal.any():
            break
        places = np.where(is_pedal, behind + 1, places)
    return places


def _pedals_down(
    places: Places, switches: Places, slots: Places, ids: Ids, vocabulary: Vocabulary
) -> Int[np.ndarray, " bars"]:
    """For each place, the slots whose last switch before it was down, as bits."""
    down = np.zeros(len(places), dtype=np.int64)
    of_slot = ids[_last_before(switches, slots)] - vocabulary.slot.start
    for slot in np.unique(of_slot).tolist():
        mine = switches[of_slot == slot]
        states = np.append(ids[mine] == vocabulary.pedal[1], False)  # the last for "none before"
        down |= states[np.searchsorted(mine, places) - 1].astype(np.int64) << slot
    return down


def _last_before(places: Places, among: Places) -> Places:
    """For each place, the last of some sorted indexes before it."""
    found: Places = among[np.searchsorted(among, places) - 1]
    return found


def _within(ids: Ids, span: range) -> Places:
    return np.flatnonzero(_is(ids, span))


def _is(ids: Integer[np.ndarray, " _"], span: range) -> Shaped[np.ndarray, " _"]:
    """Whether ids lie in a range: what lies before it wraps around to large numbers."""
    shifted = ids - ids.dtype.type(span.start)
    inside: Shaped[np.ndarray, " _"] = shifted < len(span)
    return inside
