"""The other end of each transport, with one face: it speaks and hears PCM, a frame of 20 ms at a time."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import Final

import numpy as np
from audiosocket_peer import Peer as AudioSocketPeer
from chan_websocket import ChanWebsocket, connection_pair
from rtp_arrivals import Peer

from ai_engine.media.audiosocket import message
from ai_engine.media.audiosocket_transport import FORMATS as AUDIOSOCKET_FORMATS
from ai_engine.media.audiosocket_transport import AudioSocketTransport
from ai_engine.media.ports import RtpPorts
from ai_engine.media.rtp import RtpPacket
from ai_engine.media.rtp_formats import WIRE_FORMATS
from ai_engine.media.rtp_transport import RtpTransport
from ai_engine.media.transport import Frame, MediaTransport
from ai_engine.media.websocket_control import ControlForm
from ai_engine.media.websocket_media import WebsocketTransport
from voice_wire.audio import Pcm, decode, encode

KINDS: Final = (
    "rtp ulaw",
    "rtp alaw",
    "rtp slin",
    "audiosocket slin",
    "audiosocket slin16",
    "websocket ulaw",
    "websocket slin16",
)


class FarEnd(ABC):
    """Asterisk as a call's line sees it. `tick` is one of ours; time is the number it is told."""

    transport: MediaTransport

    def __init__(self) -> None:
        self.now = 100.0

    @property
    def frame_samples(self) -> int:
        return self.transport.pcm_rate_hz // 50

    def tick(self) -> Frame:
        self.now += 0.020
        frame = self.transport.receive(self.now)
        self.transport.transmit(self.now)
        self._after_tick()
        return frame

    def play(self, turn: int, pcm: Pcm, text: str = "") -> None:
        """What the agent says."""
        self.transport.play(turn, encode(pcm, self.transport.format.encoding), text, self.now)

    def close(self) -> None:
        asyncio.run(self.transport.close())

    @abstractmethod
    def connect(self) -> None:
        """Until now there was a transport and nobody at its other end."""

    @abstractmethod
    def say(self, pcm: Pcm) -> None:
        """20 ms of the caller, which the next tick finds."""

    @abstractmethod
    def heard(self) -> Pcm:
        """All that came since the last time, silence included."""

    def _after_tick(self) -> None:  # noqa: B027 - most have none
        """Asterisk's own timer."""


class RtpFarEnd(FarEnd):
    def __init__(self, media_format: str) -> None:
        super().__init__()
        self.rtp = RtpTransport(RtpPorts(42000, 42998, host="127.0.0.1", drain_s=0), wire_format=media_format)
        self.transport = self.rtp
        self._wire = WIRE_FORMATS[media_format]
        self._codec = self._wire.codec()
        self._numbers = (7, 1000)
        self._peer = Peer(self.rtp)

    def connect(self) -> None:
        self.rtp.expect(*self._peer.address)

    def say(self, pcm: Pcm) -> None:
        sequence, timestamp = self._numbers
        self._numbers = (sequence + 1, timestamp + 160)
        payload = self._codec.encode(encode(pcm, self.transport.format.encoding))
        packet = RtpPacket(self._wire.payload_type, sequence, timestamp, 99, payload)
        self._peer.send_bytes(bytes(packet))

    def skip(self, seconds: float) -> None:
        sequence, timestamp = self._numbers
        self._numbers = (sequence, timestamp + round(8000 * seconds))

    def heard(self) -> Pcm:
        frames = [self._codec.decode(RtpPacket.parse(datagram).payload) for datagram in self._peer.received_bytes()]
        return np.concatenate([np.zeros(0, np.int16), *frames])

    def close(self) -> None:
        super().close()
        self._peer.close()


class AudioSocketFarEnd(FarEnd):
    def __init__(self, media_format: str) -> None:
        super().__init__()
        self.transport = self._audiosocket = AudioSocketTransport(media_format)
        self._kind, _ = AUDIOSOCKET_FORMATS[media_format]
        self._peer: AudioSocketPeer | None = None

    def connect(self) -> None:
        self._peer = AudioSocketPeer(self._audiosocket)

    def say(self, pcm: Pcm) -> None:
        assert self._peer is not None
        self._peer.send_bytes(message(self._kind, pcm.tobytes()))

    def heard(self) -> Pcm:
        assert self._peer is not None
        sound = b"".join(one.payload for one in self._peer.received() if one.kind == self._kind)
        return np.frombuffer(sound, np.int16)

    def close(self) -> None:
        super().close()
        if self._peer is not None:
            self._peer.socket.close()


class WebsocketFarEnd(FarEnd):
    def __init__(self, media_format: str) -> None:
        super().__init__()
        self.transport = self._websocket = WebsocketTransport(media_format)
        self._asterisk: ChanWebsocket | None = None
        self._heard = 0

    def connect(self) -> None:
        connection, theirs = connection_pair()
        self._asterisk = ChanWebsocket(theirs, frame_bytes=self.transport.format.bytes_for_ms(20))
        self._websocket.attach(connection, ControlForm.JSON)

    def say(self, pcm: Pcm) -> None:
        assert self._asterisk is not None
        self._asterisk.say(encode(pcm, self.transport.format.encoding))

    def heard(self) -> Pcm:
        assert self._asterisk is not None
        silence = self.transport.format.silence(20)
        played = self._asterisk.played[self._heard :]
        self._heard += len(played)
        sound = b"".join(silence if frame is None else frame for frame in played)
        return decode(sound, self.transport.format.encoding)

    def _after_tick(self) -> None:
        if self._asterisk is not None:
            self._asterisk.tick()

    def close(self) -> None:
        super().close()
        if self._asterisk is not None:
            self._asterisk.tear()


def far_end(kind: str) -> FarEnd:
    """One of `KINDS`, not connected yet."""
    transport, media_format = kind.split()
    ends = {"rtp": RtpFarEnd, "audiosocket": AudioSocketFarEnd, "websocket": WebsocketFarEnd}
    return ends[transport](media_format)
