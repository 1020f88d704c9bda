"""RTP to and from Asterisk: a `MediaTransport` on a UDP socket of its own.

The socket is read when the pacer ticks, not when packets come: sound is handed out by ticks anyway, and waking the loop
for each packet costs more than all the rest (the kernel's time stamps tell when each packet really came).

Asterisk sends from the port it listens on, so one address is the peer in both directions. It is told by the channel's
`UNICASTRTP_LOCAL_ADDRESS` and `_PORT` (`expect`) or is the first allowed address heard; from then on it alone is heard.
"""

from __future__ import annotations

import random
import socket
import struct
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import numpy as np

from ai_engine.media.comfort_noise import LOUDEST_DBFS, ComfortNoise, comfort_noise_gain
from ai_engine.media.heard_frames import FRAME_MS, HeardFrames
from ai_engine.media.ip_address import UNSPECIFIED, SocketAddress, as_seen, socket_address
from ai_engine.media.jitter import JitterBuffer
from ai_engine.media.line_quality import LineQuality
from ai_engine.media.paced_playout import PacedPlayout
from ai_engine.media.ports import RtpPorts
from ai_engine.media.rtp import (
    COMFORT_NOISE_TYPES,
    HEADER_BYTES,
    RtpError,
    RtpPacket,
    is_rtcp,
    write_header,
)
from ai_engine.media.rtp_formats import WIRE_FORMATS
from ai_engine.media.transport import Frame, FrameKind
from voice_wire.audio import AudioFormat, Pcm

FRAME_SAMPLES: Final = 160
_FRAME_S: Final = FRAME_MS / 1000

_FIRST_DYNAMIC_TYPE: Final = 96
_DATAGRAM_BYTES: Final = 2048
_SO_TIMESTAMPNS: Final = 35
"""Linux; Python has no name for it. Arrival times as seconds and nanoseconds of CLOCK_REALTIME."""
_TIMESTAMP: Final = struct.Struct("@ll")
_ANCILLARY_BYTES: Final = socket.CMSG_SPACE(_TIMESTAMP.size)
_MOST_WAIT_S: Final = 5.0
"""Longer in the socket's queue than this means that the wall clock was set, not that the packet waited."""
_MOST_READS: Final = 600
"""Per tick: more than a socket's queue holds, so that a flood cannot keep the loop busy for ever."""
_FLOOD: Final = 50
"""Strays within one tick that make us leave the filtering to the kernel."""
_MOST_BEHIND_FRAMES: Final = 2


@dataclass(slots=True)
class _Counts:
    """What the jitter buffer cannot count; named and explained in `LineQuality`."""

    received: int = 0
    sent: int = 0
    send_errors: int = 0
    strays: int = 0
    malformed: int = 0
    rtcp: int = 0
    events: int = 0
    comfort_noise: int = 0
    unexpected: int = 0


