"""`rwkv-music prepare` and `rwkv-music merge`: from folders of music to a token store."""

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rwkv_music.cli.options import (
    add_command,
    add_tokenizer_options,
    number,
    tokenizer_of,
    whole_number,
)
from rwkv_music.errors import InputError

if TYPE_CHECKING:
    from rwkv_music.data.scanning import Shard
    from rwkv_music.data.store.store_info import StoreInfo


def add_parser(commands: Any) -> None:  # noqa: ANN401 - argparse's own
    """Describe the commands."""
    _add_prepare(commands)
    _add_merge(commands)


def _add_prepare(commands: Any) -> None:  # noqa: ANN401
    parser = add_command(
        commands,
        "prepare",
        run_prepare,
        summary="Encode every music file in FOLDER into a token store; interrupted, it goes on.",
        example="rwkv-music prepare midi/ -o stores/mine --workers 8",
    )
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="searched with its subfolders")
    _add_output(parser)
    parser.add_argument(
        "--workers",
        type=whole_number(at_least=1),
        metavar="N",
        help="processes that read files (default: as many as there are cores)",
    )
    parser.add_argument(
        "--shard",
        type=_shard,
        metavar="i/n",
        help="prepare the i-th of n shares only, counted from 0; merge joins them",
    )
    parser.add_argument(
        "--valid-fraction",
        type=number(above=0, at_most=0.9),
        default=0.1,
        metavar="P",
        help="fraction of the distinct pieces to hold out (default: %(default)s)",
    )
    add_tokenizer_options(parser)


def _add_merge(commands: Any) -> None:  # noqa: ANN401
    parser = add_command(
        commands,
        "merge",
        run_merge,
        summary="Join token stores into one, as if their files had been prepared together.",
        example="rwkv-music merge stores/shard-0 stores/shard-1 -o stores/all",
    )
    parser.add_argument("stores", metavar="STORE", type=Path, nargs="+", help="finished stores")
    _add_output(parser)


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o", "--output", metavar="STORE", type=Path, required=True, help="the store to make"
    )


def _shard(text: str) -> "Shard":
    from rwkv_music.data.scanning import Shard

    try:
        return Shard.parse(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def run_prepare(given: argparse.Namespace) -> int:
    """Prepare the folder, and say what came of it."""
    from rwkv_music.data.store.prepare import prepare_store

    tokenizer = tokenizer_of(given)
    try:
        with _bar("preparing") as on_file:
            prepared = prepare_store(
                given.folder,
                given.output,
                tokenizer=tokenizer,
                workers=given.workers,
                shard=given.shard,
                valid_share=given.valid_fraction,
                progress=on_file,
            )
    except KeyboardInterrupt:
        print(
            "what is done is kept: the same command goes on from where it stopped", file=sys.stderr
        )
        raise
    if prepared.already_there:
        print(f"{_files(prepared.already_there)} in the store already", file=sys.stderr)
    for name in prepared.changed[:10]:
        print(f"kept as it was before the file changed: {_shown(name)}", file=sys.stderr)
    if len(prepared.changed) > 10:
        print(f"and {len(prepared.changed) - 10} more; for all anew, name another store",
              file=sys.stderr)  # fmt: skip
    _tell(given.output, prepared.info)
    return 0


def run_merge(given: argparse.Namespace) -> int:
    """Join the stores, and say what came of it."""
    from rwkv_music.data.store.merge import merge_stores

    with _bar("merging") as on_file:
        info = merge_stores(given.stores, given.output, progress=on_file)
    _tell(given.output, info)
    return 0


@contextmanager
def _bar(word: str) -> Iterator[Callable[[int, int, str], None]]:
    """A progress bar on stderr with the time that is left."""
    from tqdm import tqdm

    with tqdm(desc=word, unit="file", smoothing=0.05) as bar:
        bar.leave = False  # an error before the first file leaves no empty bar behind

        def on_file(done: int, total: int, _name: str) -> None:
            bar.leave, bar.total = True, total
            bar.update(done - bar.n)

        yield on_file


def _tell(store: Path, info: "StoreInfo") -> None:
    from rwkv_music.data.store.store_info import MENDED_NAME, SET_ASIDE_NAME

    sides = ", ".join(
        f"{info.pieces[side]:,} pieces and {info.tokens[side]:,} tokens to {purpose}"
        for side, purpose in (("train", "train on"), ("valid", "hold out"))
    )
    print(f"{store}: {sides}")
    if not info.pieces["valid"]:
        print("of so few none is held out yet: training chooses one, more files change that")
    if info.copies:
        print(f"{info.copies:,} of them have the same content as another one")
    if info.mended:
        print(f"{_files(info.mended)} mended, listed in {store / MENDED_NAME}")
    if info.set_aside:
        print(f"{_files(info.set_aside)} set aside, listed in {store / SET_ASIDE_NAME}")


def _files(number: int) -> str:
    return f"{number:,} file{'' if number == 1 else 's'}"


def _shown(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()
