"""Cut and join scores at bar lines, and transpose them. Every function returns a new score."""

from typing import TYPE_CHECKING

from rwkv_music.errors import InputError
from rwkv_music.score.instruments import PEDAL_DOWN_VALUE, SUSTAIN_PEDAL
from rwkv_music.score.timing import Signature, bar_starts, signatures
from rwkv_music.score.validation import check_score

if TYPE_CHECKING:
    import symusic


def take_bars(score: "symusic.Score", start: int, stop: int) -> "symusic.Score":
    """Return the bars from `start` up to but not including `stop`, moved to tick 0.

    The current tempo, time signature and pedals are repeated at tick 0. Notes that begin inside
    the range are kept and end at its last bar line at the latest; notes that begin earlier are left
    out. A time signature that cuts the last bar short is kept at the end.

    Args:
        score: In ticks.
        start: First bar, counted from 0.
        stop: The bar after the last one.

    Raises:
        InputError: If the score does not have those bars.
    """
    check_score(score)
    lines = bar_starts(score)
    if not 0 <= start < stop < len(lines):
        raise InputError(
            f"bars [{start}, {stop}) are not in this score of {len(lines) - 1} bars: choose "
            f"0 <= start < stop <= {len(lines) - 1}"
        )
    return take_ticks(score, int(lines[start]), int(lines[stop]))


def split_at_bar(score: "symusic.Score", bar: int) -> "tuple[symusic.Score, symusic.Score]":
    """Return the bars before a bar line and the bars after it.

    A note that sounds across the bar line ends there.

    Raises:
        InputError: If the bar line is not inside the score.
    """
    check_score(score)
    bars = len(bar_starts(score)) - 1
    if not 0 < bar < bars:
        raise InputError(f"cannot split {bars} bars at bar {bar}: choose one in [1, {bars - 1}]")
    return take_bars(score, 0, bar), take_bars(score, bar, bars)


def splice(prompt: "symusic.Score", new: "symusic.Score", at_tick: int) -> "symusic.Score":
    """Append new music to a prompt. The prompt's own notes do not change.

    Tracks are matched by program and drums, in order; a track without a match is added. The first
    tempo and time signature of `new` are written only if they differ from the current ones.

    Args:
        prompt: Kept whole; the result has its ticks per quarter.
        new: Music to append; converted to the prompt's ticks per quarter if needed.
        at_tick: The tick of the prompt at which `new` begins.
    """
    check_score(prompt)
    check_score(new)
    joined = prompt.copy()
    if new.ticks_per_quarter != prompt.ticks_per_quarter:
        new = new.resample(prompt.ticks_per_quarter, min_dur=1)
    shifted = new.shift_time(at_tick)
    _join_timing(joined, shifted, at_tick)
    matched: set[int] = set()
    for track in shifted.tracks:
        index = _matching_track(joined, track, matched)
        if index is None:
            joined.tracks.append(track.copy())
            matched.add(len(joined.tracks) - 1)
            continue
        matched.add(index)
        target = joined.tracks[index]
        target.notes.extend(track.notes)
        target.controls.extend(track.controls)
        target.pitch_bends.extend(track.pitch_bends)
    return joined


def transpose(score: "symusic.Score", semitones: int) -> "symusic.Score":
    """Transpose all pitched notes by a number of semitones; drums do not change.

    Raises:
        InputError: If a pitch would be outside 0 to 127.
    """
    check_score(score)
    moved = score.copy()
    for track in moved.tracks:
        if track.is_drum or not len(track.notes):
            continue
        pitches = track.notes.numpy()["pitch"]
        lowest, highest = int(pitches.min()) + semitones, int(pitches.max()) + semitones
        if lowest < 0 or highest > 127:
            raise InputError(
                f"transposing by {semitones} semitones gives pitches {lowest} to {highest}, "
                "outside 0 to 127: transpose by less"
            )
        track.shift_pitch(semitones, inplace=True)
    return moved


def take_ticks(score: "symusic.Score", start: int, stop: int) -> "symusic.Score":
    """Return what lies in [start, stop), moved to tick 0, as `take_bars` does.

    Args:
        score: In ticks.
        start: A bar line.
        stop: A later bar line, which may lie behind the end of the score.
    """
    import symusic

    taken = symusic.Score(score.ticks_per_quarter)
    tempo = symusic.Tempo(0, mspq=500_000)
    for change in sorted(score.tempos, key=lambda event: event.time):
        if change.time <= start:
            tempo = symusic.Tempo(0, mspq=change.mspq)
        elif change.time < stop:
            taken.tempos.append(symusic.Tempo(change.time - start, mspq=change.mspq))
    taken.tempos.insert(0, tempo)
    previous = Signature(0, 4, 4)
    for sign in signatures(score):
        bar_ticks = previous.bar_ticks(score.ticks_per_quarter)
        cuts_last_bar = (sign.tick - previous.tick) % bar_ticks > 0
        if sign.tick <= start:
            taken.time_signatures = [symusic.TimeSignature(0, sign.numerator, sign.denominator)]
        elif sign.tick < stop or (sign.tick == stop and cuts_last_bar):
            taken.time_signatures.append(
                symusic.TimeSignature(sign.tick - start, sign.numerator, sign.denominator)
            )
        previous = sign
    for track in score.tracks:
        taken.tracks.append(_take_track(track, start, stop))
    return taken


def _take_track(track: "symusic.Track", start: int, stop: int) -> "symusic.Track":
    import symusic

    part = symusic.Track(track.name, track.program, track.is_drum)
    for note in track.notes:
        if start <= note.time < stop:
            duration = min(note.duration, stop - note.time)
            part.notes.append(symusic.Note(note.time - start, duration, note.pitch, note.velocity))
    is_down = False
    for control in sorted(track.controls, key=lambda event: event.time):
        if control.number == SUSTAIN_PEDAL and control.time < start:
            is_down = control.value >= PEDAL_DOWN_VALUE
        elif start <= control.time < stop:
            part.controls.append(
                symusic.ControlChange(control.time - start, control.number, control.value)
            )
    if is_down:
        part.controls.insert(0, symusic.ControlChange(0, SUSTAIN_PEDAL, 127))
    return part


def _join_timing(joined: "symusic.Score", shifted: "symusic.Score", at_tick: int) -> None:
    """Add the tempos and time signatures of the new music that change something."""
    tempos = sorted(joined.tempos, key=lambda event: event.time)
    current_mspq = tempos[-1].mspq if tempos else 500_000
    for tempo in shifted.tempos:
        if tempo.time > at_tick or tempo.mspq != current_mspq:
            joined.tempos.append(tempo)
    current = signatures(joined)[-1]
    for sign in shifted.time_signatures:
        if sign.time > at_tick or (sign.numerator, sign.denominator) != current[1:]:
            joined.time_signatures.append(sign)


def _matching_track(
    score: "symusic.Score", track: "symusic.Track", matched: set[int]
) -> int | None:
    for index, own in enumerate(score.tracks):
        is_same = own.is_drum == track.is_drum and (own.is_drum or own.program == track.program)
        if is_same and index not in matched:
            return index
    return None
