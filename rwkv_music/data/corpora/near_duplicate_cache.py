"""Near-duplicates among the pieces of several corpora, found once and kept in the cache folder."""

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from rwkv_music.atomic import write_atomic
from rwkv_music.cache import cache_folder
from rwkv_music.data.near_duplicates import Fingerprint, find_near_duplicates, fingerprint
from rwkv_music.data.pieces import Piece
from rwkv_music.data.worker_pool import Progress
from rwkv_music.tokenizer import Tokenizer

_RECIPE = 1
"""Increased when other pieces are found, so that older caches are not used."""

Links = list[tuple[str, str]]


def near_duplicate_groups(
    pieces: Sequence[Piece],
    content_hashes: Sequence[str],
    tokenizer: Tokenizer,
    *,
    progress: Progress | None = None,
) -> Links:
    """Return pairs of groups that contain the same music; chains of pairs connect all of them.

    Args:
        pieces: The pieces of all corpora.
        content_hashes: Hash of each corpus, which identifies its pieces.
        tokenizer: The tokenizer that made their ids.
        progress: Called for each piece, unless the result is cached.
    """
    settings = sorted(tokenizer.settings.items())
    inputs = [_RECIPE, Tokenizer.VERSION, settings, sorted(content_hashes)]
    key = hashlib.sha256(json.dumps(inputs).encode()).hexdigest()[:16]
    path = cache_folder() / f"near-duplicates-{key}.json"
    if (links := _read(path)) is not None:
        return links
    prints: dict[str, Fingerprint] = {}
    for done, piece in enumerate(pieces, start=1):
        # Pieces of one group need no comparison, but any of them may link it to another group.
        prints[str(done)] = fingerprint(tokenizer.decode(piece.ids))
        if progress is not None:
            progress(done, len(pieces), piece.name)
    pairs = {
        (pieces[int(pair.first) - 1].group, pieces[int(pair.second) - 1].group)
        for pair in find_near_duplicates(prints)
    }
    links = sorted((first, second) for first, second in pairs if first != second)
    with suppress(OSError):  # a cache that cannot be written only costs time
        write_atomic(path, json.dumps(links).encode("utf-8", "surrogatepass"))
    return links


def _read(path: Path) -> Links | None:
    """Return cached pairs; None if there are none, or the file is damaged."""
    try:
        links = json.loads(path.read_text(encoding="utf-8"))
        return [(str(first), str(second)) for first, second in links]
    except (OSError, ValueError, TypeError):
        return None
