"""What an ONNX file says of itself: its `metadata_props`, read without its graph or any library.

ModelProto (onnx.proto): field 7 is the graph, field 14 the properties, each a StringStringEntryProto of key (1) and
value (2). Fields other than 14 are stepped over.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO, Final

_PROPERTIES: Final = 14
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_PROPERTY_BYTES: Final = 1 << 24


class NotOnnx(ValueError):
    """The bytes are no ONNX model, or not all of one."""


def read_metadata(path: Path) -> dict[str, str]:
    """The properties of the model in the file. Raises `NotOnnx`, `OSError`."""
    with path.open("rb") as stream:
        try:
            return _properties(stream, path.stat().st_size)
        except (EOFError, UnicodeDecodeError, ValueError) as error:
            raise NotOnnx(f"{path} is no ONNX model, or damaged: {error}") from None


def _properties(stream: BinaryIO, size: int) -> dict[str, str]:
    found: dict[str, str] = {}
    while stream.tell() < size:
        field, length = _field(stream)
        if length is None:
            continue
        if stream.tell() + length > size:
            raise EOFError("it ends within a field")
        if field == _PROPERTIES and length <= _MAX_PROPERTY_BYTES:
            key, value = _entry(stream.read(length))
            found[key] = value
        else:
            stream.seek(length, io.SEEK_CUR)
    return found


def _entry(data: bytes) -> tuple[str, str]:
    parts = {1: "", 2: ""}
    stream = io.BytesIO(data)
    while stream.tell() < len(data):
        field, length = _field(stream)
        if length is not None:
            parts[field] = stream.read(length).decode()
    return parts[1], parts[2]


def _field(stream: BinaryIO) -> tuple[int, int | None]:
    """The number of the next field and the length of its bytes; None where it was a number, which has been read."""
    tag = _varint(stream)
    field, kind = tag >> 3, tag & 7
    if kind == _BYTES:
        return field, _varint(stream)
    if kind == _VARINT:
        _varint(stream)
    elif kind == _FIXED64:
        stream.seek(8, io.SEEK_CUR)
    elif kind == _FIXED32:
        stream.seek(4, io.SEEK_CUR)
    else:
        raise ValueError(f"a field of kind {kind}")
    return field, None


def _varint(stream: BinaryIO) -> int:
    value = 0
    for shift in range(0, 64, 7):
        byte = stream.read(1)
        if not byte:
            raise EOFError("it ends within a number")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise ValueError("a number of more than 64 bits")
