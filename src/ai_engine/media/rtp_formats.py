"""What Asterisk's formats are as RTP: payload type, bytes, and how a call turns them into sound and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from ai_engine.media.g722 import G722Codec
from ai_engine.media.jitter import Payload
from ai_engine.media.rtp import PT_G722, PT_L16_MONO, PT_PCMA, PT_PCMU
from voice_wire.audio import ALAW_8K, MULAW_8K, PCM_8K, PCM_16K, AudioFormat, Pcm, decode_alaw, decode_mulaw


class RtpCodec(Protocol):
    """One call's."""

    def encode(self, frame: bytes) -> bytes:
        """The payload of the next 20 ms, given in the wire format's `format`."""

    def decode(self, payload: Payload) -> Pcm:
        """The next payload's samples, at the rate of `format`."""

    def peek(self, payload: Payload) -> Pcm:
        """The same of a payload whose turn may never come."""


class _Stateless:
    """Each payload stands for itself, and what is played is what is sent."""

    def __init__(
        self, decode: Callable[[Payload], Pcm], encode: Callable[[bytes], bytes] = lambda frame: frame
    ) -> None:
        self.encode = encode
        self.decode = self.peek = decode


def _decode_l16(payload: Payload) -> Pcm:
    return np.frombuffer(payload, ">i2").astype(np.int16)


def _swap(frame: bytes) -> bytes:
    return np.frombuffer(frame, np.int16).byteswap().tobytes()


@dataclass(frozen=True, slots=True)
class WireFormat:
    """One that works both ways with Asterisk."""

    name: str
    payload_type: int
    format: AudioFormat
    """What a transport takes to `play`; its rate is the rate of received frames, too."""
    codec: Callable[[], RtpCodec]
    tick_bytes: int = 1
    """Bytes of a payload in one tick of the RTP clock, which runs at 8000 Hz for each of these (RFC 3551)."""
    silent_tick: bytes = b""
    """Silence, one tick of it."""


WIRE_FORMATS: Final = {
    wire.name: wire
    for wire in (
        WireFormat("ulaw", PT_PCMU, MULAW_8K, lambda: _Stateless(decode_mulaw), 1, MULAW_8K.silence_bytes),
        WireFormat("alaw", PT_PCMA, ALAW_8K, lambda: _Stateless(decode_alaw), 1, ALAW_8K.silence_bytes),
        WireFormat("slin", PT_L16_MONO, PCM_8K, lambda: _Stateless(_decode_l16, _swap), 2, PCM_8K.silence_bytes),
        # Its clock rate is 8000 by an error that RFC 3551 section 4.5.2 keeps for good: a tick is two samples.
        WireFormat("g722", PT_G722, PCM_16K, G722Codec, 1, b"\xfa"),
    )
}
"""`slin` is big-endian on the wire and little-endian (`linear16`) everywhere else."""
