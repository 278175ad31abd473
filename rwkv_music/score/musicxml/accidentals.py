"""Accidentals of MusicXML notes whose `<alter>` is missing."""

from rwkv_music.score.musicxml.note_reader import NoteElement

_Place = tuple[str, int]
"""Staff and MIDI number of the natural note."""


class PrintedAccidentals:
    """Alters notes that have an accidental but no `<alter>`, as some programs write them.

    Such an accidental also holds for later notes of the measure on the same line that have neither,
    and for a note that is tied to it from the measure before.
    """

    def __init__(self) -> None:
        self._current: dict[_Place, int] = {}
        self._tied: dict[_Place, int] = {}
        """Of notes that are tied into the next measure."""
        self._from_before: dict[_Place, int] = {}

    def apply(self, note: NoteElement) -> None:
        """Change the pitch of a note; notes come in the order of the file."""
        if note.pitch is None or note.has_alter or note.is_unpitched:
            return
        position = (note.staff, note.pitch)
        if note.accidental is not None:
            self._current[position] = note.accidental
        is_held = "stop" in note.ties and position not in self._current
        alteration = (self._from_before if is_held else self._current).get(position, 0)
        note.pitch += alteration
        if alteration and "start" in note.ties:
            self._tied[position] = alteration

    def end_measure(self) -> None:
        """Forget the accidentals, but not those of notes that are tied on."""
        self._from_before, self._tied, self._current = self._tied, {}, {}
