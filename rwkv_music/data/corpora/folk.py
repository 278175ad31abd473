"""The corpus of fiddle and pipe tunes of the installed music21, kept in the cache folder.

The collections are Ryan's Mammoth Collection (1883), O'Neill's Music of Ireland (1850 tunes, 1903)
and Aird's Selection of Scotch, English, Irish and Foreign Airs (1782 to 1801), in ABC notation. As
with the chorales, the encodings are not part of this project and are read on the user's machine.
"""

import hashlib
import re
from collections.abc import Iterator
from functools import cache
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING

from rwkv_music.data.corpora.corpus_cache import cached_corpus
from rwkv_music.data.near_duplicates import Fingerprint, fingerprint, group_near_duplicates
from rwkv_music.data.pieces import Corpus, Ids, Piece
from rwkv_music.data.worker_pool import Progress
from rwkv_music.errors import InputError
from rwkv_music.tokenizer import Tokenizer

if TYPE_CHECKING:
    import symusic

_RECIPE = 1
"""Increased when the processing of the tunes changes, so that older caches are not used."""
_COLLECTIONS = ("airdsAirs", "oneills1850", "ryansMammoth")
_TUNE = re.compile(r"^X:", re.MULTILINE)


def folk_corpus(tokenizer: Tokenizer, *, progress: Progress | None = None) -> Corpus:
    """Return the tunes of the installed music21, from the cache if possible.

    Repeats are not unfolded. The same tune in two collections or keys is one group.
    """
    return cached_corpus("folk", _RECIPE, tokenizer, lambda: _build(tokenizer, progress))


def tune_names() -> list[str]:
    """Return the names of all tunes, such as "ryansMammoth/LanigansBallJig"."""
    return list(_tunes())


def load_tune(name: str) -> "symusic.Score":
    """Read one tune.

    Args:
        name: A name from `tune_names`.

    Raises:
        InputError: If there is no such tune, or it cannot be read.
    """
    from rwkv_music.score import score_from_bytes

    tunes = _tunes()
    if name not in tunes:
        raise InputError(
            f"there is no tune '{name}' in the installed music21; the names are like "
            "'ryansMammoth/LanigansBallJig': see rwkv_music.data.corpora.folk.tune_names()"
        )
    return score_from_bytes(tunes[name].encode(), name=f"{name}.abc")


def _build(tokenizer: Tokenizer, progress: Progress | None) -> Corpus:
    ids: dict[str, Ids] = {}
    prints: dict[str, Fingerprint] = {}
    skipped: dict[str, str] = {}
    names = tune_names()
    for done, name in enumerate(names, start=1):
        try:
            score = load_tune(name)
            ids[name], prints[name] = tokenizer.encode(score), fingerprint(score)
        except InputError as error:
            skipped[name] = f"{name}: {error}"
        if progress is not None:
            progress(done, len(names), name)
    hashes = {name: hashlib.sha256(tune.tobytes()).hexdigest() for name, tune in ids.items()}
    groups = group_near_duplicates(hashes, prints)
    pieces = tuple(Piece(name, tune, groups[name]) for name, tune in ids.items())
    return Corpus("folk", pieces, tokenizer.settings, skipped)


@cache
def _tunes() -> dict[str, str]:
    """Return the ABC text of each tune, with the header of its file."""
    return {
        name: text
        for collection in _COLLECTIONS
        for path in sorted((_music21_folder() / "corpus" / collection).glob("*.abc"))
        for name, text in _split(path, collection)
    }


def _music21_folder() -> Path:
    """Return the folder of music21 without importing it, which takes seconds."""
    spec = util.find_spec("music21")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def _split(path: Path, collection: str) -> Iterator[tuple[str, str]]:
    text = path.read_text(encoding="utf-8", errors="replace")
    head, *tunes = _TUNE.split(text)
    for tune in tunes:
        tune_number = tune.splitlines()[0].strip()
        name = path.stem if len(tunes) == 1 else f"{path.stem}-{tune_number}"
        yield f"{collection}/{name}", f"{head}X:{tune}"
