"""The models of the public benchmarks: nothing of what is scored is told in advance."""

from pathlib import Path

import numpy as np
import pytest
import torch

from rwkv_music.cli import main
from rwkv_music.errors import InputError
from rwkv_music.evaluation.benchmarks.chorale_grid import NUM_SYMBOLS, VOICES, ChoraleGrid
from rwkv_music.evaluation.benchmarks.chorale_model import ChoraleModel
from rwkv_music.evaluation.benchmarks.fitting import FitSettings, fit
from rwkv_music.evaluation.benchmarks.frame_model import FrameModel
from rwkv_music.evaluation.benchmarks.frames import NUM_KEYS, SETS, read_polyphonic_set
from rwkv_music.evaluation.benchmarks.jsb import (
    JSBSettings,
    batch_of,
    chorale_nats,
    nats_per_slot,
    train_chorales,
)
from rwkv_music.evaluation.benchmarks.polyphonic import (
    FrameSettings,
    nats_per_frame,
    train_frames,
    transposed,
)


def random_chorale(steps: int = 9, seed: int = 0) -> ChoraleGrid:
    symbols = np.random.default_rng(seed).integers(12, 30, (steps, VOICES))
    return ChoraleGrid("random", symbols)


def chorale_model(seed: int = 0) -> ChoraleModel:
    model = ChoraleModel(num_layers=1, dim=64, dropout=0.0, voice_dropout=0.0, seed=seed).eval()
    _shake(model)
    return model


def frame_model() -> FrameModel:
    model = FrameModel(num_layers=1, dim=64, head_dim=16, dropout=0.0, seed=0).eval()
    _shake(model)
    return model


@torch.no_grad()
def _shake(model: torch.nn.Module) -> None:
    """Move all weights: new ones hold zeros, through which nothing could be seen."""
    generator = torch.Generator().manual_seed(1)
    for weight in model.parameters():
        weight.add_(0.1 * torch.randn(weight.shape, generator=generator))


@pytest.mark.parametrize("voice", range(VOICES))
def test_a_symbol_of_a_chorale_is_scored_without_itself_and_all_behind_it(voice: int) -> None:
    model, step = chorale_model(), 4
    piece = random_chorale()
    other = piece.symbols.copy()
    other[step, voice] += 5
    with torch.no_grad():
        before = model(batch_of([piece]))[0].flatten(0, 1)
        after = model(batch_of([ChoraleGrid("changed", other)]))[0].flatten(0, 1)
    slot = step * VOICES + voice
    assert torch.equal(before[: slot + 1], after[: slot + 1])
    assert (before[slot + 1 :] != after[slot + 1 :]).any(dim=1).all()


def test_the_probabilities_of_a_slot_add_up_to_one_in_silence_too() -> None:
    piece = random_chorale()
    piece.symbols[3] = 0
    probabilities = chorale_model()(batch_of([piece])).exp()
    assert probabilities.shape == (1, 9, VOICES, NUM_SYMBOLS)
    torch.testing.assert_close(probabilities.sum(-1), torch.ones(1, 9, VOICES))


def test_padding_beside_a_longer_chorale_changes_nothing() -> None:
    model, short, long = chorale_model(), random_chorale(), random_chorale(steps=14, seed=1)
    alone = model.nats(batch_of([short]))[0]
    beside = model.nats(batch_of([short, long]))[0]
    torch.testing.assert_close(beside[:9], alone)
    assert not beside[9:].any()


def test_the_mean_over_keys_is_that_of_probabilities() -> None:
    model, piece = chorale_model(), random_chorale(steps=3)
    keys = [piece.transposed(semitones) for semitones in range(-5, 7)]
    rows = [(-chorale_nats([model], key, keys=False)).exp() for key in keys if key is not None]
    expected = -torch.stack(rows).mean(dim=0).log()
    assert len(rows) == 12
    torch.testing.assert_close(chorale_nats([model], piece), expected)
    assert nats_per_slot([model, model], [piece]) == pytest.approx(float(expected.mean()))


@pytest.mark.parametrize("key", [0, 40, NUM_KEYS - 1])
def test_a_key_of_a_frame_is_scored_without_itself_and_all_behind_it(key: int) -> None:
    model, frame = frame_model(), 5
    frames = (torch.rand(1, 9, NUM_KEYS, generator=torch.Generator().manual_seed(0)) < 0.1).float()
    other = frames.clone()
    other[0, frame, key] = 1 - other[0, frame, key]
    with torch.no_grad():
        before, after = model(frames)[0].flatten(), model(other)[0].flatten()
    slot = (frame - 1) * NUM_KEYS + key
    assert torch.equal(before[: slot + 1], after[: slot + 1])
    assert (before[slot + 1 :] != after[slot + 1 :]).any()
    assert not torch.equal(before[frame * NUM_KEYS :], after[frame * NUM_KEYS :])


