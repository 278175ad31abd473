"""Tuning a trained model: what is trained, what is not, and what comes of it."""

import copy
import sys
from pathlib import Path

import pytest
import torch

from rwkv_music.errors import InputError, MissingExtraError
from rwkv_music.evaluation import HeldOut
from rwkv_music.generation import continue_score
from rwkv_music.model import RWKV7, ModelConfig, MusicModel, Style, fingerprint, initialize
from rwkv_music.score import save_score
from rwkv_music.tokenizer import Tokenizer
from rwkv_music.training.finetuning.state_tuning import tune_state
from rwkv_music.training.finetuning.tuning import training_config, tuning_windows
from rwkv_music.training.finetuning.tuning_config import TuningConfig
from rwkv_music.training.finetuning.weight_tuning import tune_weights
from rwkv_music.training.loss import CompletionLoss
from rwkv_music.training.trainer import StepMetrics
from tests.music import tune

LARGE = ("att.receptance", "att.key", "att.value", "att.output", "ffn.key", "ffn.value")
BARS = {"prompt_bars": 2, "completion_bars": 2, "batch_size": 2}


@pytest.fixture(scope="module")
def model() -> MusicModel:
    """A small model of the default vocabulary, every parameter moved from its initial value."""
    tokenizer = Tokenizer()
    made = RWKV7(ModelConfig(vocab_size=tokenizer.vocab_size, num_layers=2, dim=64))
    initialize(made, seed=0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.05)
    return MusicModel(made.eval(), tokenizer.settings)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("files")
    return [save_score(tune(bars=6, seed=seed), folder / f"{seed}.mid") for seed in range(3)]


def config(method: str, **settings: object) -> TuningConfig:
    return TuningConfig(
        **{"method": method, "steps": 6, "precision": "float32", **BARS, **settings}
    )


def nats(model: MusicModel, files: list[Path], style: Style | None = None) -> float:
    windows = tuning_windows(model, files, config("state"))
    held_out = HeldOut(windows, windows.tokenizer)
    return held_out.likelihood(model, style=style).completion.nats_per_note


def test_a_style_lowers_the_loss_of_its_music_and_does_not_change_the_model(
    model: MusicModel, files: list[Path]
) -> None:
    before = copy.deepcopy(model.network.state_dict())
    reports: list[StepMetrics] = []
    settings = config("state", steps=15)
    style = tune_state(
        model, tuning_windows(model, files, settings), settings, on_step=reports.append
    )
    assert style.wkv.shape == (2, 1, 64, 64)
    assert style.base == fingerprint(model)
    assert style.notes["files"] == [str(path) for path in files]
    assert [report.step for report in reports] == list(range(1, 16))
    assert nats(model, files, style) < nats(model, files) - 0.5
    assert all(
        torch.equal(value, before[name]) for name, value in model.network.state_dict().items()
    )
    assert all(parameter.requires_grad for parameter in model.network.parameters())


