"""Put the new music of a hole into the score that asked for it."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import UInt16

from rwkv_music.generation.prompts.hole_prompt import HolePrompt
from rwkv_music.generation.request.part_choice import PartChoice
from rwkv_music.score.instruments import PEDAL_DOWN_VALUE, SUSTAIN_PEDAL
from rwkv_music.tokenizer.decode import columns_of
from rwkv_music.tokenizer.reader import read_whole
from rwkv_music.tokenizer.vocabulary import Vocabulary

if TYPE_CHECKING:
    import symusic


class _Part(NamedTuple):
    """New events of one part, in ticks from the beginning of the hole."""

    notes: "list[symusic.Note]"
    pedals: "list[symusic.ControlChange]"


def filled_score(
    prompt: HolePrompt, fill: UInt16[np.ndarray, " tokens"], vocabulary: Vocabulary
) -> "tuple[symusic.Score, symusic.Score]":
    """Return the score with the new music, and the new music alone.

    In the tracks that were asked for, notes that begin in the hole and pedals in it are replaced.
    Notes that begin earlier and sound into it stay. Where the pedal is up or down behind the hole,
    as the score says, it is so again.

    Args:
        prompt: The request.
        fill: The bars of the hole, as a window of tokens.
        vocabulary: Of the tokens.
    """
    from rwkv_music.score.editing import take_ticks

    score = prompt.score.copy()
    new = take_ticks(prompt.score, prompt.start, prompt.end)
    for track in new.tracks:
        track.notes.clear()
        track.controls.clear()
        track.pitch_bends.clear()
    parts = _new_events(prompt, fill, vocabulary)
    for index, choice in sorted(prompt.parts.items(), key=lambda item: item[1].track is None):
        _replace(_track(score, choice), parts[index], prompt.start, prompt.end)
        target = _track(new, choice)
        target.notes.extend(parts[index].notes)
        target.controls.extend(parts[index].pedals)
    return score, new


def _track(score: "symusic.Score", choice: PartChoice) -> "symusic.Track":
    """Return the track of a choice; a new one is added."""
    import symusic

    if choice.track is not None:
        return score.tracks[choice.track]
    score.tracks.append(symusic.Track(choice.name, choice.program, choice.is_drum))
    return score.tracks[-1]


def _new_events(
    prompt: HolePrompt, fill: UInt16[np.ndarray, " tokens"], vocabulary: Vocabulary
) -> dict[int, _Part]:
    """Return the new events of each part that was asked for."""
    import symusic

    columns = columns_of(read_whole(fill, vocabulary), vocabulary)
    length = prompt.end - prompt.start
    ticks_per_step = prompt.score.ticks_per_quarter / vocabulary.steps_per_quarter
    parts = {}
    for part in prompt.parts:
        own = slice(int(columns.note_ends[part]), int(columns.note_ends[part + 1]))
        onsets = np.rint(columns.note_time[own] * ticks_per_step).astype(np.int64)
        ends = columns.note_time[own] + columns.note_duration[own]
        offsets = np.minimum(np.rint(ends * ticks_per_step).astype(np.int64), length)
        notes = [
            symusic.Note(onset, max(1, offset - onset), pitch, velocity)
            for onset, offset, pitch, velocity in zip(
                np.minimum(onsets, length - 1).tolist(),
                offsets.tolist(),
                columns.note_pitch[own].tolist(),
                columns.note_velocity[own].tolist(),
                strict=True,
            )
        ]
        own = slice(int(columns.pedal_ends[part]), int(columns.pedal_ends[part + 1]))
        times = np.rint(columns.pedal_time[own] * ticks_per_step).astype(np.int64)
        pedals = [
            symusic.ControlChange(min(time, length - 1), SUSTAIN_PEDAL, value)
            for time, value in zip(times.tolist(), columns.pedal_value[own].tolist(), strict=True)
        ]
        parts[part] = _Part(notes, pedals)
    return parts


def _replace(track: "symusic.Track", part: _Part, start: int, end: int) -> None:
    """Replace notes and pedals of a track that begin in [start, end)."""
    import symusic

    was_down, stays_down = _is_down(track, start), _is_down(track, end)
    notes = [note for note in track.notes if not start <= note.time < end]
    notes += [
        symusic.Note(start + note.time, note.duration, note.pitch, note.velocity)
        for note in part.notes
    ]
    track.notes = symusic.core.NoteTickList(notes)
    controls = [
        event
        for event in track.controls
        if event.number != SUSTAIN_PEDAL or not start <= event.time < end
    ]
    is_down = was_down
    for event in part.pedals:
        if (event.value >= PEDAL_DOWN_VALUE) != is_down:
            is_down = not is_down
            controls.append(symusic.ControlChange(start + event.time, event.number, event.value))
    if is_down != stays_down:
        value = 127 if stays_down else 0
        controls.append(symusic.ControlChange(end - 1, SUSTAIN_PEDAL, value))
    track.controls = symusic.core.ControlChangeTickList(controls)


def _is_down(track: "symusic.Track", tick: int) -> bool:
    """Whether the pedal of a track is down just before a tick."""
    before = [
        event for event in track.controls if event.number == SUSTAIN_PEDAL and event.time < tick
    ]
    last = max(before, key=lambda event: event.time, default=None)
    return last is not None and last.value >= PEDAL_DOWN_VALUE
