"""Open a run directory: make it, resume the run in it, or start it over."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

from rwkv_music.errors import CheckpointError, InputError
from rwkv_music.old_names import TOKENIZER_SETTINGS, renamed
from rwkv_music.settings import settings_code
from rwkv_music.tokenizer.tokenizer import settings_text as tokenizer_text
from rwkv_music.training.config import TrainingConfig
from rwkv_music.training.run.checkpoints import Checkpoints, SavedState
from rwkv_music.training.run.directory import RunDirectory

_SESSION_SETTINGS = {"out", "device", "sharding", "logger"}
"""Settings that may differ when a run is resumed: they do not change what it computes."""


class RunMode(Enum):
    """How a run directory is used."""

    NEW = "new"
    """The directory was made for this run."""
    RESUME = "resume"
    """The run continues from its newest complete checkpoint."""
    START_OVER = "start over"
    """The run was started before, but has no checkpoint yet."""


class OpenedRun(NamedTuple):
    """A run directory and how it is used."""

    directory: RunDirectory
    mode: RunMode
    is_made_here: bool = False
    """Whether to remove the directory if preparation fails."""
    is_finished: bool = False
    """Whether the run has taken all of its steps already."""


def open_run(
    config: TrainingConfig,
    directory: RunDirectory | None,
    *,
    resume: bool,
    note: Callable[[str], None],
    locks: ExitStack,
) -> OpenedRun:
    """Make a run directory, or find out how to continue the run in it, and lock it.

    Args:
        config: The settings.
        directory: A directory that the caller has made already; otherwise it is made.
        resume: Whether to continue a run that exists.
        note: Receives sentences for the user.
        locks: Holds the lock of the directory until it is closed.

    Raises:
        InputError: If the directory cannot be used, another process trains the run, or the run was
            made with other settings.
    """
    is_given = directory is not None
    directory = directory or RunDirectory(config.out_path)
    is_new = not is_given and not (resume and directory.exists())
    if is_new:
        directory.create()
        if resume:
            note(f"there is no run in {config.run.out} yet: starting from the beginning")
    locks.enter_context(directory.locked())
    if is_new:
        return OpenedRun(directory, RunMode.NEW, is_made_here=True)
    if not resume:
        return OpenedRun(directory, RunMode.NEW)
    return _open_existing(directory, config, note)


def settings_of(path: str | Path, **settings: Any) -> TrainingConfig:  # noqa: ANN401
    """Return the settings of a run, to resume it where its directory is now.

    Args:
        path: The run directory.
        settings: Settings of this session, by name. Only `out`, `device`, `sharding` and `logger`
            may differ from the run's own.

    Raises:
        InputError: If there is no run, it was made by a version whose runs cannot be resumed, or a
            setting differs.
    """
    own = _own_settings(RunDirectory(Path(path)))
    _require_same(path, own, settings)
    return own.replace(**settings, **({} if "out" in settings else {"out": str(path)}))


def newest_checkpoint(
    directory: RunDirectory,
    checkpoints: Checkpoints,
    *,
    tokenizer_settings: Mapping[str, int],
    content_hash: str,
    check: Callable[[SavedState], None],
    note: Callable[[str], None],
) -> SavedState:
    """Return the newest complete checkpoint of a run with this corpus.

    Args:
        directory: The run directory.
        checkpoints: Its checkpoints.
        tokenizer_settings: Of the corpus.
        content_hash: Of the corpus.
        check: Raises a `CheckpointError` for a checkpoint of another model or optimizer.
        note: Receives a sentence for each checkpoint that is passed over.

    Raises:
        InputError: If the corpus is not the run's, or no checkpoint can be read.
    """
    config = resumable_config(directory)
    before = tokenizer_text(renamed(config["tokenizer"], TOKENIZER_SETTINGS))
    now = tokenizer_text(tokenizer_settings)
    if before != now:
        raise InputError(
            f"the corpus has a tokenizer of {now}, the run in {directory.path} was started with "
            f"one of {before}: restore its corpus, or start a new run with another `out`"
        )
    if config["corpus"]["content_sha256"] != content_hash:
        raise InputError(
            f"the corpus {config['corpus']['name']} is not the one that {directory.path} was "
            "started with: restore its files, or start a new run with another `out`"
        )
    damaged: list[int] = []
    for step in reversed(checkpoints.steps()):
        try:
            saved = checkpoints.read(step, tokenizer_settings=tokenizer_settings)
            check(saved)
        except CheckpointError as error:
            _require_readable(step, error.__cause__)
            note(f"the checkpoint of step {step} is passed over: {error}")
            damaged.append(step)
        else:
            for passed_over in damaged:
                checkpoints.rename_damaged(passed_over)
            return saved
    raise InputError(
        f"no checkpoint of {directory.path} can be read: start a new run with another `out`"
    )


def resumable_config(directory: RunDirectory) -> dict[str, Any]:
    """Read config.json and check the entries that resuming needs.

    Raises:
        InputError: If the run cannot be resumed: damaged, or made by an older version.
    """
    config = directory.config()
    if "threads" not in config:
        raise InputError(
            f"{directory.path} was made by an older version, which kept no optimizer state: it can "
            "be watched and its models used, but not resumed; start a new run with another `out`"
        )
    corpus = config.get("corpus")
    is_complete = (
        all(isinstance(config.get(name), dict) for name in ("config", "tokenizer", "versions"))
        and isinstance(config.get("sessions"), list)
        and isinstance(corpus, dict)
        and {"name", "content_sha256"} <= corpus.keys()
    )
    if not is_complete:
        raise InputError(
            f"{directory.config_path} is damaged: restore it, or start a new run with another `out`"
        )
    return config


def _require_readable(step: int, error: BaseException | None) -> None:
    """Refuse to pass over a checkpoint that is whole, but that the disk does not deliver now."""
    if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
        raise InputError(
            f"cannot read the checkpoint of step {step} ({error.strerror or error}): try again "
            "when the disk works; nothing has been changed"
        ) from error


def _open_existing(
    directory: RunDirectory, config: TrainingConfig, note: Callable[[str], None]
) -> OpenedRun:
    directory.require_own_files()
    directory.require_idle()
    directory.sweep()
    is_configured = directory.config_path.exists()
    if is_configured:
        _require_resumable(directory, config)
        status = directory.status()
        if status["state"] == "finished" and status["step"] == config.run.steps:
            note(f"the run in {directory.path} is finished already: nothing to do")
            return OpenedRun(directory, RunMode.RESUME, is_finished=True)
    has_checkpoint = is_configured and bool(directory.checkpoints().steps())
    if not has_checkpoint:
        _require_no_models(directory)
    directory.control.clear()
    if has_checkpoint:
        return OpenedRun(directory, RunMode.RESUME)
    text = f"the run in {directory.path} has no checkpoint yet: starting over from step 0"
    directory.checkpoints().remove_after(-1)
    directory.truncate_metrics(after=-1)
    directory.log(text)
    note(text)
    return OpenedRun(directory, RunMode.START_OVER)


def _require_no_models(directory: RunDirectory) -> None:
    """Refuse to start over where models are: a killed run never leaves models without the rest."""
    models = directory.checkpoints().models()
    if models:
        is_configured = directory.config_path.exists()
        missing = "the step-N.training.safetensors of a step" if is_configured else "config.json"
        raise InputError(
            f"{directory.path} holds models ({', '.join(models)}) but not {missing}, which is "
            "needed to resume: restore it, or start a new run with another `out` (init="
            f"'{directory.path}' starts from the best model's weights)"
        )


def _require_resumable(directory: RunDirectory, config: TrainingConfig) -> None:
    _require_same(directory.path, _own_settings(directory), config.flat())


def _own_settings(directory: RunDirectory) -> TrainingConfig:
    try:
        return TrainingConfig.from_dict(resumable_config(directory)["config"])
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{directory.config_path} is damaged (a setting is missing or has another type): "
            "restore it, or start a new run with another `out`"
        ) from error


def _require_same(path: str | Path, own: TrainingConfig, settings: dict[str, Any]) -> None:
    """Refuse settings that differ from a run's own, unless they belong to the session."""
    values = own.flat()
    for name, value in settings.items():
        if value != values[name] and name not in _SESSION_SETTINGS:
            raise InputError(
                f"{path} was started with {settings_code(**{name: values[name]})}, not "
                f"{settings_code(**{name: value})}: leave that setting out to resume the run, or "
                "start a new run with another `out`"
            )
