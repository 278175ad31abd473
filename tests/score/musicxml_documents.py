"""MusicXML documents for tests, made from short parts."""

import symusic

from rwkv_music.score.loaded_score import LoadedScore
from rwkv_music.score.text_formats import ReadRequest, parse_request

TIME = "<time><beats>4</beats><beat-type>4</beat-type></time>"


def pitch(
    name: str, duration: int = 4, inside: str = "", *, before: str = "", **attributes: str
) -> str:
    """A note such as "C4" or "F#3", with elements before its pitch and behind its duration."""
    alter = f"<alter>{name.count('#') - name.count('b')}</alter>" if name[1] in "#b" else ""
    given = "".join(f' {key}="{value}"' for key, value in attributes.items())
    return (
        f"<note{given}>{before}<pitch><step>{name[0]}</step>{alter}<octave>{name[-1]}</octave>"
        f"</pitch><duration>{duration}</duration>{inside}</note>"
    )


def rest(duration: int = 4) -> str:
    return f"<note><rest/><duration>{duration}</duration></note>"


def tie(*kinds: str) -> str:
    return "".join(f'<tie type="{kind}"/>' for kind in kinds)


def backup(duration: int) -> str:
    return f"<backup><duration>{duration}</duration></backup>"


def document(*measures: str, time: str = TIME, attributes: str = "", entry: str = "") -> str:
    """A document of one part with 4 divisions to the quarter."""
    first = f"<attributes><divisions>4</divisions>{attributes}{time}</attributes>"
    bodies = [first + measures[0], *measures[1:]]
    written = "".join(
        f'<measure number="{index}">{body}</measure>' for index, body in enumerate(bodies, 1)
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<score-partwise version="4.0"><part-list>'
        f'<score-part id="P1"><part-name>Part</part-name>{entry}</score-part></part-list>'
        f'<part id="P1">{written}</part></score-partwise>'
    )


def read(text: str | bytes, *, unfold_repeats: bool = False) -> LoadedScore:
    content = text.encode() if isinstance(text, str) else text
    return parse_request(ReadRequest(content, "musicxml", unfold_repeats))


def notes(score: symusic.Score) -> list[tuple[float, float, int]]:
    """Onset and duration in quarters, and pitch; in order."""
    quarter = score.ticks_per_quarter
    return sorted(
        (round(note.time / quarter, 3), round(note.duration / quarter, 3), note.pitch)
        for track in score.tracks
        for note in track.notes
    )