class RtpTransport(PacedPlayout):
    """A call's sound as RTP. Made and used on the media loop; nothing in it blocks."""

    def __init__(
        self,
        ports: RtpPorts,
        *,
        wire_format: str = "ulaw",
        allowed_sources: Collection[str] = ("127.0.0.1",),
        downstream_ms: float = 80.0,
        send_silence: bool = True,
        comfort_noise_dbfs: float | None = None,
    ) -> None:
        """`allowed_sources` are Asterisk's addresses. Raises `PortError`, and `ValueError` for another format.

        `send_silence`: frames of silence go out while the agent says nothing. They cost 0.2 ms of CPU per call-second,
        and keep alive what dies of silence: NAT bindings, session border controllers and phones that hang up when no
        RTP comes, and the bridge, for Asterisk sends no RTP to us before some sound flows in it. Without, nothing is
        sent in silence (DTX), and a marker bit says where the talkspurt begins.
        `comfort_noise_dbfs`: that noise in place of silence.
        """
        wire = WIRE_FORMATS.get(wire_format)
        if wire is None:
            raise ValueError(
                f"RTP format {wire_format!r} does not work both ways with Asterisk; use {', '.join(WIRE_FORMATS)}"
            )
        super().__init__(wire.format, downstream_ms=downstream_ms)
        self.pcm_rate_hz = wire.format.sample_rate_hz
        self._ports = ports
        self._socket = ports.bind()
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._receive_message = self._socket.recvmsg
        self._family = self._socket.family
        self._allowed_sources = frozenset(as_seen(source, self._family) for source in allowed_sources)
        self._peer: SocketAddress | None = None
        self._expected_port: int | None = None
        self._connected = False
        self._closed = False

        self._payload_type = wire.payload_type
        self._codec = codec = wire.codec()
        self._bytes_per_sample = wire.tick_bytes
        self._heard = HeardFrames(codec.decode, rate_hz=self.pcm_rate_hz, peek=codec.peek)
        self._jitter = JitterBuffer(
            bytes_per_sample=self._bytes_per_sample,
            silence=wire.silent_tick,
            is_quiet=self._heard.is_quiet,
        )
        self._counts = _Counts()
        self._heard_noise = ComfortNoise(AudioFormat("linear16", self.pcm_rate_hz), LOUDEST_DBFS)
        self._noise_gain: float | None = None
        """What the caller's silence sounds like, by his comfort noise packets; None while he speaks, or sends none."""

        self._quiet = ComfortNoise(wire.format, comfort_noise_dbfs) if send_silence else None
        self._packet = bytearray(HEADER_BYTES + FRAME_SAMPLES * self._bytes_per_sample)
        self._ssrc = random.getrandbits(32)
        self._sequence = random.getrandbits(16)
        self._timestamp_offset = random.getrandbits(32)
        self._began_at: float | None = None
        self._frame_number = 0  # 20 ms since `_began_at`, sent or not
        self._in_talkspurt = False

    @property
    def local_port(self) -> int:
        """The port to name in `external_host`."""
        port: int = self._socket.getsockname()[1]
        return port

    @property
    def peer(self) -> tuple[str, int] | None:
        """Where sound comes from and goes to; None as long as that is not known."""
        return None if self._peer is None else (self._peer[0], self._peer[1])

    def expect(self, host: str, port: int) -> None:
        """Lock to the address that the channel reports. An unspecified host (0.0.0.0) locks the port only."""
        if host in UNSPECIFIED:
            self._expected_port = port
            self._peer = self._peer if self._peer is not None and self._peer[1] == port else None
        else:
            self._peer = socket_address(host, port, self._family)
        if self._connected and self._peer is not None:
            self._socket.connect(self._peer)

    def line_quality(self) -> LineQuality:
        """The figures of this leg up to now. From any thread."""
        counts, received = self._counts, self._jitter.stats
        return LineQuality(
            received=counts.received,
            sent=counts.sent,
            lost=self._jitter.lost,
            late=received.late,
            duplicates=received.duplicates,
            concealed=received.concealed,
            restarts=received.restarts,
            strays=counts.strays,
            malformed=counts.malformed,
            events=counts.events,
            comfort_noise=counts.comfort_noise,
            unexpected=counts.unexpected,
            rtcp=counts.rtcp,
            send_errors=counts.send_errors,
            jitter_ms=self._jitter.jitter_ms,
            delay_ms=self._jitter.mean_delay_ms,
        )

    # --- in ---------------------------------------------------------------------------------------------------------

    def receive(self, now: float) -> Frame:
        """The next 20 ms of the caller, always a frame: silence when there is none."""
        if not self._closed:
            self._read(now)
        payload, kind = self._jitter.get(now)
        frame = self._heard.frame(payload, kind)
        if self._noise_gain is not None and kind is FrameKind.SILENCE:
            return Frame(self._noise(self._noise_gain), kind)
        return frame

    def _noise(self, gain: float) -> bytes:
        noise: Pcm = np.rint(np.frombuffer(self._heard_noise.frame(), np.int16) * gain).astype(np.int16)
        return noise.tobytes()

    def _read(self, now: float) -> None:
        """Take all packets that have come since the last tick."""
        wall = 0.0
        strays_before = self._counts.strays
        try:
            for _ in range(_MOST_READS):
                datagram, ancillary, _, source = self._receive_message(_DATAGRAM_BYTES, _ANCILLARY_BYTES)
                if source != self._peer and not self._latch(source):
                    self._counts.strays += 1
                    continue
                waited_s = 0.0
                if ancillary:
                    wall = wall or time.time()
                    seconds, nanoseconds = _TIMESTAMP.unpack(ancillary[0][2])
                    waited_s = wall - seconds - nanoseconds * 1e-9
                    if not 0 <= waited_s <= _MOST_WAIT_S:
                        waited_s = 0.0
                if self._take(datagram, now - waited_s) and waited_s < _FRAME_S and self._jitter.ready:
                    return  # one packet a tick, as usual: spare the look for another, which can wait if there is one
        except BlockingIOError:
            pass
        except OSError:  # an ICMP answer to what we sent earlier: Asterisk is gone, and ARI will say so
            self._counts.send_errors += 1
        finally:
            if self._counts.strays - strays_before > _FLOOD and self._peer is not None and not self._connected:
                self._socket.connect(self._peer)
                self._connected = True

    def _latch(self, source: SocketAddress) -> bool:
        """Take the first allowed address as the peer; False for a stray."""
        if self._peer is not None or source[0] not in self._allowed_sources:
            return False
        if self._expected_port is not None and source[1] != self._expected_port:
            return False
        self._peer = source
        return True

    def _take(self, datagram: bytes, arrived_s: float) -> bool:
        """Put a datagram of the peer where it belongs; True for a whole frame of audio or more."""
        if is_rtcp(datagram):
            self._counts.rtcp += 1
            return False
        try:
            packet = RtpPacket.parse(datagram)
        except RtpError:
            self._counts.malformed += 1
            return False
        self._counts.received += 1
        n_bytes = len(packet.payload)
        if packet.payload_type == self._payload_type and n_bytes and n_bytes % self._bytes_per_sample == 0:
            self._jitter.put(packet, arrived_s)
            self._noise_gain = None
            return n_bytes >= FRAME_SAMPLES * self._bytes_per_sample
        if packet.payload_type >= _FIRST_DYNAMIC_TYPE:
            self._counts.events += 1
        elif packet.payload_type == self._payload_type:
            self._counts.malformed += 1
        elif packet.payload_type in COMFORT_NOISE_TYPES:
            self._counts.comfort_noise += 1
            self._noise_gain = comfort_noise_gain(packet.payload)
        else:
            self._counts.unexpected += 1
        self._jitter.skip(packet, arrived_s)
        return False

    # --- out --------------------------------------------------------------------------------------------------------

    def transmit(self, now: float) -> bytes | None:
        """Send the next 20 ms of `played`, or silence, or nothing; to nowhere as long as the peer is not known."""
        frame = self.played.next_frame(now)
        if self._began_at is None:
            self._began_at = now
        else:
            self._frame_number += 1
            behind = round((now - self._began_at) * 1000 / FRAME_MS) - self._frame_number
            if behind > _MOST_BEHIND_FRAMES:  # ticks were left out: timestamps follow the clock, not the packets
                self._frame_number += behind
                self._in_talkspurt = False
        sound = self._quiet.frame() if frame is None and self._quiet is not None else frame
        if sound is None or self._peer is None or self._closed:
            self._in_talkspurt = False
            return None
        packet = self._packet
        packet[HEADER_BYTES:] = self._codec.encode(sound)
        timestamp = (self._timestamp_offset + self._frame_number * FRAME_SAMPLES) & 0xFFFFFFFF
        write_header(packet, self._payload_type, self._sequence, timestamp, self._ssrc, marker=not self._in_talkspurt)
        self._in_talkspurt = True
        self._sequence = (self._sequence + 1) & 0xFFFF
        try:
            self._socket.sendto(packet, self._peer)
            self._counts.sent += 1
        except OSError:  # a full queue or no route: the next frame is due in 20 ms and this one is not worth waiting
            self._counts.send_errors += 1
        return frame

    async def close(self) -> None:
        """Give the socket and its port back. Idempotent."""
        self._closed = True
        self._ports.give_back(self._socket)
