"""The settings of one training run, each declared once, in six groups."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from rwkv_music.data.layout_config import LayoutConfig
from rwkv_music.data.split_settings import SplitSettings
from rwkv_music.errors import InputError
from rwkv_music.old_names import SETTINGS, renamed
from rwkv_music.settings import Setting, SettingsGroup, declared_settings, setting, settings_code
from rwkv_music.training.presets import PRESETS

HEAD_SIZE = 64
OPTIMIZERS = ("adamw", "adafactor")
PRECISIONS = ("float32", "bfloat16")
SCHEDULES = ("cosine", "wsd")
_PRECISION_SYNONYMS = {"fp32": "float32", "bf16": "bfloat16"}


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig(SplitSettings):
    """Music to train on, and how it is cut into batches."""

    corpus: str = setting(
        help='"bach" or "folk" (chorales or fiddle tunes in the installed music21), a folder of '
        "music files, or a token store; or several of them, separated by spaces. A weight after a "
        "name (stores/pop=2) sets how many windows come from it, relative to the others (1 if left "
        "out). Quote a name that contains spaces.",
        metavar="CORPUS",
    )
    unfold_repeats: bool = setting(
        default=False,
        help="Play the repeats and endings of notation files in a folder; a token store has been "
        "prepared with or without.",
    )
    prompt_bars: int = setting(4, minimum=1, help="Most bars of a prompt.")
    completion_bars: int = setting(
        8, minimum=1, help="Most bars to complete; only their tokens are scored."
    )
    batch_size: int = setting(
        8,
        minimum=1,
        help="Windows in a batch, or rows with `carry_state`, over all processes together.",
    )
    carry_state: bool = setting(
        default=False,
        help="Read whole pieces instead of windows, carrying the state from step to step; every "
        "token is scored. For long pieces.",
    )
    context_length: int = setting(
        1024, minimum=1, help="Tokens per row and step with `carry_state`; gradients stop there."
    )
    augmentation: bool = setting(
        default=True,
        help="Vary key, tempo and loudness of each window, and now and then the instrument where "
        "all pitched parts share one.",
    )
    drop_parts: float = setting(
        0.0,
        minimum=0,
        below=1,
        help="Fraction of the windows with several parts that lose one of them; needs "
        "`augmentation`.",
    )
    hole_fraction: float = setting(
        0.0,
        minimum=0,
        maximum=1,
        help="Fraction of the windows in which bars and parts between others are to be written, "
        "instead of the bars at the end; not with `carry_state`.",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSizes(SettingsGroup):
    """Size of the model, and the weights it starts with."""

    num_layers: int = setting(4, minimum=1, help="Number of layers.")
    dim: int = setting(
        192,
        minimum=1,
        multiple_of=HEAD_SIZE,
        help="Channels of the model: a multiple of the head size, 64.",
    )
    dropout: float = setting(
        0.1,
        minimum=0,
        below=1,
        help="Dropout of each layer's outputs: more for little music, 0 for a lot.",
    )
    init: str = setting(
        "",
        metavar="MODEL",
        help="Start with the weights of another model of the same sizes and tokenizer: a shipped "
        "model's name, a run directory or a file. New weights if empty.",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimizerConfig(SettingsGroup):
    """Loss, optimizer and learning rate."""

    optimizer: str = setting(
        "adamw",
        choices=OPTIMIZERS,
        help="adafactor keeps a row and a column of squares per matrix instead of two numbers per "
        "weight.",
    )
    learning_rate: float = setting(
        2e-3,
        above=0,
        help="Peak learning rate, reached at the end of the warm-up; it decays to a tenth.",
    )
    schedule: str = setting(
        "cosine",
        choices=SCHEDULES,
        help="How the learning rate decays: along a cosine, or (wsd) only near the end.",
    )
    warmup_steps: int = setting(
        50, minimum=0, help="Steps over which the learning rate rises linearly from zero."
    )
    decay_fraction: float = setting(
        0.2, above=0, maximum=1, help='Fraction of the steps over which "wsd" decays.'
    )
    weight_decay: float = setting(0.1, minimum=0, help="Weight decay of the matrices.")
    max_grad_norm: float = setting(
        1.0, above=0, help="Gradients of a larger total norm are scaled down to it."
    )
    gradient_accumulation_steps: int = setting(
        1,
        minimum=1,
        help="Batches whose gradients are summed for one step: a large batch in little memory.",
    )
    label_smoothing: float = setting(
        0.0,
        minimum=0,
        below=1,
        help="Fraction of each target spread over the vocabulary; 0.05 to 0.1 for little music. "
        "Reported losses leave it out.",
    )
    logit_penalty: float = setting(
        0.0,
        minimum=0,
        help="Factor of L2Wrap, which keeps the largest logits near zero; 1e-4 is usual.",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig(SettingsGroup):
    """Length of the run, and what it writes when."""

    out: str = setting(help="Run directory to create.", metavar="RUN")
    steps: int = setting(1200, minimum=1, help="Optimizer steps to take.")
    seed: int = setting(
        0, minimum=0, help="Seed of the initial weights, data order, augmentation and dropout."
    )
    evaluate_every: int = setting(
        150,
        minimum=1,
        help="Steps between evaluations on the held-out pieces, each with a checkpoint and "
        "samples.",
    )
    save_every: int = setting(
        0, minimum=0, help="Steps between additional checkpoints; 0 for none."
    )
    keep_checkpoints: int = setting(
        2,
        minimum=1,
        help="Newest checkpoints to keep, each with what is needed to resume; the best model is "
        "always kept.",
    )
    early_stopping_patience: int = setting(
        0, minimum=0, help="Stop after this many evaluations without improvement; 0 for never."
    )
    sample_prompts: int = setting(
        2, minimum=0, help="Held-out prompts to complete at each evaluation."
    )
    logger: str = setting(
        "auto",
        choices=("auto", "none", "tensorboard", "wandb"),
        help="Where metrics go besides metrics.jsonl. auto is TensorBoard where several processes "
        "train and it is installed, else none.",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class HardwareConfig(SettingsGroup):
    """Device, precision and memory."""

    device: str = setting(
        "auto", choices=("auto", "cpu", "cuda", "mps"), help="Device to train on."
    )
    precision: str = setting(
        "float32",
        choices=PRECISIONS,
        synonyms=_PRECISION_SYNONYMS,
        help="Precision of the matrix products (bf16 for short); weights, states and sums stay in "
        "float32.",
    )
    activation_checkpointing: bool = setting(
        default=False,
        help="Keep only each layer's input and recompute the rest in the backward pass: a fraction "
        "of the memory for a third more time. Gradients stay the same.",
    )
    sharding: str = setting(
        "none",
        choices=("none", "fsdp"),
        help="Over several processes: none replicates the model, fsdp shards parameters, gradients "
        "and optimizer state.",
    )


@dataclass(frozen=True, init=False, slots=True)
class TrainingConfig:
    """All settings of a run, checked when they are made.

    The groups are attributes (`config.data.batch_size`). Names are unique over all groups, so that
    settings are given without their group. The defaults are the preset `small`, which made the
    shipped models.

    Args:
        settings: Settings by name; `corpus` and `out` are required.

    Raises:
        InputError: If a setting is missing, unknown or out of range, or two contradict each other.

    Example:
        >>> config = TrainingConfig(corpus="bach", out="runs/try", batch_size=16)
        >>> config.data.batch_size, config.run.steps
        (16, 1200)
    """

    data: DataConfig
    layout: LayoutConfig
    model: ModelSizes
    optimizer: OptimizerConfig
    run: RunConfig
    hardware: HardwareConfig

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401
        declared = training_settings()
        _require_known(settings)
        for name, declaration in declared.items():
            if declaration.is_required and name not in settings:
                raise InputError(f"`{name}` is required: {declaration.help}")
        for name, group in _GROUPS.items():
            values = {key: settings[key] for key in settings if declared[key].group == name}
            object.__setattr__(self, name, group(**values))
        self._check_together()

    def _check_together(self) -> None:
        if self.data.drop_parts and not self.data.augmentation:
            raise InputError(
                f"`drop_parts` is {self.data.drop_parts}, but parts are only dropped by "
                f"augmentation: set {settings_code(drop_parts=0.0)} or "
                f"{settings_code(augmentation=True)}"
            )
        for name in (declared.name for declared in declared_settings(LayoutConfig)):
            if getattr(self.layout, name) and not self.data.augmentation:
                raise InputError(
                    f"`{name}` is {getattr(self.layout, name)}, but layouts are only changed by "
                    f"augmentation: set {settings_code(**{name: 0.0})} or "
                    f"{settings_code(augmentation=True)}"
                )
        if self.optimizer.warmup_steps >= self.run.steps:
            raise InputError(
                f"`warmup_steps` must be in [0, steps), got {self.optimizer.warmup_steps} with "
                f"{settings_code(steps=self.run.steps)}; the learning rate would never reach its "
                "peak"
            )

    def require_trainable_by(self, num_processes: int) -> None:
        """Check that a number of processes can train with these settings.

        Raises:
            InputError: If the batch cannot be divided, or sharding is not possible.
        """
        batch_size = self.data.batch_size
        if batch_size % num_processes:
            divisible = max(1, batch_size // num_processes) * num_processes
            raise InputError(
                f"`batch_size={batch_size}` cannot be divided among {num_processes} processes: "
                f"try `batch_size={divisible}`, or another number of processes"
            )
        sharding = self.hardware.sharding
        if sharding == "none":
            return
        if num_processes == 1:
            raise InputError(
                f"{settings_code(sharding=sharding)} shards a model over several processes, and "
                "there is one: start several "
                "(torchrun --nproc-per-node N -m rwkv_music train ...), or leave it out"
            )
        if self.optimizer.optimizer != "adamw":
            raise InputError(
                f"{settings_code(sharding=sharding)} needs {settings_code(optimizer='adamw')}: "
                f"{self.optimizer.optimizer} needs whole rows and columns"
            )

    @classmethod
    def preset(cls, name: str, **settings: Any) -> "TrainingConfig":  # noqa: ANN401
        """Return a preset's settings, some of them changed.

        Args:
            name: One of `PRESETS`.
            settings: Settings to change, by name; None leaves the preset's value.

        Raises:
            InputError: If there is no such preset, or as in the constructor.
        """
        if name not in PRESETS:
            raise InputError(f"there is no preset '{name}': choose one of {', '.join(PRESETS)}")
        given = {key: value for key, value in settings.items() if value is not None}
        return cls(**{**PRESETS[name], **given})

    def replace(self, **settings: Any) -> "TrainingConfig":  # noqa: ANN401
        """Return a copy with some settings changed, by name."""
        return TrainingConfig(**{**self.flat(), **settings})

    @property
    def out_path(self) -> Path:
        """The run directory."""
        return Path(self.run.out)

    def flat(self) -> dict[str, Any]:
        """Return every setting by its name, without the groups."""
        return {
            name: getattr(getattr(self, declared.group), name)
            for name, declared in training_settings().items()
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain values in their groups, for config.json."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TrainingConfig":
        """Return the settings that `to_dict` wrote, in this version or an earlier one.

        Raises:
            InputError: If a name is unknown, as in a run directory of a later version.
        """
        flat: dict[str, Any] = {}
        for name, value in values.items():
            flat.update(value if isinstance(value, Mapping) else {name: value})
        flat = renamed(flat, SETTINGS)
        unknown = sorted(set(flat) - set(training_settings()))
        if unknown:
            raise InputError(
                f"unknown training setting '{unknown[0]}': the run was made by another version of "
                "rwkv-music; install that version, or start a new run"
            )
        return cls(**flat)


_GROUPS: dict[str, type[SettingsGroup]] = {
    "data": DataConfig,
    "layout": LayoutConfig,
    "model": ModelSizes,
    "optimizer": OptimizerConfig,
    "run": RunConfig,
    "hardware": HardwareConfig,
}
assert list(_GROUPS) == [group.name for group in fields(TrainingConfig)]


@cache
def training_settings() -> Mapping[str, Setting]:
    """Return the declaration of every training setting by its name."""
    return {
        declared.name: declared
        for name, group in _GROUPS.items()
        for declared in declared_settings(group, name)
    }


def group_titles() -> dict[str, str]:
    """Return one line about each group of settings, by the group's name."""
    return {name: (group.__doc__ or "").splitlines()[0] for name, group in _GROUPS.items()}


def _require_known(settings: Mapping[str, Any]) -> None:
    for name in settings:
        if name not in training_settings():
            current = SETTINGS.get(name)
            remedy = f"it is called `{current}` now" if current else "check its spelling"
            raise InputError(f"there is no training setting '{name}': {remedy}")
