"""The 20,096 ids of the RWKV-4 and RWKV-5 music models, for their data sets and models.

    0 <pad>    1 <start>    2 <end>    3..127 t1..t125    128.. one id per bin, note and loudness

Time has steps of 8 ms; there are no bars, tempos, signatures or parts. An instrument is one of 13
bins, a loudness one of 12, of which 0 ends the note: `pi:3c:7` begins the piano's middle C.

Lost by design of that vocabulary: the track and exact program of a note, onsets to 4 ms, loudness
to a twelfth, gaps beyond 10 s, effects and noises (they have no bin), and everything that is not a
note. Sustain pedals lengthen notes; channel volume and expression scale their velocity.

Source: MIDI-LLM-tokenizer by Brian Semrau, its default configuration. Here positions are rounded to
the 8 ms grid before they are subtracted, so that errors do not accumulate.
"""

import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Integer, UInt16

from rwkv_music.errors import InputError
from rwkv_music.score.instruments import PEDAL_DOWN_VALUE, SUSTAIN_PEDAL

if TYPE_CHECKING:
    import symusic

PAD, START, END = 0, 1, 2
FIRST_WAIT, FIRST_NOTE, SIZE = 3, 128, 20_096
STEP_MS = 8
LONGEST_WAIT = 125
"""Most steps of one wait id; longer waits repeat it."""
LONGEST_GAP = 1250
"""Steps, 10 s: a longer silence is cut to it."""
LONGEST_NOTE = 625
"""Steps, 5 s: a note without an end lasts this long."""
LOUDNESSES = 12

BINS = {
    "p": "percussion", "d": "drum", "t": "tuba", "m": "marimba", "b": "bass", "g": "guitar",
    "v": "violin", "tr": "trumpet", "pi": "piano", "s": "sax", "f": "flute", "l": "lead",
    "pa": "pad",
}  # fmt: skip
"""Names in the text form, in the order of the ids."""

_RUNS = """
pi*8 m*9 pi*7 g*8 b*8 v*2 b*2 v*3 p*1 v*7 -*1 tr*1 t*2 tr*5 s*5 tr*1 s*2 f*8 l*5 v*1 l*2
pa*3 v*1 pa*4 -*8 g*5 s*1 v*1 s*1 m*4 d*3 -*9
"""
_SHORT = list(BINS)
_MARKS = ("<pad>", "<start>", "<end>")
_WAIT = re.compile(r"t([0-9]{1,3})")
_STRIKE = re.compile(r"([a-z]+):([0-9a-f]{1,2}):([0-9a-f])")
_BIN_OF_PROGRAM = np.array(
    [
        _SHORT.index(name) if name in BINS else -1
        for name, count in (run.split("*") for run in _RUNS.split())
        for _ in range(int(count))
    ]
)
"""The bin of each General MIDI program; -1 for the orchestra hit, effects and noises."""
_PROGRAM_OF_BIN = (0, 118, 58, 12, 32, 25, 40, 56, 0, 66, 73, 80, 88)
_PERCUSSION = 0
_VOLUME, _EXPRESSION = 7, 11
_TICKS_PER_QUARTER, _TICKS_PER_STEP = 480, 7.68  # at 120 quarters per minute

Ints = Int[np.ndarray, " _"]


class _Notes(NamedTuple):
    """Notes in steps of 8 ms from the first one."""

    bins: Ints
    pitches: Ints
    onsets: Ints
    ends: Ints
    loudness: Ints


def loudness_of(velocity: Float[np.ndarray, " _"]) -> Ints:
    """Return the bin of a MIDI velocity: 0 for silence, 1 to 11 in steps that grow with it."""
    curve = 128 * (0.5 ** (np.clip(velocity, 0, 127) / 128) - 1) / (0.5 - 1)
    bins: Ints = np.ceil(curve / (128 / (LOUDNESSES - 1))).astype(np.int64)
    return bins


def velocity_of(loudness: Ints) -> Ints:
    """Return the MIDI velocity of a bin, the largest one in it."""
    inside = 1 - 0.5 * loudness / (LOUDNESSES - 1)
    velocity: Ints = np.maximum(0, np.ceil(-128 * np.log2(inside) - 1)).astype(np.int64)
    return velocity


