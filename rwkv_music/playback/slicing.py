"""Cutting a stretch out of a score for playback: MIDI players cannot start in the middle."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import symusic


def slice_ticks(score: "symusic.Score", start: int = 0, stop: int | None = None) -> "symusic.Score":
    """The music from tick `start` to `stop`, moved to tick 0.

    Notes that are sounding at the start are struck again there with what is left of them, and notes
    end at `stop`, as one would hear it. Tempo, and controllers in force are restated.

    Args:
        score: In ticks.
        start: First tick to hear.
        stop: Where to end; the end of the piece when None.
    """
    import symusic

    end = stop if stop is not None else 2**31 - 1
    cut = symusic.Score(score.ticks_per_quarter)
    in_force = [tempo for tempo in score.tempos if tempo.time <= start]
    if in_force:
        cut.tempos.append(symusic.Tempo(0, mspq=max(in_force, key=lambda t: t.time).mspq))
    for tempo in score.tempos:
        if start < tempo.time < end:
            cut.tempos.append(symusic.Tempo(tempo.time - start, mspq=tempo.mspq))
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
        cut.tracks.append(part)
    return cut
