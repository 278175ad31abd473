"""Damaged and hostile model files, styles and states: one line each, before memory is taken."""

import json
import zipfile
from importlib import resources
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from rwkv_music.errors import CheckpointError
from rwkv_music.model import (
    RWKV7,
    ModelConfig,
    MusicModel,
    Style,
    fingerprint,
    initialize,
    load_checkpoint,
    load_model,
    load_pth,
    load_state,
    load_style,
    save_checkpoint,
    save_pth,
    save_state,
    save_style,
)
from rwkv_music.tokenizer import Tokenizer
from tests.model.official_files import official_file, official_weights

CONFIG = ModelConfig(vocab_size=11, num_layers=2, dim=64)


@pytest.fixture(scope="module")
def model() -> MusicModel:
    network = RWKV7(CONFIG)
    initialize(network, seed=0)
    return MusicModel(network, Tokenizer().settings, {"step": 3})


@pytest.fixture
def style(model: MusicModel) -> Style:
    return Style(torch.ones(2, 1, 64, 64), fingerprint(model), {"files": ["a.mid"]})


def rewritten(path: Path, **header: object) -> None:
    """Change entries of a checkpoint's header, without its checksum, as version 0.1.0 wrote it."""
    with safe_open(path, framework="pt") as stored:
        old = stored.metadata()
    new = {name: text for name, text in old.items() if name not in ("checksum", "sha256")}
    new |= {name: json.dumps(value) for name, value in header.items()}
    save_file(load_file(path), path, metadata=new)


def places_of(content: bytes) -> list[int]:
    """Some bytes of header and tensors. Not the padding, where a changed byte may mean the same."""
    header = 8 + int.from_bytes(content[:8], "little")
    text = content[8:header].decode()
    in_header = [
        8 + text.index(part) + 2
        for part in ('"dim', '"F32', "step", "sha256", "checksum")
        if part in text
    ]
    step = max(1, (len(content) - header) // 40)
    return [*in_header, *range(header, len(content), step), len(content) - 1]


def test_a_changed_byte_in_a_checkpoint_or_style_is_refused(
    tmp_path: Path, model: MusicModel, style: Style
) -> None:
    checkpoint = save_checkpoint(model, tmp_path / "model.safetensors")
    style_file = save_style(style, tmp_path / "my.style")
    assert load_checkpoint(checkpoint).metadata == {"step": 3}
    for path in (checkpoint, style_file):
        content = path.read_bytes()
        positions = places_of(content)
        assert len(positions) > 40
        for position in positions:
            changed = bytearray(content)
            changed[position] ^= 0x40
            path.write_bytes(changed)
            with pytest.raises(CheckpointError) as caught:
                load_checkpoint(path) if path == checkpoint else load_style(path, model)
            assert "\n" not in str(caught.value)


def test_a_changed_weight_says_that_the_file_is_damaged(tmp_path: Path, model: MusicModel) -> None:
    path = save_checkpoint(model, tmp_path / "model.safetensors")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        CheckpointError, match=r"is damaged \(its checksum differs\): copy it again"
    ):
        load_model(path)


def test_files_without_a_checksum_still_load(
    tmp_path: Path, model: MusicModel, style: Style
) -> None:
    path = save_checkpoint(model, tmp_path / "model.safetensors")
    rewritten(path)
    assert load_model(path).metadata == {"step": 3}
    path = save_style(style, tmp_path / "my.style")
    rewritten(path)
    assert torch.equal(load_style(path, model).wkv, style.wkv)


def test_a_changed_byte_in_an_official_file_or_state_is_refused(
    tmp_path: Path, model: MusicModel, style: Style
) -> None:
    official = save_pth(model, tmp_path / "model.pth", dtype=torch.float32)
    state = save_state(style.state(model), tmp_path / "state.pth")
    for path in (official, state):
        content = bytearray(path.read_bytes())
        with zipfile.ZipFile(path) as archive:
            largest = max(archive.infolist(), key=lambda member: member.file_size)
        content[largest.header_offset + 200 + largest.file_size // 2] ^= 1
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"is damaged \(the checksum of its member"):
            load_pth(path) if path == official else load_state(path, CONFIG)


SIZES = CONFIG.to_dict()


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"num_layers": 10**7}, "tensors of 2 layers, a model of 10000000 layers is expected"),
        ({"vocab_size": 2**31}, r"emb.weight is \[11, 64\], .* ask for \[2147483648, 64\]"),
        ({"dim": 64 * 10**7}, r"emb.weight is \[11, 64\], .* ask for \[11, 640000000\]"),
        ({"decay_low_rank_dim": 10**9}, r"att.w1 is \[64, 32\], .* ask for \[64, 1000000000\]"),
        ({"vocab_size": 10**400}, "vocab_size must be at most"),
        ({"dim": 64.0}, "dim must be a whole number, got 64.0"),
        ({"num_layers": "2"}, "num_layers must be a whole number, got '2'"),
        ({"num_layers": True}, "num_layers must be a whole number, got True"),
        ({"dropout": "0"}, "dropout must be a number, got '0'"),
        ({"unknown": 1}, "unknown model setting 'unknown'"),
    ],
)
def test_sizes_that_do_not_fit_the_tensors_are_refused_before_a_network_is_made(
    tmp_path: Path, model: MusicModel, sizes: dict[str, object], message: str
) -> None:
    path = save_checkpoint(model, tmp_path / "model.safetensors")
    rewritten(path, model={**SIZES, **sizes})
    with pytest.raises(CheckpointError, match=message):
        load_model(path)


