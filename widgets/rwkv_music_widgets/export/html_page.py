"""One HTML file with piano rolls, sound and MIDI files, to send to a friend or put on the web."""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import symusic

from rwkv_music.atomic import write_atomic
from rwkv_music.errors import InputError, MissingExtraError, write_errors
from rwkv_music.playback import choose_soundfont, encode_sound, render_sound
from rwkv_music.score.midi.midi_writer import to_midi
from rwkv_music_widgets.bundle import bundled, style_sheet
from rwkv_music_widgets.messages import escaped
from rwkv_music_widgets.roll.piano_roll import PianoRoll

_TRAITS = (
    "notes", "bars", "beats", "signatures", "tempos", "parts", "summary", "ticks_per_quarter",
    "continuation_start", "height", "selection", "playback", "ended_playback", "volume", "sound_id",
    "hidden_parts", "new_end", "can_edit", "selected_parts", "locked_parts",
    "locked_notes", "other", "surprise",
)  # fmt: skip

_STYLE = """
:root { color-scheme: light dark; }
body { font-family: system-ui, sans-serif; max-width: 960px; margin: 24px auto; padding: 0 16px; }
.piece { margin: 28px 0; }
.piece button, .piece a { font: inherit; padding: 4px 12px; margin: 4px 6px 0 0; cursor: pointer; }
"""


@dataclass(frozen=True)
class PagePiece:
    """A piece on a page.

    Attributes:
        score: The music.
        title: Heading above it.
        continuation_start: Tick at which the continuation starts; None if there is none.
    """

    score: symusic.Score
    title: str
    continuation_start: int | None = None


def save_page(
    path: str | Path,
    pieces: Sequence[PagePiece],
    *,
    title: str = "Music",
    soundfont: Path | None = None,
) -> Path:
    """Write pieces into one HTML file that needs no network: rolls, sound, MIDI to download.

    Args:
        path: The file to write.
        pieces: At least one piece, each with at least one note.
        title: Title of the page.
        soundfont: SoundFont for the sound; the one that is found on this computer when None, or the
            built-in synthesizer if there is none.

    Returns:
        The path.

    Raises:
        InputError: If a piece has no note, there is no piece, or the file cannot be written.

    Example:
        save_page("song.html", [PagePiece(score, "My song")])
    """
    html = page_html(pieces, title=title, soundfont=soundfont)
    path = Path(path)
    with write_errors(path):
        write_atomic(path, html.encode())
    return path


def page_html(
    pieces: Sequence[PagePiece], *, title: str = "Music", soundfont: Path | None = None
) -> str:
    """Return the text of the page that `save_page` writes, with the same arguments.

    Raises:
        InputError: If a piece has no note, or there is no piece.
    """
    if not pieces:
        raise InputError("a page needs at least 1 piece, got 0")
    chosen = soundfont if soundfont is not None else choose_soundfont()[0]
    # "<" could end the script element.
    data = json.dumps([_piece_data(piece, chosen) for piece in pieces]).replace("<", "\\u003c")
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escaped(title)}</title>
<style>{_STYLE}{style_sheet("piano_roll.css")}</style></head>
<body><h1>{escaped(title)}</h1>
{"".join(_piece_html(piece) for piece in pieces)}
<script type="application/json" id="pieces">{data}</script>
<script type="module">{bundled("page.mjs")}</script>
</body></html>
"""


def _piece_html(piece: PagePiece) -> str:
    midi = base64.b64encode(to_midi(piece.score)).decode()
    new = '<button data-action="new">New part</button>' if piece.continuation_start else ""
    return f"""<section class="piece"><h2>{escaped(piece.title)}</h2><div class="roll"></div>
<button data-action="play">Play</button>{new}<button data-action="stop">Stop</button>
<a download="music.mid" href="data:audio/midi;base64,{midi}">MIDI file</a></section>
"""


def _piece_data(piece: PagePiece, soundfont: Path | None) -> dict[str, Any]:
    roll = PianoRoll(piece.score, continuation_start=piece.continuation_start)
    traits: dict[str, Any] = {name: _json_value(getattr(roll, name)) for name in _TRAITS}
    traits["muted_parts"], traits["can_mute"] = [], False  # the sound is one file
    traits["seconds"] = roll.seconds_between(0, None)
    roll.close()
    sound = render_sound(piece.score, soundfont=soundfont)
    try:
        content = encode_sound(sound, ".mp3")
    except MissingExtraError:
        content = encode_sound(sound, ".wav")
    return {"traits": traits, "sound": base64.b64encode(content).decode()}


def _json_value(value: Any) -> Any:
    return {"bytes": base64.b64encode(value).decode()} if isinstance(value, bytes) else value
