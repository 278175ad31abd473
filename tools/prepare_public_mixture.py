"""Prepare the token stores of the public mixture, on which the shipped model `general` is trained.

    python tools/prepare_public_mixture.py DATA stores/public

DATA is a folder with the data sets below, each in a folder of its own. Only music in the public
domain or under CC0, CC BY, MIT or BSD is used. Every store gets an `about.json` with its licence,
attribution and the works that its pieces belong to. Stores that are finished already are kept, so
that an interrupted call can be repeated. The last line is the setting `corpus` of the mixture.
"""

import argparse
import csv
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rwkv_music.data import Piece, Store, prepare_store
from rwkv_music.data.corpora.about import CorpusAbout, write_about
from rwkv_music.data.corpora.corpus_list import WeightedSource, corpora_text
from rwkv_music.data.corpora.set_summaries import num_notes

ALLOWED = ("CC0", "CC BY ", "MIT", "BSD", "public domain")
_MOVEMENT = re.compile(r"^(?P<work>.*?--\d+[a-z]?)-\d+[a-z]?_")
_CHOPIN_OPUS = re.compile(r"^(?P<work>[0-9]+[a-z]?)-")


@dataclass(frozen=True, kw_only=True)
class PublicSet:
    """One data set of the mixture."""

    name: str
    """Name of its store."""
    folder: str
    """Its folder in DATA."""
    weight: float
    title: str
    licence: str
    attribution: str
    url: str
    work_of: Callable[[Path, str], str | None] = lambda _folder, _name: None
    """Returns the work that a file belongs to, or None."""


def work_by(pattern: re.Pattern[str]) -> Callable[[Path, str], str | None]:
    """Return a function that finds the work of a piece in its file name."""

    def work(_folder: Path, name: str) -> str | None:
        match = pattern.match(name)
        return match["work"] if match else None

    return work


def song_of(folder: Path, name: str) -> str | None:
    """Return composer and title of an OpenScore song, which may be there in several keys."""
    return _songs(folder).get(name)


@cache
def _songs(folder: Path) -> dict[str, str]:
    with (folder / "index.csv").open(encoding="utf-8", newline="") as lines:
        return {row["file"]: f"{row['composer']}: {row['song']}" for row in csv.DictReader(lines)}


SETS = (
    PublicSet(
        name="pop909", folder="pop909", weight=2, title="POP909", licence="MIT",
        attribution="POP909, Wang et al., ISMIR 2020, Music X Lab",
        url="https://github.com/music-x-lab/POP909-Dataset",
    ),
    PublicSet(
        name="lieder", folder="openscore_lieder", weight=2, title="OpenScore Lieder Corpus",
        licence="CC0 1.0", attribution="OpenScore Lieder Corpus",
        url="https://github.com/OpenScore/Lieder", work_of=song_of,
    ),
    PublicSet(
        name="quartets", folder="openscore_quartets", weight=1, title="OpenScore String Quartets",
        licence="CC0 1.0", attribution="OpenScore String Quartet Corpus",
        url="https://github.com/OpenScore/StringQuartets",
    ),
    PublicSet(
        name="chopin", folder="chopin_first_editions", weight=1,
        title="First Editions of Fryderyk Chopin's Music", licence="CC BY 4.0",
        attribution="First Editions of Fryderyk Chopin's Music, Copyright 2017-2021 The Fryderyk "
        "Chopin Institute (https://nifc.pl)",
        url="https://github.com/pl-wnifc/humdrum-chopin-first-editions",
        work_of=work_by(_CHOPIN_OPUS),
    ),
    PublicSet(
        name="freedoom", folder="freedoom", weight=1, title="Freedoom", licence="BSD-3-Clause",
        attribution="Copyright 2001-2024 Contributors to the Freedoom project; composers in its "
        "CREDITS-MUSIC",
        url="https://github.com/freedoom/freedoom",
    ),
    PublicSet(
        name="groove", folder="groove", weight=1, title="Groove MIDI Dataset", licence="CC BY 4.0",
        attribution="Groove MIDI Dataset, Gillick et al. 2019, Google LLC",
        url="https://magenta.withgoogle.com/datasets/groove",
    ),
    PublicSet(
        name="polish", folder="polish_scores", weight=3,
        title="Polish Music Heritage in Open Access", licence="CC BY 4.0",
        attribution="Polish Music Heritage in Open Access, Copyright 2019-2022 The Fryderyk Chopin "
        "Institute (https://nifc.pl)",
        url="https://github.com/pl-wnifc/humdrum-polish-scores", work_of=work_by(_MOVEMENT),
    ),
    PublicSet(
        name="mutopia", folder="mutopia", weight=1, title="Mutopia Project",
        licence="public domain, CC BY 3.0 and 4.0",
        attribution="Mutopia Project, www.mutopiaproject.org; maintainers as listed in its index",
        url="https://www.mutopiaproject.org",
    ),
)  # fmt: skip
"""The sets, each with the weight at which `general` was trained."""


def main() -> None:
    """Prepare every set and print what is in it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--workers", type=int, help="processes that read files")
    given = parser.parse_args()
    print("| set | licence | pieces | held out | notes | tokens |")
    print("|-|-|-:|-:|-:|-:|")
    for public in SETS:
        assert public.licence.startswith(ALLOWED), public
        folder = given.data / public.folder
        music = aligned_pop909(folder, given.output) if public.name == "pop909" else folder
        store = given.output / public.name
        prepare_store(music, store, workers=given.workers)
        write_about(about(public, folder, store), store)
        print(row(public, Store(store)), flush=True)
    entries = [WeightedSource(str(given.output / member.name), member.weight) for member in SETS]
    print(f"\n{corpora_text(entries)}")


def aligned_pop909(folder: Path, output: Path) -> Path:
    """Return the folder of the songs on their bar lines, made by `align_pop909.py`."""
    aligned = output / "aligned" / "pop909"
    if not (aligned / "as_stored").is_dir():
        tool = Path(__file__).with_name("align_pop909.py")
        command = [sys.executable, str(tool), str(folder), str(aligned)]
        subprocess.run(command, check=True, stdout=sys.stderr)
    return aligned


def about(public: PublicSet, folder: Path, store: Path) -> CorpusAbout:
    """Return what the store says about its music."""
    works = ((piece.name, public.work_of(folder, piece.name)) for piece in pieces_of(Store(store)))
    return CorpusAbout(
        title=public.title,
        licence=public.licence,
        attribution=public.attribution,
        url=public.url,
        works={name: work for name, work in works if work},
    )


def row(public: PublicSet, store: Store) -> str:
    """Return a set as a row of the table."""
    notes = sum(num_notes(piece, store.tokenizer.vocabulary) for piece in pieces_of(store))
    pieces, tokens = (sum(counts.values()) for counts in (store.info.pieces, store.info.tokens))
    numbers = (pieces, len(store.valid), notes, tokens)
    cells = [
        f"[{public.title}]({public.url})",
        public.licence,
        *(f"{count:,}" for count in numbers),
    ]
    return f"| {' | '.join(cells)} |"


def pieces_of(store: Store) -> tuple[Piece, ...]:
    """Return all pieces of a store."""
    return (*store.train, *store.valid)


if __name__ == "__main__":
    main()
