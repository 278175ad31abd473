"""Excerpts of a score for playback, since MIDI players cannot start in the middle."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import symusic


def slice_ticks(score: "symusic.Score", start: int = 0, stop: int | None = None) -> "symusic.Score":
    """Return the music from tick `start` to `stop`, moved to tick 0.

    Notes that sound at `start` begin there with their remaining duration, and notes end at `stop`.
    The current tempo and controllers are repeated at the beginning.

    Args:
        score: A score in ticks.
        start: First tick to play.
        stop: Tick to stop at; the end of the piece when None.
    """
    import symusic

    end = stop if stop is not None else 2**31 - 1
    excerpt = symusic.Score(score.ticks_per_quarter)
    earlier_tempos = [tempo for tempo in score.tempos if tempo.time <= start]
    if earlier_tempos:
        excerpt.tempos.append(symusic.Tempo(0, mspq=max(earlier_tempos, key=lambda t: t.time).mspq))
    for tempo in score.tempos:
        if start < tempo.time < end:
            excerpt.tempos.append(symusic.Tempo(tempo.time - start, mspq=tempo.mspq))
    for track in score.tracks:
        part = symusic.Track(track.name, track.program, track.is_drum)
        for note in track.notes:
            onset, offset = max(note.time, start), min(note.time + note.duration, end)
            if onset < offset:
                part.notes.append(
                    symusic.Note(onset - start, offset - onset, note.pitch, note.velocity)
                )
        latest = {
            control.number: control
            for control in sorted(track.controls, key=lambda event: event.time)
            if control.time <= start
        }
        for control in latest.values():
            part.controls.append(symusic.ControlChange(0, control.number, control.value))
        for control in track.controls:
            if start < control.time < end:
                part.controls.append(
                    symusic.ControlChange(control.time - start, control.number, control.value)
                )
        excerpt.tracks.append(part)
    return excerpt


def scale_tempo(score: "symusic.Score", speed: float) -> None:
    """Change the tempo of a score in place.

    Args:
        score: A score whose first tempo is at tick 0, or that has none (120 quarter notes a minute
            are assumed).
        speed: Factor; 2 is twice as fast.
    """
    import symusic

    if not any(tempo.time == 0 for tempo in score.tempos):
        score.tempos.insert(0, symusic.Tempo(0, qpm=120.0))
    for tempo in score.tempos:
        tempo.mspq = round(tempo.mspq / speed)
