r"""The index beside a `.bin` of token ids, in the format of RWKV-LM and Megatron ("binidx").

    b"MMIDIDX\x00\x00"  u64 version, 1  u8 dtype code  u64 documents  u64 documents + 1
    i32 tokens of each document  i64 byte offset of each document  i64 0, 1, .. documents

All values are little-endian. The `.bin` contains the documents one after another and nothing else.
"""

import struct
from pathlib import Path

import numpy as np
from jaxtyping import Integer

from rwkv_music.errors import InputError

Sizes = Integer[np.ndarray, " documents"]

_MAGIC = b"MMIDIDX\x00\x00"
_VERSION = 1
_HEADER = struct.Struct("<QBQQ")
_CODES = {"uint16": 8, "int32": 4}
"""The format has no code for uint32; ids below 2^31 have the same bytes in int32."""


def dtype_for(vocab_size: int) -> "np.dtype[np.integer]":
    """Return the narrowest dtype of a `.bin` for a vocabulary.

    Example:
        >>> dtype_for(2048), dtype_for(65536), dtype_for(65537)
        (dtype('uint16'), dtype('uint16'), dtype('int32'))
    """
    return np.dtype("<u2") if vocab_size <= 1 << 16 else np.dtype("<i4")


def index_bytes(sizes: Sizes, dtype: "np.dtype[np.integer]") -> bytes:
    """Return the content of a `.idx` file.

    Args:
        sizes: Tokens of each document.
        dtype: Dtype of the `.bin`, from `dtype_for`.
    """
    ends = np.cumsum(sizes, dtype=np.int64) * dtype.itemsize
    offsets = np.concatenate([np.zeros(1, dtype=np.int64), ends])[: len(sizes)]
    header = _HEADER.pack(_VERSION, _CODES[dtype.name], len(sizes), len(sizes) + 1)
    documents = np.arange(len(sizes) + 1)
    tables = (sizes.astype("<i4"), offsets.astype("<i8"), documents.astype("<i8"))
    return b"".join([_MAGIC, header, *(table.tobytes() for table in tables)])


def read_index(path: Path) -> tuple[Sizes, "np.dtype[np.integer]"]:
    """Read the tokens of each document and the dtype of the `.bin`.

    Raises:
        InputError: If the file is not an index in the format that `index_bytes` writes.
    """
    content = path.read_bytes()
    offset = len(_MAGIC)
    if content[:offset] != _MAGIC or len(content) < offset + _HEADER.size:
        raise InputError(f"{path} is not a token index: prepare the store again")
    version, code, count, _ = _HEADER.unpack_from(content, offset)
    dtypes = {code: name for name, code in _CODES.items()}
    offset += _HEADER.size
    if version != _VERSION or code not in dtypes or len(content) < offset + 4 * count:
        raise InputError(
            f"{path} has version {version}, dtype code {code}, {count} documents and "
            f"{len(content)} bytes, which do not belong together: prepare the store again"
        )
    sizes = np.frombuffer(content, dtype="<i4", count=count, offset=offset)
    return sizes, np.dtype(dtypes[code]).newbyteorder("<")