def test_a_frame_costs_the_sum_over_its_keys() -> None:
    frames = (torch.rand(1, 4, NUM_KEYS, generator=torch.Generator().manual_seed(0)) < 0.1).float()
    model = frame_model()
    chances = model(frames).sigmoid()
    likelihood = torch.where(frames[:, 1:] == 1, chances, 1 - chances)
    torch.testing.assert_close(model.nats(frames), -likelihood.log().sum(-1))
    piece = frames[0].numpy() == 1
    mean = model.nats(frames).mean().item()
    assert nats_per_frame([model], [piece]) == pytest.approx(mean, rel=1e-5)


def test_pieces_are_not_transposed_over_the_edge_of_the_keyboard() -> None:
    piece = np.zeros((2, NUM_KEYS), dtype=bool)
    piece[0, [1, 80]] = True
    assert np.flatnonzero(transposed(piece, 3)[0]).tolist() == [4, 83]
    assert np.flatnonzero(transposed(piece, -1)[0]).tolist() == [0, 79]
    assert np.flatnonzero(transposed(piece, -2)[0]).tolist() == [1, 80]
    assert np.flatnonzero(transposed(piece, 8)[0]).tolist() == [1, 80]
    assert np.flatnonzero(transposed(piece, 0)[0]).tolist() == [1, 80]


def test_a_model_learns_a_chorale_that_repeats() -> None:
    bar = random_chorale(steps=4).symbols
    pieces = [ChoraleGrid(str(copy), np.tile(bar, (4, 1))) for copy in range(4)]
    settings = JSBSettings(
        num_layers=1, dim=64, dropout=0.0, voice_dropout=0.0,
        fit=FitSettings(
            steps=40, learning_rate=1e-2, weight_decay=0.0, average=0.5, warmup_steps=5
        ),
    )  # fmt: skip
    losses: list[float] = []
    model = train_chorales(pieces, settings, seed=0, progress=lambda _, loss: losses.append(loss))
    assert losses[0] == pytest.approx(np.log(NUM_SYMBOLS), rel=0.3)
    assert nats_per_slot([model], pieces[:1], keys=False) < 0.5 * losses[0]


def test_a_model_learns_frames_that_repeat() -> None:
    bar = np.random.default_rng(0).random((4, NUM_KEYS)) < 0.05
    piece = np.tile(bar, (6, 1))
    settings = FrameSettings(
        num_layers=1, dim=64, head_dim=16, dropout=0.0, frames=16, semitones=0,
        fit=FitSettings(
            steps=30, learning_rate=1e-2, weight_decay=0.0, average=0.5, warmup_steps=5
        ),
    )  # fmt: skip
    losses: list[float] = []
    model = train_frames([piece], settings, seed=0, progress=lambda _, loss: losses.append(loss))
    assert nats_per_frame([model], [piece]) < 0.5 * losses[0]


def test_a_loss_that_is_not_finite_ends_the_training_with_its_step() -> None:
    model = torch.nn.Linear(1, 1)
    settings = FitSettings(steps=3, learning_rate=1.0, weight_decay=0.0)
    with pytest.raises(InputError, match=r"became nan at step 1 with learning_rate=1\.0"):
        fit(
            model,
            iter([1.0, 2.0]),
            lambda net, _: next(net.parameters()).sum() * float("nan"),
            settings,
            progress=lambda _step, _loss: None,
        )


def test_the_sets_of_frames_have_their_known_sizes(shared_data: Path) -> None:
    sizes = {
        name: [
            (len(part), sum(len(piece) for piece in part))
            for part in (pieces.train, pieces.valid, pieces.test)
        ]
        for name in SETS
        for pieces in [read_polyphonic_set(shared_data / "polyphonic", name)]
    }
    assert sizes["jsb"] == [(229, 13807), (76, 4602), (77, 4725)]
    assert sizes["nottingham"] == [(694, 176_561), (173, 45_513), (170, 44_463)]
    assert sizes["musedata"] == [(524, 245_202), (135, 82_755), (124, 64_339)]
    assert sizes["piano-midi"] == [(87, 75_911), (12, 8_540), (25, 19_036)]


def test_the_command_scores_both_parts_and_writes_the_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, split in enumerate(("train", "valid", "test")):
        (tmp_path / split).mkdir()
        pitches = random_chorale(steps=8, seed=number).symbols + 35
        rows = [",".join(map(str, row)) for row in pitches.tolist()]
        (tmp_path / split / "a.csv").write_text("\n".join(["note0,note1,note2,note3", *rows]))
    out = tmp_path / "jsb.json"
    command = ["benchmark", "jsb", "--data", str(tmp_path), "--steps", "1", "--json", str(out)]
    assert main(command) == 0
    assert "part valid, pieces 1, slots 32" in capsys.readouterr().out
    assert '"steps": 1' in out.read_text()


def test_the_command_names_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["benchmark", "jsb"]) == 2
    assert "benchmark jsb needs --data FOLDER" in capsys.readouterr().err
    assert main(["benchmark", "polyphonic", "--data", str(tmp_path), "--sets", "lakh"]) == 2
    assert "--sets lakh is unknown: the sets are nottingham" in capsys.readouterr().err
    assert main(["benchmark", "polyphonic", "--data", str(tmp_path)]) == 2
    assert "Nottingham.mat does not exist" in capsys.readouterr().err
