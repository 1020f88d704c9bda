"""An RTP packet, RFC 3550 section 5.1: `RtpPacket.parse` and `bytes(packet)`.

Also what is multiplexed on the same port and must not be taken for audio: RTCP (RFC 5761).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final, Self

HEADER_BYTES: Final = 12
SEQUENCE_MASK: Final = 0xFFFF
TIMESTAMP_MASK: Final = 0xFFFFFFFF

PT_PCMU: Final = 0
PT_PCMA: Final = 8
PT_G722: Final = 9
PT_L16_MONO: Final = 10
"""RFC 3551 gives 10 to 44.1 kHz stereo; Asterisk sends its `slin` (8 kHz, mono, big-endian) under it."""
PT_COMFORT_NOISE: Final = 13
"""RFC 3389. Asterisk uses the older 19 as well, see `COMFORT_NOISE_TYPES`."""
COMFORT_NOISE_TYPES: Final = frozenset({PT_COMFORT_NOISE, 19})

_VERSION_2: Final = 0x80
_FIXED_HEADER: Final = struct.Struct("!BBHII")
_EXTENSION_HEADER: Final = struct.Struct("!HH")


class RtpError(ValueError):
    """Not an RTP packet. The only error that parsing raises."""


@dataclass(slots=True)
class RtpPacket:
    """One packet. `payload` of a parsed packet is a view into the datagram: not copied, and keeps it alive."""

    payload_type: int
    """0..127"""
    sequence: int
    """16 bits, wraps"""
    timestamp: int
    """32 bits, in samples of the payload's clock, wraps"""
    ssrc: int
    payload: bytes | memoryview = b""
    marker: bool = False
    csrcs: tuple[int, ...] = ()
    """Contributing sources, at most 15."""
    extension: tuple[int, bytes] | None = None
    """Profile number and body of the header extension; the body is a multiple of 4 bytes."""
    padding_bytes: int = 0
    """Octets behind the payload, the count octet included; 0 means the padding bit is clear."""

    @classmethod
    def parse(cls, datagram: bytes | memoryview) -> Self:
        """The packet in one datagram. Raises `RtpError`, and nothing else, for what is none."""
        end = len(datagram)
        if end < HEADER_BYTES:
            raise RtpError(f"{end} bytes are too few for an RTP header of {HEADER_BYTES}")
        flags, second, sequence, timestamp, ssrc = _FIXED_HEADER.unpack_from(datagram)
        if flags == _VERSION_2:  # no padding, extension or CSRC: what telephones send
            return cls(second & 0x7F, sequence, timestamp, ssrc, memoryview(datagram)[HEADER_BYTES:], second > 0x7F)
        if flags >> 6 != 2:
            raise RtpError(f"RTP version is {flags >> 6}, not 2")

        start = HEADER_BYTES + 4 * (flags & 0x0F)
        if start > end:
            raise RtpError(f"{flags & 0x0F} CSRCs do not fit into {end} bytes")
        csrcs = struct.unpack_from(f"!{flags & 0x0F}I", datagram, HEADER_BYTES)

        extension = None
        if flags & 0x10:
            if start + _EXTENSION_HEADER.size > end:
                raise RtpError("the header extension is cut off")
            profile, words = _EXTENSION_HEADER.unpack_from(datagram, start)
            body = start + _EXTENSION_HEADER.size
            start = body + 4 * words
            if start > end:
                raise RtpError(f"a header extension of {words} words does not fit into {end} bytes")
            extension = (profile, bytes(datagram[body:start]))

        padding_bytes = 0
        if flags & 0x20:
            padding_bytes = datagram[end - 1] if end > start else 0
            if not 0 < padding_bytes <= end - start:
                raise RtpError(f"padding of {padding_bytes} bytes does not fit into {end - start}")
        payload = memoryview(datagram)[start : end - padding_bytes]
        return cls(second & 0x7F, sequence, timestamp, ssrc, payload, second > 0x7F, csrcs, extension, padding_bytes)

    def __bytes__(self) -> bytes:
        """The datagram. Raises `RtpError` for what no packet can carry."""
        if self.extension is not None and len(self.extension[1]) % 4:
            raise RtpError(f"a header extension of {len(self.extension[1])} bytes is not a multiple of 4")
        if len(self.csrcs) > 15 or not 0 <= self.padding_bytes <= 255:
            raise RtpError(f"{len(self.csrcs)} CSRCs (15 at most), {self.padding_bytes} bytes of padding (255 at most)")
        if not 0 <= self.payload_type <= 127:
            raise RtpError(f"payload type {self.payload_type} is not within 0..127")
        flags = _VERSION_2 | len(self.csrcs)
        if self.extension is not None:
            flags |= 0x10
        if self.padding_bytes:
            flags |= 0x20
        second = self.payload_type | (0x80 if self.marker else 0)
        try:
            parts = [_FIXED_HEADER.pack(flags, second, self.sequence, self.timestamp, self.ssrc)]
            parts.append(struct.pack(f"!{len(self.csrcs)}I", *self.csrcs))
            if self.extension is not None:
                profile, body = self.extension
                parts += [_EXTENSION_HEADER.pack(profile, len(body) // 4), body]
        except struct.error as error:
            raise RtpError(f"a header field is out of range: {error}") from error
        parts.append(bytes(self.payload))
        if self.padding_bytes:
            parts.append(bytes(self.padding_bytes - 1) + bytes([self.padding_bytes]))
        return b"".join(parts)


def write_header(
    buffer: bytearray, payload_type: int, sequence: int, timestamp: int, ssrc: int, *, marker: bool
) -> None:
    """The fixed header of a plain packet, written over the first 12 bytes of a buffer that is used again and again."""
    second = payload_type | 0x80 if marker else payload_type
    _FIXED_HEADER.pack_into(buffer, 0, _VERSION_2, second, sequence, timestamp, ssrc)


def is_rtcp(datagram: bytes | memoryview) -> bool:
    """RTCP on the RTP port: its types 192..223 lie where RTP has marker and payload types 64..95 (RFC 5761 §4)."""
    return len(datagram) >= 2 and 192 <= datagram[1] <= 223
