"""Saves a score in the format that the suffix of a path names."""

from pathlib import Path
from typing import Literal

import symusic

from rwkv_music.atomic import write_atomic
from rwkv_music.errors import InputError, write_errors
from rwkv_music.generation import SessionNode
from rwkv_music.generation.session.session_tree import unused_path
from rwkv_music.playback import save_sound
from rwkv_music.score import save_piano_roll, save_score
from rwkv_music_widgets.export.html_page import PagePiece, save_page
from rwkv_music_widgets.roll.roll_svg import roll_svg

SUFFIXES = {
    ".mid": "MIDI",
    ".musicxml": "MusicXML",
    ".mp3": "Sound (MP3)",
    ".ogg": "Sound (OGG)",
    ".wav": "Sound (WAV)",
    ".html": "Web page with sound",
    ".svg": "Picture (SVG)",
    ".png": "Picture (PNG)",
}
"""Formats by suffix, in the order in which they are offered."""


def save_as(
    score: symusic.Score, path: str | Path, *, continuation_start: int | None = None
) -> Path:
    """Save a score as music, sound, picture or web page.

    Args:
        score: The score.
        path: The file to write; its suffix is one of `SUFFIXES`.
        continuation_start: Tick at which the continuation starts; None if there is none.

    Returns:
        The path.

    Raises:
        InputError: If the suffix is another one, or the file cannot be written.
        MissingExtraError: If a package for the format is not installed.

    Example:
        save_as(score, "song.html")
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"'{path.suffix}' is not a known format: use one of {', '.join(SUFFIXES)}")
    if suffix in (".mid", ".musicxml"):
        return save_score(score, path)
    if suffix in (".mp3", ".ogg", ".wav"):
        return save_sound(score, path)
    if suffix == ".html":
        title = path.stem.replace("-", " ")
        return save_page(path, [PagePiece(score, title, continuation_start)], title=title)
    if suffix == ".svg":
        with write_errors(path):
            write_atomic(path, roll_svg(score, continuation_start=continuation_start).encode())
        return path
    return save_piano_roll(score, path, continuation_start=continuation_start)


def save_node(node: SessionNode, path: Path, *, part: Literal["all", "new"] = "all") -> Path:
    """Save the score of a session's node, or its new bars; an existing file is not overwritten.

    Args:
        node: The node.
        path: The file to write; if it exists, a number is inserted before the suffix.
        part: The whole score, or the new bars only.

    Returns:
        The path of the file written.

    Raises:
        InputError: If there are no new bars, or the file cannot be written.
    """
    path = unused_path(path)
    if part == "all":
        return save_as(node.score, path, continuation_start=node.continuation_start)
    if node.new is None:
        raise InputError("there are no new bars to export: generate a continuation first")
    return save_as(node.new, path)
