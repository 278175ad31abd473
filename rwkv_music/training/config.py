"""The settings of one training run, and the presets people start from."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from rwkv_music.errors import InputError
from rwkv_music.training.optimizer import OPTIMIZERS
from rwkv_music.training.presets import PRESETS
from rwkv_music.training.schedule import SCHEDULES

HEAD_SIZE = 64
PRECISIONS = ("float32", "bfloat16")
SHARDINGS = ("none", "fsdp")
TRACKERS = ("auto", "none", "tensorboard", "wandb")
_SHORT_PRECISIONS = {"fp32": "float32", "bf16": "bfloat16"}


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingConfig:
    """Everything needed to repeat a run, checked when it is made.

    The defaults are the preset `small`, which made the shipped model.

    Example:
        >>> TrainingConfig.preset("tiny", corpus="bach", out="runs/try").steps
        40
    """

    corpus: str
    """"bach", or a folder of MIDI files."""
    out: str
    """The run directory to make; one that holds a run already is refused."""
    init: str = ""
    """The model whose weights to begin with: a shipped one's name, a run directory or a file, of
    the same sizes and tokenizer; "" for new ones."""
    seed: int = 0
    """Fixes initial weights, data order, augmentation and dropout."""
    device: str = "auto"
    """"auto", "cpu", "cuda" or "mps"."""
    precision: str = "float32"
    """Of the matrix products, "float32" or "bfloat16" ("bf16" for short); weights, states and sums
    stay float32."""
    checkpointing: bool = False
    """Keep each layer's inputs alone for the backward and compute the rest again: a fraction of the
    memory for a third more time. The gradients stay the same."""
    steps: int = 1200
    """Optimizer steps to take."""
    num_layers: int = 4
    width: int = 192
    """Channels of the model: a multiple of the head size, 64."""
    dropout: float = 0.1
    """Share of each mixing's outputs dropped while training: more for less music, 0 for a lot."""
    label_smoothing: float = 0.0
    """Share of each target spread over the vocabulary; 0.05 to 0.1 calms a model of little music.
    Losses are always told without it."""
    logit_penalty: float = 0.0
    """Of L2Wrap, which holds the largest logits near zero; 1e-4 is usual, 0 leaves it out."""
    prompt_bars: int = 4
    """Bars given at most."""
    completion_bars: int = 8
    """Bars to complete at most; only their tokens are scored."""
    batch_size: int = 8
    """Windows in a batch, or rows with `carry_state`; of all processes together."""
    carry_state: bool = False
    """Read whole pieces instead of windows, the state going from step to step: every token is
    scored, and a token can be learnt from what came any time before. For long pieces."""
    context_length: int = 1024
    """Tokens of a row in one step with `carry_state`; gradients reach back so far."""
    accumulation: int = 1
    """Batches whose gradients are added up for one step: a large batch in the memory of a small."""
    learning_rate: float = 2e-3
    """Peak learning rate, reached when the warm-up ends; it falls to a tenth in the end."""
    schedule: str = "cosine"
    """How it falls: "cosine", or "wsd", which stays at the peak and falls only near the end."""
    decay_share: float = 0.2
    """Share of the steps in which "wsd" falls."""
    warmup_steps: int = 50
    """Steps over which the learning rate rises linearly from zero."""
    weight_decay: float = 0.1
    optimizer: str = "adamw"
    """"adamw", or "adafactor", which keeps a row and a column of squares for each matrix instead of
    two numbers per weight."""
    clip: float = 1.0
    """Largest norm of the whole gradient."""
    valid_share: float = 0.1
    """Share of the groups of pieces that are held out; a token store has one of its own."""
    evaluate_every: int = 150
    """Steps between two looks at the held-out pieces, each with a checkpoint and samples."""
    save_every: int = 0
    """Steps between two checkpoints besides those; 0 for none."""
    keep_checkpoints: int = 2
    """Newest checkpoints to keep, each with what is needed to go on; the best is kept besides."""
    early_stop: int = 0
    """End after so many looks without a better one; 0 never does."""
    augmentation: bool = True
    """Show each window in another key, tempo, loudness and, where all pitched parts are one
    instrument, now and then on another."""
    drop_parts: float = 0.0
    """Share of windows of several parts that lose one of them, besides; needs `augmentation`."""
    sample_prompts: int = 2
    """Held-out prompts that are completed at every look, or fewer if there are fewer pieces."""
    sharding: str = "none"
    """Of a run in several processes: "none", each has the whole model; or "fsdp", each has a part
    of every parameter, of its gradient and of what the optimizer keeps."""
    track: str = "auto"
    """Who is told of the metrics besides metrics.jsonl: "none", "tensorboard" (in the run
    directory), or "wandb". "auto" is TensorBoard where it is installed and several processes train,
    else none."""

    def __post_init__(self) -> None:
        precision = _SHORT_PRECISIONS.get(self.precision, self.precision)
        object.__setattr__(self, "precision", precision)
        for names, fits, limit in _LIMITS:
            for name in names:
                if not fits(getattr(self, name)):
                    raise InputError(f"{name} must be {limit}, got {getattr(self, name)}")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise InputError(f"{name} must be one of {choices}, got '{getattr(self, name)}'")
        if self.width % HEAD_SIZE:
            raise InputError(
                f"width must be a multiple of {HEAD_SIZE} (the head size), got {self.width}"
            )
        if self.drop_parts and not self.augmentation:
            raise InputError(
                f"drop_parts is {self.drop_parts}, but without augmentation no part is left out: "
                "set it to 0, or augmentation to True"
            )
        if not 0 <= self.warmup_steps < self.steps:
            raise InputError(
                f"warmup_steps must be in [0, steps), got {self.warmup_steps} with "
                f"steps={self.steps}; the learning rate would never reach its peak"
            )

    @classmethod
    def preset(cls, name: str, **settings: Any) -> "TrainingConfig":  # noqa: ANN401
        """A preset's settings, some of them changed.

        Args:
            name: One of `PRESETS`.
            settings: What to change; a value of None leaves the preset's own.

        Raises:
            InputError: If there is no such preset.
        """
        if name not in PRESETS:
            raise InputError(f"there is no preset '{name}': choose one of {', '.join(PRESETS)}")
        given = {key: value for key, value in settings.items() if value is not None}
        return cls(**{**PRESETS[name], **given})

    @property
    def out_path(self) -> Path:
        """The run directory."""
        return Path(self.out)

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain values, for config.json."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TrainingConfig":
        """The settings back from config.json.

        Raises:
            InputError: If a name is unknown, as in a run directory of another version.
        """
        unknown = sorted(set(values) - {each.name for each in fields(cls)})
        if unknown:
            raise InputError(
                f"unknown training setting '{unknown[0]}': the run was made by another version of "
                "rwkv-music; install that one, or start a new run"
            )
        return cls(**values)


_LIMITS: tuple[tuple[tuple[str, ...], Callable[[float], bool], str], ...] = (
    (
        (
            "steps", "num_layers", "width", "prompt_bars", "completion_bars", "batch_size",
            "accumulation", "context_length", "learning_rate", "clip", "evaluate_every",
            "keep_checkpoints",
        ),
        lambda value: value > 0,
        "above 0",
    ),
    (
        ("weight_decay", "logit_penalty", "save_every", "early_stop", "sample_prompts"),
        lambda value: value >= 0,
        "at least 0",
    ),
    (("dropout", "label_smoothing", "drop_parts"), lambda value: 0 <= value < 1, "in [0, 1)"),
    (("valid_share",), lambda value: 0 < value < 1, "in (0, 1)"),
    (("decay_share",), lambda value: 0 < value <= 1, "in (0, 1]"),
)  # fmt: skip
"""Names of numbers, whether one is within their limits, and the limits in words."""

_CHOICES = {
    "precision": PRECISIONS, "schedule": SCHEDULES, "optimizer": OPTIMIZERS,
    "sharding": SHARDINGS, "track": TRACKERS,
}  # fmt: skip
