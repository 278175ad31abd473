"""Zip archives whose headers ask for more than `zipfile` can do: it raises NotImplementedError."""

_LOCAL_HEADER, _DIRECTORY_ENTRY = b"PK\x03\x04", b"PK\x01\x02"


def with_unknown_compression(content: bytes) -> bytes:
    """Return an archive whose members are said to be compressed by a method of number 99."""
    content = _with_field(content, _LOCAL_HEADER, offset=8, value=99)
    return _with_field(content, _DIRECTORY_ENTRY, offset=10, value=99)


def of_later_version(content: bytes) -> bytes:
    """Return an archive whose members are said to need version 9.0 of the format."""
    return _with_field(content, _DIRECTORY_ENTRY, offset=6, value=90)


def _with_field(content: bytes, signature: bytes, *, offset: int, value: int) -> bytes:
    first, *records = content.split(signature)
    field = value.to_bytes(2, "little")
    start = offset - len(signature)
    changed = [record[:start] + field + record[start + 2 :] for record in records]
    return signature.join([first, *changed])
