"""Cutting and joining scores at bar lines. Every function returns a new score."""

from typing import TYPE_CHECKING

from rwkv_music.errors import InputError
from rwkv_music.score.instruments import SUSTAIN_PEDAL
from rwkv_music.score.timing import Signature, bar_starts, signatures

if TYPE_CHECKING:
    import symusic

_PEDAL_IS_DOWN = 64


def take_bars(score: "symusic.Score", start: int, stop: int) -> "symusic.Score":
    """The bars from `start` up to but not including `stop`, beginning at tick 0.

    Tempo, time signature and pedals in force at the cut are stated at its beginning. Notes that
    begin inside are kept, and end at the last bar line at the latest; notes that began before are
    left out. Where a change of time signature cuts the last bar short, it is stated at the end.

    Args:
        score: In ticks.
        start: First bar, counted from 0.
        stop: The bar after the last one.

    Raises:
        InputError: If the score does not have those bars.
    """
    lines = bar_starts(score)
    if not 0 <= start < stop < len(lines):
        raise InputError(
            f"bars [{start}, {stop}) are not in this score of {len(lines) - 1} bars: choose "
            f"0 <= start < stop <= {len(lines) - 1}"
        )
    return _take_ticks(score, int(lines[start]), int(lines[stop]))


def split_at_bar(score: "symusic.Score", bar: int) -> "tuple[symusic.Score, symusic.Score]":
    """The bars before a bar line, and those after it.

    A note that sounds across the line ends there.

    Raises:
        InputError: If the line is not inside the score.
    """
    bars = len(bar_starts(score)) - 1
    if not 0 < bar < bars:
        raise InputError(f"cannot split {bars} bars at bar {bar}: choose one in [1, {bars - 1}]")
    return take_bars(score, 0, bar), take_bars(score, bar, bars)


def splice(prompt: "symusic.Score", new: "symusic.Score", at_tick: int) -> "symusic.Score":
    """The prompt with new music behind it; the prompt's own notes stay as they are.

    Parts are matched by program and drums, in order of occurrence; a part the prompt does not have
    becomes a track of its own. What `new` states at its beginning (tempo, time signature) is
    written only if it differs from what is in force there.

    Args:
        prompt: Kept whole; it decides the ticks per quarter.
        new: Its tick 0 comes at `at_tick`; its ticks are converted if need be.
        at_tick: The seam.
    """
    joined = prompt.copy()
    if new.ticks_per_quarter != prompt.ticks_per_quarter:
        new = new.resample(prompt.ticks_per_quarter, min_dur=1)
    shifted = new.shift_time(at_tick)
    _join_timing(joined, shifted, at_tick)
    taken: set[int] = set()
    for track in shifted.tracks:
        place = _matching_track(joined, track, taken)
        if place is None:
            joined.tracks.append(track.copy())
            taken.add(len(joined.tracks) - 1)
            continue
        taken.add(place)
        own = joined.tracks[place]
        own.notes.extend(track.notes)
        own.controls.extend(track.controls)
        own.pitch_bends.extend(track.pitch_bends)
    return joined


def transpose(score: "symusic.Score", semitones: int) -> "symusic.Score":
    """All pitched notes higher by some semitones; drums stay.

    Raises:
        InputError: If a note would leave the 128 pitches.
    """
    moved = score.copy()
    for track in moved.tracks:
        if track.is_drum or not len(track.notes):
            continue
        pitches = track.notes.numpy()["pitch"]
        lowest, highest = int(pitches.min()) + semitones, int(pitches.max()) + semitones
        if lowest < 0 or highest > 127:
            raise InputError(
                f"transposed by {semitones} the pitches would be {lowest} to {highest}, outside "
                "0 to 127: transpose by less"
            )
        track.shift_pitch(semitones, inplace=True)
    return moved


def _take_ticks(score: "symusic.Score", start: int, stop: int) -> "symusic.Score":
    import symusic

    taken = symusic.Score(score.ticks_per_quarter)
    tempo = symusic.Tempo(0, mspq=500_000)
    for each in sorted(score.tempos, key=lambda event: event.time):
        if each.time <= start:
            tempo = symusic.Tempo(0, mspq=each.mspq)
        elif each.time < stop:
            taken.tempos.append(symusic.Tempo(each.time - start, mspq=each.mspq))
    taken.tempos.insert(0, tempo)
    before = Signature(0, 4, 4)
    for sign in signatures(score):
        cuts_last_bar = (sign.tick - before.tick) % before.bar_ticks(score.ticks_per_quarter) > 0
        if sign.tick <= start:
            taken.time_signatures = [symusic.TimeSignature(0, sign.numerator, sign.denominator)]
        elif sign.tick < stop or (sign.tick == stop and cuts_last_bar):
            taken.time_signatures.append(
                symusic.TimeSignature(sign.tick - start, sign.numerator, sign.denominator)
            )
        before = sign
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
            is_down = control.value >= _PEDAL_IS_DOWN
        elif start <= control.time < stop:
            part.controls.append(
                symusic.ControlChange(control.time - start, control.number, control.value)
            )
    if is_down:
        part.controls.insert(0, symusic.ControlChange(0, SUSTAIN_PEDAL, 127))
    return part


def _join_timing(joined: "symusic.Score", shifted: "symusic.Score", at_tick: int) -> None:
    """Add tempos and signatures of the new part, the first ones only if they change something."""
    tempos = sorted(joined.tempos, key=lambda event: event.time)
    micro = tempos[-1].mspq if tempos else 500_000
    for tempo in shifted.tempos:
        if tempo.time > at_tick or tempo.mspq != micro:
            joined.tempos.append(tempo)
    in_force = signatures(joined)[-1]
    for sign in shifted.time_signatures:
        if sign.time > at_tick or (sign.numerator, sign.denominator) != in_force[1:]:
            joined.time_signatures.append(sign)


def _matching_track(score: "symusic.Score", track: "symusic.Track", taken: set[int]) -> int | None:
    for place, own in enumerate(score.tracks):
        same = own.is_drum == track.is_drum and (own.is_drum or own.program == track.program)
        if same and place not in taken:
            return place
    return None
