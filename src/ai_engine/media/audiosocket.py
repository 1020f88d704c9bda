"""AudioSocket's messages, without any I/O: a kind of one byte, a length of two (big-endian), and that many bytes.

Written down in Asterisk's documentation (Configuration / Channel Drivers / AudioSocket). TCP keeps the order and loses
nothing, so what cannot be a message means that the two ends have lost step, and nothing after it can be told.
"""

from __future__ import annotations

from typing import Final, NamedTuple

HANG_UP: Final = 0x00
UUID: Final = 0x01
DTMF: Final = 0x03
SLIN: Final = 0x10
"""Signed 16-bit little-endian samples at 8 kHz; the kinds after it have 12, 16, 24, 32, 44.1, 48, 96 and 192 kHz."""
SLIN16: Final = 0x12
ERROR: Final = 0xFF

HEADER_BYTES: Final = 3
_AUDIO: Final = range(SLIN, SLIN + 9)
_FIXED_LENGTHS: Final = {HANG_UP: 0, UUID: 16, DTMF: 1}


class AudioSocketError(Exception):
    """What came is not AudioSocket, or the two ends have lost step. The connection is of no further use."""


class Message(NamedTuple):
    kind: int
    payload: bytes

    @property
    def is_audio(self) -> bool:
        return self.kind in _AUDIO


def header(kind: int, n_bytes: int) -> bytes:
    """What goes before a payload of `n_bytes`."""
    return bytes((kind, n_bytes >> 8, n_bytes & 0xFF))


def message(kind: int, payload: bytes = b"") -> bytes:
    """A whole message. Raises `ValueError` for one longer than its length can say."""
    if len(payload) > 0xFFFF:
        raise ValueError(f"{len(payload)} bytes do not fit into one AudioSocket message of at most 65535")
    return header(kind, len(payload)) + payload


class AudioSocketParser:
    """One connection's bytes in, in pieces of any size; whole messages out. Keeps less than one message."""

    def __init__(self) -> None:
        self._rest = b""
        self._error: AudioSocketError | None = None

    def feed(self, data: bytes) -> list[Message]:
        """The messages that `data` completes. Raises `AudioSocketError`, from then on at every call.

        Messages before the fault in the same piece are lost with it.
        """
        if self._error is not None:
            raise self._error
        if self._rest:
            data = self._rest + data
        messages: list[Message] = []
        position, end = 0, len(data)
        while end - position >= HEADER_BYTES:
            kind = data[position]
            n_bytes = data[position + 1] << 8 | data[position + 2]
            if (fault := _fault(kind, n_bytes)) is not None:
                self._rest = b""
                self._error = AudioSocketError(fault)
                raise self._error
            begins = position + HEADER_BYTES
            if end - begins < n_bytes:
                break
            position = begins + n_bytes
            messages.append(Message(kind, data[begins:position]))
        self._rest = data[position:]
        return messages


def _fault(kind: int, n_bytes: int) -> str | None:
    """Why this header cannot be one."""
    if kind in _AUDIO:
        return f"kind 0x{kind:02x} with {n_bytes} bytes ends in half a sample" if n_bytes % 2 else None
    if kind == ERROR:
        return None
    expected = _FIXED_LENGTHS.get(kind)
    if expected is None:
        return f"0x{kind:02x} is no kind of AudioSocket message"
    return f"kind 0x{kind:02x} has {n_bytes} bytes and not {expected}" if n_bytes != expected else None
