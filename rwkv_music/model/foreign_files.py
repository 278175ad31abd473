"""Recognize files that are not checkpoints of this project, to say in an error what they are."""

import re
import zipfile
from collections.abc import Iterable
from pathlib import Path

ZIP_MAGIC = b"PK\x03\x04"
_OFFICIAL = "give the official .pth of the model, or a .safetensors file of rwkv-music"
_STATE_DICT = "save model.state_dict() with torch.save where it was made"
_UNPACK = "unpack it and give the model file inside"

_MAGIC = (
    (b"GGUF", "a GGUF file of llama.cpp", _OFFICIAL),
    (b"lmgg", "a GGML file of rwkv.cpp or llama.cpp", _OFFICIAL),
    (b"fmgg", "a GGML file of rwkv.cpp or llama.cpp", _OFFICIAL),
    (b"tjgg", "a GGML file of rwkv.cpp or llama.cpp", _OFFICIAL),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes it", _OFFICIAL),
    (b"\x93NUMPY", "a NumPy array", _OFFICIAL),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself", "run: git lfs pull"),
    (b"\x1f\x8b", "a gzip archive", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (b"Rar!", "a RAR archive", _UNPACK),
    (b"\xfd7zXZ", "an xz archive", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "a zstd archive", _UNPACK),
    (b"BZh", "a bzip2 archive", _UNPACK),
    (b"MThd", "a MIDI file", "give a model here, and the music as the prompt"),
    (b"%PDF", "a PDF file", _OFFICIAL),
    (b"\x89PNG", "a PNG image", _OFFICIAL),
)
_HTML = re.compile(rb"\s*(<\?xml|<!--|<!doctype|<html|<head|<body)", re.IGNORECASE)
_ONNX = re.compile(rb"\x08[\x01-\x20]([\x12\x1a\x22\x3a\x42])")
_TEXT = re.compile(rb"[\t\r\n\x20-\x7e\x80-\xff]+")
_PICKLE = re.compile(rb"\x80[\x02-\x05]")

_TENSOR_NAMES = (
    (
        r"lora_A|lora_B|\.bone|\.disha|\.miss",
        "it holds the weights of an adapter: merge them into their model with RWKV-PEFT's scripts",
    ),
    (r"time_maa", "it is an RWKV-6 model: only RWKV-7 (x070) is supported"),
    (r"time_faaaa", "it is an RWKV-5 model: only RWKV-7 (x070) is supported"),
    (
        r"time_decay|time_first|time_mix",
        "it is an RWKV-4 or RWKV-5 model: only RWKV-7 (x070) is supported",
    ),
    (r"s_emb|\.enn\.", "it is an RWKV-7a, -7b or -8 model (DeepEmbed): only x070 is supported"),
    (
        r"^(model\.)?(layers|embeddings)\.",
        "it has Hugging Face's names: use the .pth that was published beside it",
    ),
    (r"time_state", "a tuned state is merged into it: keep states in files of their own"),
)
"""Patterns of tensor names and what such files are; the first match counts."""


def likely_cause(names: Iterable[str]) -> str:
    """Return one clause that says what a file with these tensors probably is, and the remedy."""
    names = list(names)
    if names and all(name.endswith("time_state") for name in names):
        return "it is a state file: read it with load_state"
    for pattern, cause in _TENSOR_NAMES:
        if any(re.search(pattern, name) for name in names):
            return cause
    return "it is damaged, or was not made for RWKV-7 (x070)"


def describe_foreign_file(path: Path, *, legacy_magic: bytes) -> str | None:
    r"""Return what a file of another format is, and the remedy; None if it may be a model.

    Args:
        path: The file.
        legacy_magic: First bytes of torch files from before torch 1.6, which are pickles as well.

    Example:
        >>> import tempfile
        >>> file = tempfile.NamedTemporaryFile()
        >>> _ = Path(file.name).write_bytes(b"MThd")
        >>> describe_foreign_file(Path(file.name), legacy_magic=b"\x80\x02")
        'a MIDI file: give a model here, and the music as the prompt'
    """
    with path.open("rb") as stored:
        beginning = stored.read(512)
    if not beginning:
        return "an empty file: copy or download it again"
    if beginning.startswith(legacy_magic) or _is_safetensors(beginning):
        return None
    if beginning.startswith(ZIP_MAGIC):
        return _describe_zip(path)
    for magic, name, remedy in _MAGIC:
        if beginning.startswith(magic):
            return f"{name}: {remedy}"
    return _describe_other(beginning, path.suffix.lower())


def _describe_other(beginning: bytes, ending: str) -> str | None:
    """Describe files that are recognized by more than their first bytes."""
    text = beginning.removeprefix(b"\xef\xbb\xbf")
    is_onnx = _ONNX.match(beginning) and (ending == ".onnx" or b"onnx" in beginning.lower())
    kind = "a JSON file" if text.lstrip().startswith((b"{", b"[")) else "a text file"
    page = "a web page, probably an error of the server"
    tests = (
        (beginning[257:262] == b"ustar", f"a tar archive: {_UNPACK}"),
        (beginning[4:8] == b"TFL3", f"a TensorFlow Lite model: {_OFFICIAL}"),
        (_PICKLE.match(beginning), f"a Python pickle, which could run code: {_STATE_DICT}"),
        (is_onnx, f"an ONNX model: {_OFFICIAL}"),
        (_HTML.match(text), f"{page}: download the file itself again"),
        (_TEXT.fullmatch(text), f"{kind}, not a model: check the path, or download it again"),
    )
    return next((description for matches, description in tests if matches), None)


def _is_safetensors(beginning: bytes) -> bool:
    return beginning[8:9] == b"{" and int.from_bytes(beginning[:8], "little") < 1 << 32


def _describe_zip(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        # A torch file that is damaged. zipfile does not implement later versions of the format.
        return None
    if any(name.endswith(".npy") for name in names):
        return f"a NumPy archive (.npz): {_OFFICIAL}"
    if any(name.endswith("/constants.pkl") or "/code/" in name for name in names):
        return f"a TorchScript model: {_STATE_DICT}"
    if any(name.endswith("data.pkl") for name in names):
        return None
    return f"a zip archive: {_UNPACK}"
