"""Styles: initial states that are saved, switched off, mixed, and tied to their model."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from rwkv_music.errors import CheckpointError, InputError
from rwkv_music.model import (
    RWKV7,
    ModelConfig,
    MusicModel,
    Style,
    fingerprint,
    initialize,
    load_style,
    mix_styles,
    save_state,
    save_style,
)

SIZES = ModelConfig(vocab_size=32, num_layers=2, dim=64)


def model(seed: int = 0) -> MusicModel:
    """A small model with every parameter moved away from its initial value."""
    made = RWKV7(SIZES)
    initialize(made, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
    return MusicModel(made.eval())


def style_of(owner: MusicModel, seed: int = 1) -> Style:
    generator = torch.Generator().manual_seed(seed)
    return Style(torch.randn(2, 1, 64, 64, generator=generator), fingerprint(owner))


def logits(owner: MusicModel, style: Style | None) -> torch.Tensor:
    ids = torch.tensor([[3, 1, 4], [1, 5, 9]])
    actual: torch.Tensor = owner(ids, None if style is None else style.state(owner, 2))[0]
    return actual


def test_strength_zero_equals_no_style_and_strength_one_does_not() -> None:
    owner = model()
    style = style_of(owner)
    assert torch.equal(logits(owner, style.scaled(0.0)), logits(owner, None))
    assert (logits(owner, style) - logits(owner, None)).abs().max() > 1e-3


def test_every_sequence_of_a_batch_begins_with_the_same_matrices() -> None:
    owner = model()
    style = style_of(owner)
    state = style.state(owner, 3)
    for layer, own in zip(state.layers, style.wkv, strict=True):
        assert layer.wkv.shape == (3, 1, 64, 64)
        assert all(torch.equal(row, own) for row in layer.wkv)
        assert not layer.time_shift.any()


def test_mixing_is_a_weighted_sum_with_equal_weights_by_default() -> None:
    owner = model()
    first, second = style_of(owner, 1), style_of(owner, 2)
    mixed = mix_styles([first, second], [0.25, 2.0])
    torch.testing.assert_close(mixed.wkv, 0.25 * first.wkv + 2.0 * second.wkv)
    torch.testing.assert_close(
        mix_styles([first, second]).wkv, (first.wkv + second.wkv) / 2, rtol=1e-6, atol=1e-6
    )
    assert mixed.base == first.base


def test_a_saved_style_loads_unchanged(tmp_path: Path) -> None:
    owner = model()
    style = Style(style_of(owner).wkv, fingerprint(owner), {"files": ["a.mid"]})
    back = load_style(save_style(style, tmp_path / "my.style"), owner)
    assert torch.equal(back.wkv, style.wkv)
    assert (back.base, back.notes) == (style.base, style.notes)


def test_a_state_file_of_rwkv_peft_is_read_as_a_style(tmp_path: Path) -> None:
    owner = model()
    style = style_of(owner)
    back = load_style(save_state(style.state(owner), tmp_path / "state.pth"), owner)
    assert torch.equal(back.wkv, style.wkv)


def test_the_fingerprint_follows_any_weight_and_nothing_else() -> None:
    owner = model()
    before = fingerprint(owner)
    assert fingerprint(model()) == before
    assert fingerprint(model(seed=1)) != before
    owner.metadata = {"step": 5}
    owner.network.train()
    assert fingerprint(owner) == before
    with torch.no_grad():
        owner.network.blocks[1].att.w0[0, 0, 5] += 1.0
    assert fingerprint(owner) != before


def test_a_style_of_another_model_is_refused_with_both_names(tmp_path: Path) -> None:
    owner, other = model(), model(seed=1)
    path = save_style(style_of(owner), tmp_path / "my.style")
    with pytest.raises(InputError, match=f"{fingerprint(owner)}, this one is {fingerprint(other)}"):
        load_style(path, other)
    larger = MusicModel(RWKV7(ModelConfig(vocab_size=32, num_layers=3, dim=64)))
    with pytest.raises(InputError, match=r"\[2, 1, 64, 64\].*the model \[3, 1, 64, 64\]"):
        load_style(path, larger)


def test_files_that_are_not_styles_are_refused(tmp_path: Path) -> None:
    owner = model()
    with pytest.raises(CheckpointError, match="there is no file"):
        load_style(tmp_path / "nowhere.style", owner)
    save_file({"wkv": torch.zeros(1)}, tmp_path / "weights.style")
    with pytest.raises(CheckpointError, match=r"is not a style file \(its format is None"):
        load_style(tmp_path / "weights.style", owner)
    (tmp_path / "half.style").write_bytes(b"\x10\x00")
    with pytest.raises(CheckpointError, match="is not a complete safetensors file"):
        load_style(tmp_path / "half.style", owner)


def test_styles_of_different_models_are_not_mixed() -> None:
    owner, other = model(), model(seed=1)
    with pytest.raises(InputError, match="give at least one style, got 0"):
        mix_styles([])
    with pytest.raises(InputError, match="1 styles, but 2 weights"):
        mix_styles([style_of(owner)], [1.0, 2.0])
    with pytest.raises(InputError, match="belong to different models"):
        mix_styles([style_of(owner), style_of(other)])
