"""Kroko's model files (`.data`): a header in JSON, then encoder, decoder, joiner and tokens, in the clear or encrypted.

    u32 length  header (JSON)
    u32 length  encoder.onnx
    u32 length  decoder.onnx            encrypted in models that need a licence
    u32 length  joiner.onnx
    u32 length  tokens.txt

Numbers are little-endian (kroko-onnx, ModelData). The community's models are in the clear: they are streaming
Zipformers, which sherpa-onnx runs.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any, BinaryIO, Final

from local_ai_server.backends.stt.onnx_metadata import NotOnnx, read_metadata

PARTS: Final = ("encoder.onnx", "decoder.onnx", "joiner.onnx", "tokens.txt")
_LENGTH: Final = struct.Struct("<I")
_MAX_HEADER_BYTES: Final = 1 << 20
_COPY_BYTES: Final = 1 << 20


class NotCommunityModel(ValueError):
    """The file cannot be read here: it is encrypted, damaged or something else. The message says which, if known."""


def read_header(path: Path) -> dict[str, Any]:
    """The header of a `.data` file. Raises `NotCommunityModel`."""
    with path.open("rb") as stream:
        return _header(stream, path)


def is_community(path: Path) -> bool:
    """The file's parts lie in the clear."""
    try:
        _parts(path)
    except (NotCommunityModel, OSError):
        return False
    return True


def unpack(path: Path, folder: Path) -> None:
    """Writes the parts of a community model into `folder`. Raises `NotCommunityModel`, `OSError`."""
    folder.mkdir(parents=True, exist_ok=True)
    with path.open("rb") as stream:
        for name, (offset, length) in _parts(path).items():
            stream.seek(offset)
            with (folder / name).open("wb") as part:
                for at in range(0, length, _COPY_BYTES):
                    part.write(stream.read(min(length - at, _COPY_BYTES)))
    try:
        read_metadata(folder / PARTS[0])
    except NotOnnx as error:
        raise NotCommunityModel(f"{path}: its encoder is no ONNX model ({error})") from None


def _parts(path: Path) -> dict[str, tuple[int, int]]:
    """Where each part begins and how long it is."""
    size = path.stat().st_size
    found = {}
    with path.open("rb") as stream:
        _header(stream, path)
        for name in PARTS:
            length = _length(stream)
            if length is None or stream.tell() + length > size:
                raise NotCommunityModel(f"{path} is encrypted (a model that needs a licence), or damaged")
            found[name] = stream.tell(), length
            stream.seek(length, 1)
        if stream.tell() != size:
            raise NotCommunityModel(f"{path} is encrypted (a model that needs a licence), or damaged")
    return found


def _header(stream: BinaryIO, path: Path) -> dict[str, Any]:
    length = _length(stream)
    if length is None or not 2 <= length <= _MAX_HEADER_BYTES:
        raise NotCommunityModel(f"{path} is no Kroko model: it does not begin with a header")
    try:
        header = json.loads(stream.read(length))
    except (ValueError, RecursionError):
        raise NotCommunityModel(f"{path} is no Kroko model: its header is not JSON") from None
    if not isinstance(header, dict):
        raise NotCommunityModel(f"{path} is no Kroko model: its header is not a JSON object")
    return header


def _length(stream: BinaryIO) -> int | None:
    data = stream.read(_LENGTH.size)
    return int(_LENGTH.unpack(data)[0]) if len(data) == _LENGTH.size else None
