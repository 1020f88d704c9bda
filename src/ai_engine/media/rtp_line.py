"""RTP as a line kind: a UDP socket of its own for each call, out of the configured ports."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ai_engine.asterisk import channels
from ai_engine.asterisk.ari import AriClient
from ai_engine.asterisk.events import Channel
from ai_engine.media.ip_address import is_unspecified
from ai_engine.media.lines import MediaChannelRequest, MediaError
from ai_engine.media.pacer import MediaLoop
from ai_engine.media.ports import RtpPorts
from ai_engine.media.rtp_formats import WIRE_FORMATS
from ai_engine.media.rtp_transport import RtpTransport
from voice_wire.audio import AudioFormat


class RtpLine:
    """One call's socket, and the address that Asterisk is told."""

    def __init__(self, transport: RtpTransport, request: MediaChannelRequest, media: MediaLoop) -> None:
        self.transport = transport
        self.request = request
        self._media = media

    async def connected(self, ari: AriClient, channel: Channel) -> None:
        """Hear Asterisk's address alone, and send to it."""
        self._media.post(self.transport.expect, *await channels.rtp_address(ari, channel))


class RtpLines:
    """The `LineKind` of RTP."""

    def __init__(
        self,
        ports: RtpPorts,
        media: MediaLoop,
        *,
        advertise: str,
        allowed_sources: Collection[str],
        downstream_ms: float,
        comfort_noise_dbfs: float | None = None,
    ) -> None:
        """`advertise` is the address Asterisk sends to; `allowed_sources` are those it may send from."""
        self.formats: Mapping[str, AudioFormat] = {name: wire.format for name, wire in WIRE_FORMATS.items()}
        self._ports = ports
        self._media = media
        self._advertise = advertise
        self._host = f"[{advertise}]" if ":" in advertise else advertise
        self._allowed_sources = frozenset(allowed_sources)
        self._downstream_ms = downstream_ms
        self._comfort_noise_dbfs = comfort_noise_dbfs

    async def start(self) -> None:
        """Nothing is shared but the ports' range. Raises `MediaError` where Asterisk would be told no address."""
        if is_unspecified(self._advertise):
            raise MediaError(
                f"Asterisk cannot send to {self._advertise or 'nowhere'}: set media.advertise to an address of this "
                "machine that Asterisk reaches"
            )

    async def stop(self) -> None:
        """Each line gives its own port back."""

    def open(self, call_id: str, media_format: str) -> RtpLine:
        """Raises `PortError` when no port is free, and `ValueError` for a format that is not among `formats`."""
        transport = RtpTransport(
            self._ports,
            wire_format=media_format,
            allowed_sources=self._allowed_sources,
            downstream_ms=self._downstream_ms,
            comfort_noise_dbfs=self._comfort_noise_dbfs,
        )
        request = MediaChannelRequest(f"{self._host}:{transport.local_port}", media_format)
        return RtpLine(transport, request, self._media)
