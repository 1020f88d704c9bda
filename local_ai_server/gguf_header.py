"""What a GGUF file says of itself, read without trusting it: no length in the file makes this read or keep much.

The format is described in ggml's docs/gguf.md.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

_MAGIC: Final = b"GGUF"
_VERSIONS: Final = (2, 3)
_MOST_KEYS: Final = 4096
_MOST_TENSORS: Final = 1 << 20
_MOST_KEY_BYTES: Final = 1 << 16
_MOST_STRING_BYTES: Final = 4096
"""Longer strings (chat templates) are skipped, not kept."""
# struct codes of the scalar types; 8 is a string and 9 an array.
_SCALARS: Final = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_MOST_NESTED: Final = 4
_MOST_STRINGS: Final = 4_000_000
# general.file_type of llama.cpp's llama.h (LLAMA_FTYPE_MOSTLY_…).
_FILE_TYPES: Final = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS",
    21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S",
    29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4_MOE", 39: "NVFP4",
}  # fmt: skip


class NotGguf(ValueError):
    """The file is no GGUF file, or is damaged or cut short; the message says which."""


@dataclass(frozen=True, slots=True)
class GgufHeader:
    architecture: str
    name: str | None
    quantisation: str | None
    context_tokens: int | None
    """What the model was trained for."""
    has_chat_template: bool
    tensors: int
    figures: Mapping[str, int]
    """The architecture's own whole numbers: `block_count`, `embedding_length`, `attention.head_count_kv`, …"""


def read_gguf_header(path: Path) -> GgufHeader:
    """Raises NotGguf and OSError."""
    size_bytes = path.stat().st_size
    with path.open("rb") as file:
        reader = _Reader(file, size_bytes, path.name)
        if file.read(4) != _MAGIC:
            raise NotGguf(f"{path.name} is no GGUF file")
        version = reader.number("I")
        if version not in _VERSIONS:
            raise NotGguf(f"{path.name}: version {version} of the format is not known; convert the model anew")
        tensors, keys = reader.number("Q"), reader.number("Q")
        if keys > _MOST_KEYS or not 0 < tensors <= _MOST_TENSORS:
            raise NotGguf(f"{path.name} tells of {tensors} tensors and {keys} keys: it is damaged")
        values: dict[str, object] = {}
        for _ in range(keys):
            key = reader.string(_MOST_KEY_BYTES)
            if key is None:
                raise NotGguf(f"{path.name} has a key too long to be one: it is damaged")
            values[key.decode("utf-8", "replace")] = reader.value(reader.number("I"))
    architecture = values.get("general.architecture")
    if not isinstance(architecture, bytes):
        raise NotGguf(f"{path.name} does not tell its architecture: it is no language model")
    arch = architecture.decode("utf-8", "replace")
    name, file_type = values.get("general.name"), values.get("general.file_type")
    context = values.get(f"{arch}.context_length")
    return GgufHeader(
        architecture=arch,
        name=name.decode("utf-8", "replace") if isinstance(name, bytes) else None,
        quantisation=_FILE_TYPES.get(file_type) if isinstance(file_type, int) else None,
        context_tokens=context if isinstance(context, int) else None,
        has_chat_template="tokenizer.chat_template" in values,
        tensors=tensors,
        figures={
            key.removeprefix(f"{arch}."): value
            for key, value in values.items()
            if key.startswith(f"{arch}.") and isinstance(value, int)
        },
    )


class _Reader:
    def __init__(self, file: BinaryIO, size_bytes: int, name: str) -> None:
        self._file = file
        self._size_bytes = size_bytes
        self._name = name
        self._strings = 0

    def number(self, code: str) -> int:
        raw = self._file.read(struct.calcsize("<" + code))
        try:
            value: int = struct.unpack("<" + code, raw)[0]
        except struct.error as error:
            raise NotGguf(f"{self._name} ends inside its header: it is cut short; download it again") from error
        return value

    def skip(self, length: int) -> None:
        if length > self._size_bytes - self._file.tell():
            raise NotGguf(f"{self._name} ends inside its header: it is cut short or damaged; download it again")
        self._file.seek(length, 1)

    def string(self, most_bytes: int) -> bytes | None:
        """None, and skipped, when it is longer."""
        self._strings += 1
        if self._strings > _MOST_STRINGS:
            raise NotGguf(f"{self._name} has more strings than any vocabulary: it is damaged")
        length = self.number("Q")
        if length > most_bytes:
            self.skip(length)
            return None
        start = self._file.tell()
        self.skip(length)
        self._file.seek(start)
        return self._file.read(length)

    def value(self, kind: int, depth: int = 0) -> object:
        """A scalar or a short string; None for what is skipped."""
        if kind == _STRING:
            return self.string(_MOST_STRING_BYTES)
        if kind in _SCALARS:
            return self.number(_SCALARS[kind])
        if kind != _ARRAY or depth >= _MOST_NESTED:
            raise NotGguf(f"{self._name} has a value of unknown type {kind}: it is damaged")
        element, count = self.number("I"), self.number("Q")
        if element in _SCALARS:
            self.skip(count * struct.calcsize("<" + _SCALARS[element]))
        else:
            least_bytes = 8 if element == _STRING else 12
            if count * least_bytes > self._size_bytes:
                raise NotGguf(f"{self._name} has an array longer than the file: it is damaged")
            for _ in range(count):
                self.value(element, depth + 1)
        return None
