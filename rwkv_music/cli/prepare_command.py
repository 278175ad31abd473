"""`rwkv-music prepare` and `rwkv-music merge`: encode folders of music into a token store."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rwkv_music.cli.options import (
    add_command,
    add_settings,
    add_tokenizer_options,
    add_unfold_option,
    given_settings,
    tokenizer_of,
    whole_number,
)
from rwkv_music.cli.terminal import file_bar, print_message, print_result
from rwkv_music.data.split_settings import SplitSettings
from rwkv_music.errors import InputError
from rwkv_music.settings import declared_settings

if TYPE_CHECKING:
    from rwkv_music.data.scanning import Shard
    from rwkv_music.data.store.store_info import StoreInfo


_MAX_NAMES = 10
"""Changed files that are listed."""


def add_parser(commands: Any) -> None:  # noqa: ANN401 - argparse's own
    """Describe the commands."""
    _add_prepare(commands)
    _add_merge(commands)


def _add_prepare(commands: Any) -> None:  # noqa: ANN401
    parser = add_command(
        commands,
        "prepare",
        run_prepare,
        summary="Encode every music file in FOLDER into a token store; resumes after a stop.",
        example="rwkv-music prepare midi/ -o stores/mine --workers 8",
    )
    parser.add_argument(
        "folder", metavar="FOLDER", type=Path, help="folder to search, subfolders included"
    )
    _add_output(parser)
    parser.add_argument(
        "--workers",
        type=whole_number(at_least=1),
        metavar="N",
        help="processes that read files (default: one per core)",
    )
    parser.add_argument(
        "--shard",
        type=_shard,
        metavar="i/n",
        help="prepare only the i-th of n parts, counted from 0; join them with merge",
    )
    add_settings(parser, declared_settings(SplitSettings))
    add_unfold_option(parser)
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
    """Prepare the folder and report the result."""
    from rwkv_music.data.store.prepare import prepare_store

    tokenizer = tokenizer_of(given)
    split = SplitSettings(**given_settings(given, declared_settings(SplitSettings)))
    try:
        with file_bar("preparing") as on_file:
            prepared = prepare_store(
                given.folder,
                given.output,
                tokenizer=tokenizer,
                workers=given.workers,
                shard=given.shard,
                valid_fraction=split.valid_fraction,
                unfold_repeats=given.unfold_repeats,
                progress=on_file,
            )
    except KeyboardInterrupt:
        print_message("finished files are kept: run the same command again to resume")
        raise
    if prepared.unchanged:
        print_message(f"{_files(prepared.unchanged)} already in the store")
    for name in prepared.changed[:_MAX_NAMES]:
        print_message(f"changed since it was encoded, kept as it was: {name}")
    if len(prepared.changed) > _MAX_NAMES:
        more = len(prepared.changed) - _MAX_NAMES
        print_message(f"and {more} more; to encode them again, choose another store")
    _report(given.output, prepared.info)
    return 0


def run_merge(given: argparse.Namespace) -> int:
    """Merge the stores and report the result."""
    from rwkv_music.data.store.merge import merge_stores

    with file_bar("merging") as on_file:
        info = merge_stores(given.stores, given.output, progress=on_file)
    _report(given.output, info)
    return 0


def _report(store: Path, info: "StoreInfo") -> None:
    from rwkv_music.data.store.store_info import REPAIRED_NAME, SKIPPED_NAME

    sides = ", ".join(
        f"{info.pieces[side]:,} pieces and {info.tokens[side]:,} tokens to {purpose}"
        for side, purpose in (("train", "train on"), ("valid", "hold out"))
    )
    print_result(f"{store}: {sides}")
    if not info.pieces["valid"]:
        print_result("too few pieces to hold one out: training will choose one; add more files")
    if info.copies:
        print_result(f"{info.copies:,} of them have the same content as another one")
    if info.repaired:
        print_result(f"{_files(info.repaired)} repaired, listed in {store / REPAIRED_NAME}")
    if info.skipped:
        print_result(f"{_files(info.skipped)} skipped, listed in {store / SKIPPED_NAME}")


def _files(count: int) -> str:
    return f"{count:,} file{'' if count == 1 else 's'}"