def encode_midi_llm(score: "symusic.Score") -> UInt16[np.ndarray, " tokens"]:
    """Return a score as ids of that vocabulary, from <start> to <end>.

    Simultaneous events are sorted by bin (percussion first), pitch and loudness, so that a note
    ends before it is struck again.

    Raises:
        InputError: If no note of the score can be written.
    """
    notes = _notes_of(score)
    moments = np.concatenate([notes.onsets, notes.ends])
    which = (np.tile(notes.bins, 2) * 128 + np.tile(notes.pitches, 2)) * LOUDNESSES
    which += np.concatenate([notes.loudness, np.zeros_like(notes.loudness)])
    order = np.lexsort((which, moments))
    moments, which = moments[order], which[order]
    waits = np.minimum(np.diff(moments, prepend=moments[0]), LONGEST_GAP)
    tokens = [START]
    for wait, token in zip(waits.tolist(), (FIRST_NOTE + which).tolist(), strict=True):
        tokens += [FIRST_WAIT + LONGEST_WAIT - 1] * (wait // LONGEST_WAIT)
        if wait % LONGEST_WAIT:
            tokens.append(FIRST_WAIT + wait % LONGEST_WAIT - 1)
        tokens.append(token)
    return np.array([*tokens, END], dtype=np.uint16)


def decode_midi_llm(ids: Integer[np.ndarray, " tokens"]) -> "symusic.Score":
    """A score from ids of that vocabulary: one track per bin, 120 quarters per minute.

    A note that is struck again while it sounds ends there; one that is never ended lasts 5 s. What
    stands behind <end> is left out.

    Raises:
        InputError: If an id is not in the vocabulary.
    """
    import symusic

    from rwkv_music.score.instruments import program_name

    score = symusic.Score(_TICKS_PER_QUARTER)
    score.tempos.append(symusic.Tempo(0, qpm=120.0))
    tracks: dict[int, list[symusic.Note]] = {}
    for bin_index, pitch, onset, end, loudness in _notes_in(ids):
        begin, until = (round(step * _TICKS_PER_STEP) for step in (onset, end))
        velocity = int(velocity_of(np.array([loudness]))[0])
        note = symusic.Note(begin, max(1, until - begin), pitch, max(1, velocity))
        tracks.setdefault(bin_index, []).append(note)
    for bin_index, notes in sorted(tracks.items()):
        is_drum = bin_index == _PERCUSSION
        program = _PROGRAM_OF_BIN[bin_index]
        track = symusic.Track(program_name(program, is_drum=is_drum), program, is_drum)
        track.notes.extend(sorted(notes, key=lambda note: (note.time, note.pitch)))
        score.tracks.append(track)
    return score


def token_text(token: int) -> str:
    """Return an id in the text form of that vocabulary: "<start>", "t125", "pi:3c:7".

    Raises:
        InputError: If there is no such id.
    """
    if not 0 <= token < SIZE:
        raise InputError(f"there is no id {token} in this vocabulary: ids go from 0 to {SIZE - 1}")
    if token < FIRST_WAIT:
        return _MARKS[token]
    if token < FIRST_NOTE:
        return f"t{token - FIRST_WAIT + 1}"
    rest, loudness = divmod(token - FIRST_NOTE, LOUDNESSES)
    bin_index, pitch = divmod(rest, 128)
    return f"{_SHORT[bin_index]}:{pitch:x}:{loudness:x}"


def ids_of_text(text: str) -> UInt16[np.ndarray, " tokens"]:
    """Return the ids of a text in that form, as data sets for those models hold it.

    Raises:
        InputError: If a word is not in that vocabulary.

    Example:
        >>> ids_of_text("<start> pi:3c:8 t62 pi:3c:0 <end>").tolist()
        [1, 13144, 64, 13136, 2]
    """
    return np.array([_id_of_word(word) for word in text.split()], dtype=np.uint16)


def _id_of_word(word: str) -> int:
    if word in _MARKS:
        return _MARKS.index(word)
    match = _WAIT.fullmatch(word)
    if match and 1 <= int(match[1]) <= LONGEST_WAIT:
        return FIRST_WAIT + int(match[1]) - 1
    match = _STRIKE.fullmatch(word)
    if match and match[1] in BINS:
        pitch, loudness = int(match[2], 16), int(match[3], 16)
        if pitch < 128 and loudness < LOUDNESSES:
            return FIRST_NOTE + (_SHORT.index(match[1]) * 128 + pitch) * LOUDNESSES + loudness
    raise InputError(
        f"'{word[:40]}' is not a word of the RWKV-4 and RWKV-5 music models: they are <pad>, "
        f"<start>, <end>, t1 to t{LONGEST_WAIT}, and notes such as pi:3c:8"
    )


def _notes_in(
    ids: Integer[np.ndarray, " tokens"],
) -> list[tuple[int, int, int, int, int]]:
    """Return bin, pitch, onset, end and loudness of every note of a stream, times in steps."""
    notes: list[tuple[int, int, int, int, int]] = []
    held: dict[tuple[int, int], tuple[int, int]] = {}
    now = 0

    def release(key: tuple[int, int]) -> None:
        onset, loudness = held.pop(key)
        notes.append((*key, onset, min(now, onset + LONGEST_NOTE), loudness))

    for token in ids.tolist():
        if not 0 <= token < SIZE:
            raise InputError(
                f"id {token} is not in the vocabulary of the RWKV-4 and RWKV-5 music models (0 to "
                f"{SIZE - 1}): these ids come from another tokenizer"
            )
        if token == END:
            break
        if FIRST_WAIT <= token < FIRST_NOTE:
            now += token - FIRST_WAIT + 1
        elif token >= FIRST_NOTE:
            rest, loudness = divmod(token - FIRST_NOTE, LOUDNESSES)
            key = divmod(rest, 128)
            if key in held:
                release(key)
            if loudness:
                held[key] = now, loudness
    now += LONGEST_NOTE
    for key in list(held):
        release(key)
    return notes


def _notes_of(score: "symusic.Score") -> _Notes:
    """Return all notes that have a bin, with ends and loudness as they are written."""
    from rwkv_music.score import TempoMap

    tempo = TempoMap(score)

    def steps(ticks: Ints) -> Ints:
        exact = tempo.ticks_to_seconds(ticks) * 1000 / STEP_MS
        return np.floor(exact + 0.5).astype(np.int64)

    end = max((int(track.end()) for track in score.tracks), default=0)
    columns = [_track_notes(track, end) for track in score.tracks]
    columns = [column for column in columns if column is not None]
    if not columns:
        raise InputError(
            "no note of the score has an instrument of this vocabulary: it knows no effects and "
            "noises; choose another file, or other programs"
        )
    bins, pitches, onsets, ends, velocity = (
        np.concatenate(column) for column in zip(*columns, strict=True)
    )
    onsets, ends, loudness = steps(onsets), steps(ends), loudness_of(velocity)
    heard = loudness > 0
    if not heard.any():
        raise InputError("every note of the score is silent: raise velocity, volume or expression")
    notes = [column[heard] for column in (bins, pitches, onsets, ends, loudness)]
    order = np.lexsort((notes[2], notes[1], notes[0]))
    bins, pitches, onsets, ends, loudness = (column[order] for column in notes)
    again = (bins[1:] == bins[:-1]) & (pitches[1:] == pitches[:-1])
    # Of two notes at one moment the later in the list counts; a note ends where the same pitch
    # begins again, and lasts at least a step.
    hidden = np.append(again & (onsets[1:] == onsets[:-1]), [False])
    ends[:-1] = np.where(again, np.minimum(ends[:-1], onsets[1:]), ends[:-1])
    ends = np.maximum(ends, onsets + 1)
    first = onsets.min()
    kept = [column[~hidden] for column in (bins, pitches, onsets - first, ends - first, loudness)]
    return _Notes(*kept)


def _track_notes(
    track: "symusic.Track", end: int
) -> tuple[Ints, Ints, Ints, Ints, Float[np.ndarray, " _"]] | None:
    """Bin, pitch, onset, end in ticks and mixed velocity of a track's notes; None without a bin."""
    bin_index = _PERCUSSION if track.is_drum else int(_BIN_OF_PROGRAM[track.program])
    table = track.notes.numpy()
    if bin_index < 0 or not len(table["time"]):
        return None
    onsets = table["time"].astype(np.int64)
    ends = onsets + table["duration"]
    controls = track.controls.numpy()
    volume, expression = (
        _value_at(controls, controller, onsets) / 127 for controller in (_VOLUME, _EXPRESSION)
    )
    velocity = table["velocity"] * volume * expression
    bins = np.full(len(onsets), bin_index)
    return bins, table["pitch"].astype(np.int64), onsets, _sustained(controls, ends, end), velocity


def _value_at(controls: dict[str, np.ndarray], controller: int, ticks: Ints) -> Ints:
    """Return the value of a controller at each tick; 127 until it is set."""
    chosen = controls["number"] == controller
    times, values = controls["time"][chosen], controls["value"][chosen]
    order = np.argsort(times, kind="stable")
    latest = np.searchsorted(times[order], ticks, side="right")
    current: Ints = np.append([127], values[order])[latest].astype(np.int64)
    return current


def _sustained(controls: dict[str, np.ndarray], ends: Ints, end: int) -> Ints:
    """Return where notes end if the pedal holds those that end while it is down."""
    pedal = controls["number"] == SUSTAIN_PEDAL
    if not pedal.any():
        return ends
    times, is_down = (
        controls["time"][pedal].astype(np.int64),
        controls["value"][pedal] >= PEDAL_DOWN_VALUE,
    )
    order = np.argsort(times, kind="stable")
    times, is_down = times[order], is_down[order]
    held: Bool[np.ndarray, " _"] = np.append([False], is_down)[
        np.searchsorted(times, ends, side="right")
    ]
    lifts = np.append(times[~is_down], [max(end, int(ends.max()))])
    lifted: Ints = lifts[np.searchsorted(lifts[:-1], ends, side="right")]
    return np.where(held, np.maximum(lifted, ends), ends)
