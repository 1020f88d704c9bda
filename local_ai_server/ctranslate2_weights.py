"""Read the weights out of a CTranslate2 model file (`model.bin`), without CTranslate2.

The format is what CTranslate2's own converters write (`ModelSpec._serialize`, binary version 6): little-endian, a
version, the model's kind and revision, then each tensor with its name, shape, type and bytes, then other names for
some of them. Tensors are mapped, not copied.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

_VERSION: Final = 6
_DTYPES: Final = {0: "<f4", 1: "<i1", 2: "<i2", 3: "<i4", 4: "<f2"}
_MAX_RANK: Final = 8
_MAX_TENSORS: Final = 100_000

Tensor = npt.NDArray[Any]


class WeightsUnreadable(ValueError):
    """The file is no CTranslate2 model of a known version, or is damaged; the message says which."""


@dataclass(frozen=True, slots=True)
class Weights:
    kind: str
    """The model's class: `WhisperSpec`, …"""
    revision: int
    tensors: Mapping[str, Tensor]


class _Reader:
    def __init__(self, data: memoryview, name: str) -> None:
        self._data, self._name, self.at = data, name, 0

    def take(self, size: int) -> memoryview:
        if size > len(self._data) - self.at:
            raise WeightsUnreadable(f"{self._name} ends too early: it is cut short or damaged; fetch it again")
        piece = self._data[self.at : self.at + size]
        self.at += size
        return piece

    def number(self, code: str) -> int:
        value: int = struct.unpack("<" + code, self.take(struct.calcsize("<" + code)))[0]
        return value

    def string(self) -> str:
        raw = bytes(self.take(self.number("H")))
        if not raw.endswith(b"\0"):
            raise WeightsUnreadable(f"{self._name} is damaged: a name in it has no end; fetch it again")
        return raw[:-1].decode("utf-8", errors="replace")


def read_weights(path: Path) -> Weights:
    """All tensors of `path` by name, as read-only views of the file. Raises `WeightsUnreadable` and `OSError`."""
    with path.open("rb") as file:
        if path.stat().st_size < 4:
            raise WeightsUnreadable(f"{path.name} is no CTranslate2 model: it has no header")
        reader = _Reader(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)), path.name)
    version = reader.number("I")
    if version != _VERSION:
        raise WeightsUnreadable(f"{path.name} is no CTranslate2 model of binary version {_VERSION} (found {version})")
    kind, revision = reader.string(), reader.number("I")
    count = reader.number("I")
    if count > _MAX_TENSORS:
        raise WeightsUnreadable(f"{path.name} is damaged: it claims to hold {count} tensors")
    tensors = dict(_tensor(reader, path.name) for _ in range(count))
    for _ in range(min(reader.number("I"), _MAX_TENSORS)):
        alias, original = reader.string(), reader.string()
        if original not in tensors:
            raise WeightsUnreadable(f"{path.name} is damaged: {alias} stands for {original}, which is not there")
        tensors[alias] = tensors[original]
    return Weights(kind, revision, tensors)


def _tensor(reader: _Reader, file_name: str) -> tuple[str, Tensor]:
    name, rank = reader.string(), reader.number("B")
    if rank > _MAX_RANK:
        raise WeightsUnreadable(f"{file_name} is damaged: tensor {name!r} has {rank} dimensions")
    shape = tuple(reader.number("I") for _ in range(rank))
    type_id, size_bytes = reader.number("B"), reader.number("I")
    if type_id not in _DTYPES:
        raise WeightsUnreadable(f"{file_name}: tensor {name!r} has the unknown type {type_id}")
    dtype = np.dtype(_DTYPES[type_id])
    if math.prod(shape) * dtype.itemsize != size_bytes:
        raise WeightsUnreadable(f"{file_name} is damaged: tensor {name!r} of shape {shape} has {size_bytes} bytes")
    return name, np.frombuffer(reader.take(size_bytes), dtype=dtype).reshape(shape)