def test_the_gradient_of_the_state_agrees_with_central_differences(
    model: MusicModel, files: list[Path]
) -> None:
    from rwkv_music.data import collate

    settings = config("state")
    batch = collate(list(tuning_windows(model, files, settings))[:2])
    exact = copy.deepcopy(model.network).double().requires_grad_(requires_grad=False)
    generator = torch.Generator().manual_seed(3)
    start = torch.randn(2, 1, 64, 64, generator=generator, dtype=torch.float64)
    direction = torch.randn(start.shape, generator=generator, dtype=torch.float64)
    leaf = start.clone().requires_grad_()
    trained = training_config(settings, torch.device("cpu"))

    def loss(wkv: torch.Tensor) -> torch.Tensor:
        module = CompletionLoss(exact, trained.optimizer, precision="float32", initial_wkv=wkv)
        return module(batch, None, batch.num_scored).objective.objective

    (gradient,) = torch.autograd.grad(loss(leaf), leaf)
    step = 1e-5
    up = loss(start + step * direction)
    down = loss(start - step * direction)
    slope = float((up - down) / (2 * step))
    assert float((gradient * direction).sum()) == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_tuned_weights_lower_the_loss_and_are_a_plain_model(
    method: str, model: MusicModel, files: list[Path]
) -> None:
    if method == "lora":
        pytest.importorskip("peft", reason="peft is an extra: pip install 'rwkv-music[tune]'")
    settings = config(method, steps=15, learning_rate=3e-3)
    tuned = tune_weights(model, tuning_windows(model, files, settings), settings)
    assert [name for name, _ in tuned.network.named_parameters()] == [
        name for name, _ in model.network.named_parameters()
    ]
    assert nats(tuned, files) < nats(model, files) - 0.5
    assert tuned.metadata["tuned"]["method"] == method
    changed = {
        name
        for name, value in tuned.network.state_dict().items()
        if not torch.equal(value, model.network.state_dict()[name])
    }
    large = {f"blocks.{layer}.{name}.weight" for layer in (0, 1) for name in LARGE}
    assert changed == (large if method == "lora" else set(model.network.state_dict()))


def test_a_style_changes_what_is_generated_and_strength_zero_does_not(
    model: MusicModel, files: list[Path]
) -> None:
    settings = config("state")
    style = tune_state(model, tuning_windows(model, files, settings), settings)

    def tokens(style: Style | None) -> list[int]:
        (piece,) = continue_score(model, files[0], bars=1, candidates=1, style=style)
        actual: list[int] = piece.tokens.tolist()
        return actual

    assert tokens(style.scaled(0.0)) == tokens(None)
    assert tokens(style.scaled(5.0)) != tokens(None)


def test_the_same_seed_makes_the_same_style(model: MusicModel, files: list[Path]) -> None:
    settings = config("state", steps=2)
    windows = tuning_windows(model, files, settings)
    first, second = (tune_state(model, windows, settings).wkv for _ in range(2))
    assert torch.equal(first, second)


def test_a_loss_that_is_not_a_number_ends_tuning_with_a_remedy(
    model: MusicModel, files: list[Path]
) -> None:
    settings = config("full")
    broken = copy.deepcopy(model)
    with torch.no_grad():
        broken.network.ln_out.weight.fill_(float("nan"))
    with pytest.raises(
        InputError, match=r"the loss is nan at step 1: lower `learning_rate`.*e\.g\. to"
    ):
        tune_weights(broken, tuning_windows(model, files, settings), settings)


def test_a_model_of_another_vocabulary_than_its_tokenizer_is_refused(
    model: MusicModel, files: list[Path]
) -> None:
    other = copy.deepcopy(model)
    other.tokenizer_settings = Tokenizer(steps_per_quarter=480).settings
    with pytest.raises(
        InputError, match=r"vocabulary of 2048 tokens, its tokenizer's settings make \d+: th"
    ):
        tuning_windows(other, files, config("state"))
    other.tokenizer_settings = None
    with pytest.raises(InputError, match="the model's tokenizer is unknown: pass"):
        tuning_windows(other, files, config("state"))


def test_lora_without_peft_names_the_extra(
    model: MusicModel, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    settings = config("lora")
    with pytest.raises(MissingExtraError, match=r"needs peft.*rwkv-music\[tune\]"):
        tune_weights(model, tuning_windows(model, files, settings), settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "magic"}, "`method` must be one of .*got 'magic'"),
        ({"steps": 0}, "`steps` must be at least 1, got 0"),
        ({"learning_rate": -1.0}, "`learning_rate` must be above 0, got -1.0"),
        ({"precision": "int4"}, "`precision` must be one of .*got 'int4'"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TuningConfig(**settings)


def test_files_are_needed_and_named(model: MusicModel, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give at least one file, got 0"):
        tuning_windows(model, [], config("state"))
    with pytest.raises(InputError, match=r"nowhere\.mid"):
        tuning_windows(model, [tmp_path / "nowhere.mid"], config("state"))
