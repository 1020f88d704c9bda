import struct
from pathlib import Path

import numpy as np
import pytest

from local_ai_server.gguf_requantise import NotRequantisable, requantise_q8_0


def string(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


def q4_1_block(scale: float, minimum: float, nibbles: list[int]) -> bytes:
    packed = bytes(nibbles[i] | nibbles[i + 16] << 4 for i in range(16))
    return struct.pack("<ee", scale, minimum) + packed


def gguf(tensors: list[tuple[str, int, int, bytes]]) -> bytes:
    """tensors: name, length, type, data (each 32-byte aligned by this function)."""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), 3)
    head += string("general.name") + struct.pack("<I", 8) + string("tiny")
    head += string("general.file_type") + struct.pack("<II", 4, 3)
    head += string("tokens") + struct.pack("<IIQ", 9, 8, 2) + string("a") + string("bc")
    data = b""
    for name, length, type_, raw in tensors:
        head += string(name) + struct.pack("<IQIQ", 1, length, type_, len(data))
        data += raw + bytes(-len(raw) % 32)
    return head + bytes(-len(head) % 32) + data


def test_values_survive_and_other_tensors_are_untouched(tmp_path: Path) -> None:
    norm = np.arange(3, dtype="<f4").tobytes()
    block = q4_1_block(0.5, -2.0, [i % 16 for i in range(32)])
    source, target = tmp_path / "in.gguf", tmp_path / "out.gguf"
    source.write_bytes(gguf([("norm", 3, 0, norm), ("w", 64, 3, block * 2), ("last", 3, 0, norm)]))
    requantise_q8_0(source, target)
    out = target.read_bytes()
    assert struct.unpack_from("<I", out, out.index(b"general.file_type") + len("general.file_type") + 4)[0] == 7
    data = out[len(out) - (32 + 96 + 32) :]
    assert data[:12] == data[128:140] == norm
    scale, *values = struct.unpack_from("<e32b", data, 32)
    expected = [(i % 16) * 0.5 - 2.0 for i in range(32)]
    assert np.allclose(np.array(values) * scale, expected, atol=5.5 / 127 / 2 + 0.01)


def test_a_block_of_zeros_stays_zero(tmp_path: Path) -> None:
    source, target = tmp_path / "in.gguf", tmp_path / "out.gguf"
    source.write_bytes(gguf([("w", 32, 3, q4_1_block(0, 0, [0] * 32))]))
    requantise_q8_0(source, target)
    assert target.read_bytes()[-64:] == bytes(64)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not a model", "not a GGUF file"),
        (b"GGUF" + struct.pack("<I", 2), "version 3"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1, 5)[:-3], "cut short"),
        (gguf([("w", 32, 12, bytes(32))]), "type 12"),
    ],
)
def test_other_input_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    source = tmp_path / "in.gguf"
    source.write_bytes(content)
    with pytest.raises(NotRequantisable, match=message):
        requantise_q8_0(source, tmp_path / "out.gguf")
