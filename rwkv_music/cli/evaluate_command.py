"""`rwkv-music evaluate`: figures of models on music that they have not seen."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rwkv_music.atomic import write_atomic
from rwkv_music.cli.options import add_command, add_settings, given_settings
from rwkv_music.cli.paths import make_folder
from rwkv_music.cli.terminal import file_bar, print_message, print_result
from rwkv_music.errors import InputError, write_errors
from rwkv_music.evaluation.comparison.evaluation_settings import EvaluationSettings
from rwkv_music.settings import declared_settings

if TYPE_CHECKING:
    from rwkv_music.evaluation.copying import CopyIndex
    from rwkv_music.model import MusicModel

_MOST_TRAINING_PIECES = 1000
"""Pieces of the training stores that are searched for copies, evenly spaced."""


def add_parser(commands: Any) -> None:  # noqa: ANN401 - argparse's own
    """Describe the command."""
    parser = add_command(
        commands,
        "evaluate",
        run,
        summary="Measure how well models continue the music in FOLDER: likelihood by layout, and "
        "figures of continuations beside what really follows.",
        example="rwkv-music evaluate midi/ --model runs/mine --model pop -o evaluation/",
    )
    parser.add_argument(
        "folders",
        metavar="FOLDER",
        nargs="+",
        help="music files, or subfolders of them: one set each; of token stores, bach and folk, "
        "the held-out pieces",
    )
    parser.add_argument(
        "--model",
        action="append",
        required=True,
        metavar="NAME|PATH",
        help="a shipped model, a run directory or a checkpoint; may be given several times",
    )
    parser.add_argument(
        "-o", "--output", metavar="FOLDER", type=Path, help="folder for report, table and pictures"
    )
    parser.add_argument(
        "--held-out",
        action="store_true",
        help="of FOLDER, use only what a run on it holds out for evaluation",
    )
    parser.add_argument(
        "--train",
        nargs="+",
        metavar="STORE",
        help="training stores or folders to search for copies",
    )
    add_settings(parser, declared_settings(EvaluationSettings))


def run(given: argparse.Namespace) -> int:
    """Evaluate, print the tables, and write the report."""
    from rwkv_music.evaluation.comparison.evaluation_page import CandidatePage
    from rwkv_music.evaluation.comparison.evaluation_sets import evaluation_sets
    from rwkv_music.evaluation.comparison.evaluation_tables import evaluation_tables
    from rwkv_music.evaluation.comparison.model_evaluation import evaluate_models

    settings = EvaluationSettings(**given_settings(given, declared_settings(EvaluationSettings)))
    models = _models(given.model)
    tokenizer = next(iter(models.values())).tokenizer
    if given.output is not None:
        make_folder(given.output)
    with file_bar("reading") as on_file:
        sets = evaluation_sets(
            given.folders, tokenizer, held_out_only=given.held_out, progress=on_file
        )
    page = CandidatePage()
    results = evaluate_models(
        models,
        sets,
        settings=settings,
        copy_index=_copy_index(given.train, next(iter(models.values()))),
        on_progress=lambda text: print_message(f"{text} ..."),
        on_candidate=page.add,
    )
    tables = evaluation_tables(results)
    print_result(tables)
    if given.output is not None:
        report = {"options": _options(given) | asdict(settings), "sets": results}
        with write_errors(given.output):
            write_atomic(
                given.output / "report.json", (json.dumps(report, indent=1) + "\n").encode()
            )
            write_atomic(given.output / "report.md", tables.encode())
            page.write(given.output)
        print_result(f"report.json, report.md and index.html are in {given.output}")
    return 0


def _models(sources: list[str]) -> "dict[str, MusicModel]":
    from rwkv_music.model import load_model

    names = [Path(source).stem if Path(source).suffix else source for source in sources]
    unique = names if len(set(names)) == len(names) else sources
    if len(set(unique)) < len(unique):
        raise InputError(f"a model is given twice: {', '.join(sources)}")
    return {name: load_model(source) for name, source in zip(unique, sources, strict=True)}


def _copy_index(sources: list[str] | None, model: "MusicModel") -> "CopyIndex | None":
    """Index training pieces, or evenly spaced ones of many."""
    from rwkv_music.data import load_corpus, split_corpus
    from rwkv_music.data.corpora.corpus_list import corpora_text
    from rwkv_music.evaluation.copying import CopyIndex

    if not sources:
        return None
    train, _ = split_corpus(load_corpus(corpora_text(sources), model.tokenizer))
    step = max(1, -(-len(train) // _MOST_TRAINING_PIECES))
    return CopyIndex(model.tokenizer.decode(piece.ids) for piece in train[::step])


def _options(given: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(given, name) for name in ("folders", "model", "held_out", "train")}
