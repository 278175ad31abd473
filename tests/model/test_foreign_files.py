"""Files of other formats are named for what they are."""

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from rwkv_music.errors import CheckpointError
from rwkv_music.model import (
    MusicModel,
    load_checkpoint,
    load_model,
    load_pth,
    load_state,
    load_style,
)
from tests.model.official_files import LAYERS, official_file


def zipped(**members: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return content.getvalue()


def npz() -> bytes:
    content = io.BytesIO()
    np.savez(content, weight=np.zeros(3))
    return content.getvalue()


def onnx() -> bytes:
    """The beginning of an ONNX model: IR version 8, producer "pytorch"."""
    return b"\x08\x08\x12\x07pytorch\x1a\x052.5.1:\x90\x01" + bytes(200) + b"onnx::MatMul"


FILES = {
    "a GGUF file": b"GGUF\x03\x00\x00\x00" + bytes(64),
    "a GGML file": b"fmgg" + bytes(64),
    "an HDF5 file": b"\x89HDF\r\n\x1a\n" + bytes(64),
    "an ONNX model": onnx(),
    r"a NumPy archive \(.npz\)": npz(),
    "a NumPy array": b"\x93NUMPY\x01\x00" + bytes(64),
    "a Python pickle, which could run code": pickle.dumps({"weight": [1.0]}),
    "a zip archive: unpack it": zipped(model=b"weights"),
    "a TorchScript model": zipped(**{"model/constants.pkl": b"", "model/data.pkl": b""}),
    "a web page": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
    "a web page, probably an error": b"\xef\xbb\xbf\n<html lang=en>Sign in",
    "a Git LFS pointer.*git lfs pull": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab\nsize 12345\n"
    ),
    "a JSON file": b'{"error": "Repository not found"}',
    "a text file, not a model": b"Entry not found",
    "a gzip archive": b"\x1f\x8b\x08" + bytes(64),
    "a MIDI file": b"MThd\x00\x00\x00\x06",
    "a tar archive": bytes(257) + b"ustar" + bytes(250),
    "an empty file": b"",
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> MusicModel:
    return load_pth(official_file(tmp_path_factory.mktemp("model")))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("ending", [".safetensors", ".pth", ".onnx"])
def test_every_loader_names_the_format(
    tmp_path: Path, name: str, ending: str, model: MusicModel
) -> None:
    path = tmp_path / f"model{ending}"
    path.write_bytes(FILES[name])
    loaders: tuple[Callable[[Path], object], ...] = (
        load_model,
        load_checkpoint,
        load_pth,
        lambda path: load_style(path, model),
        lambda path: load_state(path, model.config),
    )
    for load in loaders:
        with pytest.raises(CheckpointError, match=f"model{ending} is {name}") as caught:
            load(path)
        assert "\n" not in str(caught.value)
        assert "copy it again" not in str(caught.value)


def test_models_are_not_mistaken_for_foreign_files(tmp_path: Path) -> None:
    old = tmp_path / "old.onnx"
    torch.save(torch.load(official_file(tmp_path)), old, _use_new_zipfile_serialization=False)
    assert load_model(old).config.num_layers == LAYERS


def test_a_torch_file_is_read_whatever_its_ending(tmp_path: Path) -> None:
    path = official_file(tmp_path).rename(tmp_path / "model.safetensors")
    assert load_model(path).network.state_dict()
    path.write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(CheckpointError, match="is not a complete torch file"):
        load_model(path)
