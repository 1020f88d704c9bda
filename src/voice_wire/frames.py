"""The header of version 3's binary frames.

     0               4               8
    +---------------+---------------+----------------
    | stream id     | sequence      | audio …
    +---------------+---------------+----------------

Both are unsigned 32-bit integers in network byte order. The sequence begins at 0 with each stream and grows by one a
frame. Streams of the two directions are apart: the client numbers its `stt_start`s, the server its `tts_start`s; a
number is used once per connection, so audio that was under way when its request was cancelled is told by its header.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from voice_wire.wire_model import ProtocolError

_HEADER = struct.Struct("!II")
HEADER_BYTES = _HEADER.size


class Frame(NamedTuple):
    stream_id: int
    sequence: int
    audio: bytes


def pack_frame(stream_id: int, sequence: int, audio: bytes) -> bytes:
    """The binary message that carries `audio`."""
    return _HEADER.pack(stream_id, sequence) + audio


def parse_frame(message: bytes) -> Frame:
    """The parts of a binary message. One that is shorter than its header raises `ProtocolError`."""
    if len(message) < HEADER_BYTES:
        raise ProtocolError(
            "invalid_message",
            f"a binary frame begins with {HEADER_BYTES} bytes of stream id and sequence; this one has {len(message)}",
        )
    stream_id, sequence = _HEADER.unpack_from(message)
    return Frame(stream_id, sequence, message[HEADER_BYTES:])