@pytest.mark.parametrize(
    "settings",
    [{"steps_per_quarter": 10**9}, {"steps_per_quarter": "96"}, {"velocities": True}, {"x": [1]}],
)
def test_tokenizer_settings_that_make_no_sense_are_refused(
    tmp_path: Path, model: MusicModel, settings: dict[str, object]
) -> None:
    path = save_checkpoint(model, tmp_path / "model.safetensors")
    rewritten(path, tokenizer=settings)
    with pytest.raises(CheckpointError, match="tokenizer settings") as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


def test_layers_without_tensors_are_refused(tmp_path: Path) -> None:
    weights = official_weights()
    weights |= {f"blocks.{layer}.x": torch.zeros(1) for layer in range(2, 500)}
    with pytest.raises(CheckpointError, match=r"tensors of 500 layers"):
        load_pth(official_file(tmp_path, weights))


def test_a_small_official_file_cannot_ask_for_more_memory_than_it_has_bytes(tmp_path: Path) -> None:
    weights = official_weights()
    weights["emb.weight"] = torch.zeros(1, 1).expand(2**26, 128)
    with pytest.raises(CheckpointError, match=r"emb.weight is .* but only 1 numbers are stored"):
        load_pth(official_file(tmp_path, weights))
    path = official_file(tmp_path)
    compressed = tmp_path / "compressed.pth"
    with (
        zipfile.ZipFile(path) as old,
        zipfile.ZipFile(compressed, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for member in old.infolist():
            new.writestr(member.filename, bytes(member.file_size))
    with pytest.raises(CheckpointError, match=r"declares \d+ bytes of tensors but has \d+"):
        load_pth(compressed)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_models_styles_and_states_with_a_nan_are_refused_by_name(
    tmp_path: Path, model: MusicModel, style: Style, value: float
) -> None:
    broken = load_checkpoint(save_checkpoint(model, tmp_path / "model.safetensors"))
    with torch.no_grad():
        broken.network.get_parameter("blocks.1.att.key.weight")[3, 7] = value
    message = rf"blocks.1.att.key.weight holds {value} at \[3, 7\] \(1 of 4096 numbers"
    with pytest.raises(CheckpointError, match=message):
        load_model(save_checkpoint(broken, tmp_path / "broken.safetensors"))
    with pytest.raises(CheckpointError, match=message):
        load_model(save_pth(broken, tmp_path / "broken.pth"))
    style.wkv[1, 0, 2, 3] = value
    with pytest.raises(CheckpointError, match=rf"wkv holds {value} at \[1, 0, 2, 3\]"):
        load_style(save_style(style, tmp_path / "my.style"), model)
    state = save_state(style.state(model), tmp_path / "state.pth")
    message = rf"blocks.1.att.time_state holds {value} at \[0, 2, 3\]"
    with pytest.raises(CheckpointError, match=message):
        load_state(state, CONFIG)
    with pytest.raises(CheckpointError, match=message):
        load_style(state, model)


def test_a_style_of_whole_numbers_or_with_other_tensors_is_refused(
    tmp_path: Path, model: MusicModel, style: Style
) -> None:
    path = save_style(style, tmp_path / "my.style")
    with safe_open(path, framework="pt") as stored:
        header = {"format": stored.metadata()["format"], "base": style.base, "notes": "{}"}
    save_file({"wkv": torch.zeros(2, 1, 64, 64, dtype=torch.int64)}, path, metadata=header)
    with pytest.raises(CheckpointError, match=r"wkv is stored as torch.int64, expected bfloat16"):
        load_style(path, model)
    save_file({"wkv": style.wkv, "more": style.wkv.clone()}, path, metadata=header)
    with pytest.raises(CheckpointError, match="is not a style file"):
        load_style(path, model)
    save_file({"wkv": style.wkv}, path, metadata={**header, "notes": "[" * 100_000})
    with pytest.raises(CheckpointError, match="its notes are not valid JSON"):
        load_style(path, model)


@pytest.mark.parametrize("name", ["bach", "pop"])
def test_the_shipped_models_have_a_checksum(name: str) -> None:
    path = Path(str(resources.files("rwkv_music"))) / "models" / f"{name}.safetensors"
    with safe_open(path, framework="pt") as stored:
        assert len(stored.metadata()["sha256"]) == 64
    assert load_model(name).metadata["step"] > 0


def test_a_huge_file_of_another_kind_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "large.safetensors"
    entry = {"dtype": "F32", "shape": [3 << 29], "data_offsets": [0, 3 << 31]}
    header = json.dumps({"__metadata__": {"format": "pt"}, "x": entry}).encode()
    with path.open("wb") as stored:
        stored.write(len(header).to_bytes(8, "little") + header)
        stored.truncate(8 + len(header) + (3 << 31))  # sparse: it takes no room on the disk
    with pytest.raises(CheckpointError, match="is not a checkpoint of rwkv-music"):
        load_checkpoint(path)
    with pytest.raises(CheckpointError, match="is not a style file"):
        load_style(path, load_model("bach"))
