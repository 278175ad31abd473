r"""The index of a `.bin` of token ids, in the form that RWKV-LM and Megatron read ("binidx").

    b"MMIDIDX\x00\x00"  u64 version, 1  u8 number of the dtype  u64 documents  u64 documents + 1
    i32 tokens of each document  i64 byte at which each begins  i64 0, 1, .. documents

All of it little-endian. The `.bin` holds the documents one behind the other and nothing else.
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
"""There is no number for uint32; ids below 2^31 are the same bytes in int32."""


def dtype_for(vocab_size: int) -> "np.dtype[np.integer]":
    """The narrowest dtype of a `.bin` for so many ids.

    Example:
        >>> dtype_for(2048), dtype_for(65536), dtype_for(65537)
        (dtype('uint16'), dtype('uint16'), dtype('int32'))
    """
    return np.dtype("<u2") if vocab_size <= 1 << 16 else np.dtype("<i4")


def index_bytes(sizes: Sizes, dtype: "np.dtype[np.integer]") -> bytes:
    """The content of a `.idx`.

    Args:
        sizes: Tokens of each document.
        dtype: Of the `.bin`, as `dtype_for` gives it.
    """
    ends = np.cumsum(sizes, dtype=np.int64) * dtype.itemsize
    pointers = np.concatenate([np.zeros(1, dtype=np.int64), ends])[: len(sizes)]
    header = _HEADER.pack(_VERSION, _CODES[dtype.name], len(sizes), len(sizes) + 1)
    documents = np.arange(len(sizes) + 1)
    tables = (sizes.astype("<i4"), pointers.astype("<i8"), documents.astype("<i8"))
    return b"".join([_MAGIC, header, *(table.tobytes() for table in tables)])


def read_index(path: Path) -> tuple[Sizes, "np.dtype[np.integer]"]:
    """Tokens of each document, and the dtype of the `.bin` beside it.

    Raises:
        InputError: If it is no such index, or not one that `index_bytes` writes.
    """
    content = path.read_bytes()
    place = len(_MAGIC)
    if content[:place] != _MAGIC or len(content) < place + _HEADER.size:
        raise InputError(f"{path} is no index of tokens: prepare the store again")
    version, code, count, _ = _HEADER.unpack_from(content, place)
    names = {number: name for name, number in _CODES.items()}
    place += _HEADER.size
    if version != _VERSION or code not in names or len(content) < place + 4 * count:
        raise InputError(
            f"{path} has version {version}, dtype {code} and {len(content)} bytes, which is not "
            "what is written here: prepare the store again"
        )
    sizes = np.frombuffer(content, dtype="<i4", count=count, offset=place)
    return sizes, np.dtype(names[code]).newbyteorder("<")
