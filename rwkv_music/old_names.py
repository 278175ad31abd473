"""Names that earlier versions wrote into files or accepted from users, and the names of today.

Whatever reads checkpoints, stores or run directories passes their keys through `renamed`; the
command line accepts the old names of settings as flags.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

Value = TypeVar("Value")

SETTINGS = {
    "accumulation": "gradient_accumulation_steps",
    "checkpointing": "activation_checkpointing",
    "clip": "max_grad_norm",
    "decay_share": "decay_fraction",
    "early_stop": "early_stopping_patience",
    "track": "logger",
    "valid_share": "valid_fraction",
    "withheld": "held_out",
    "width": "dim",
}
"""Training settings in a run's config.json."""

TOKENIZER_SETTINGS = {"ticks_per_quarter": "steps_per_quarter", "slots": "max_parts"}
"""Settings of the tokenizer in checkpoints, token stores and a run's config.json."""

MODEL_SIZES = {
    "width": "dim",
    "decay_width": "decay_low_rank_dim",
    "rate_width": "a_low_rank_dim",
    "value_width": "v_low_rank_dim",
    "gate_width": "gate_low_rank_dim",
}
"""Sizes of the model in checkpoints and in a run's config.json."""

TOKEN_TYPES = {"TEMPOF": "TEMPO_FRACTION", "SLOT": "PART", "SUB": "SUBBEAT"}
"""Token types in the losses of metrics.jsonl and of a run's config.json."""

SESSION_NODES = {"seam": "continuation_start"}
"""Keys of a node in session.json."""

CORPUS_SUMMARY = {"set_aside": "skipped"}
"""Keys of `corpus` in a run's config.json."""

RUN_SAMPLES = {"seam_tick": "continuation_start"}
"""Keys of each entry of `samples` in a run's config.json."""

BASELINE = {"by_kind": "by_type"}
"""Keys of each entry of `baselines` in a run's config.json."""

STORE_INFO = {"valid_share": "valid_fraction", "set_aside": "skipped", "mended": "repaired"}
"""Keys of a token store's store.json."""

STORE_RECORDS = {"side": "split", "mended": "repairs"}
"""Keys of the lines of a token store's progress log."""

STORE_FILES = {
    "journal.jsonl": "progress.jsonl",
    "set_aside.txt": "skipped.txt",
    "mended.txt": "repaired.txt",
}
"""Files of a token store."""

CHECKPOINT_FACTS = {"best": "early_stopping", "look_is_due": "evaluation_is_due"}
"""Values that a training file holds besides its tensors."""

EARLY_STOPPING = {"looks_since": "evaluations_since_best"}
"""Values of `early_stopping` in a training file."""

STEP_METRICS = {
    "scored_share": "scored_fraction",
    "padding_share": "padding_fraction",
    "loss_by_kind": "loss_by_type",
    "loss_by_kind_valid": "loss_by_type_valid",
}
"""Keys of the lines of metrics.jsonl."""


def renamed(values: Mapping[str, Value], names: Mapping[str, str]) -> dict[str, Value]:
    """Return the values under today's names.

    Example:
        >>> renamed({"ticks_per_quarter": 96, "velocities": 32}, TOKENIZER_SETTINGS)
        {'steps_per_quarter': 96, 'velocities': 32}
    """
    return {names.get(name, name): value for name, value in values.items()}


def renamed_run_config(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's config.json with today's names; damaged entries stay as they are."""
    corpus, baselines, samples = (values.get(key) for key in ("corpus", "baselines", "samples"))
    current = dict(values)
    if isinstance(corpus, dict):
        current["corpus"] = renamed(corpus, CORPUS_SUMMARY)
    if isinstance(baselines, dict):
        current["baselines"] = {
            name: renamed(figures, BASELINE) if isinstance(figures, dict) else figures
            for name, figures in baselines.items()
        }
    if isinstance(samples, list):
        current["samples"] = [
            renamed(sample, RUN_SAMPLES) if isinstance(sample, dict) else sample
            for sample in samples
        ]
    return current
