"""The line kinds there are, by the names that `media.transport` and `AI_TRANSPORT` know them by.

A transport is one file with its `LineKind`, a function here that makes it from settings, and an entry in the table.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from ai_engine.media.audiosocket_line import AudioSocketLines
from ai_engine.media.heard_frames import FRAME_MS
from ai_engine.media.line_formats import TransportName
from ai_engine.media.lines import LineKind, MediaError, OpenLine
from ai_engine.media.pacer import MediaLoop
from ai_engine.media.ports import RtpPorts
from ai_engine.media.rtp_line import RtpLines
from ai_engine.media.websocket_connection import MediaServer
from ai_engine.media.websocket_line import WebsocketLines
from ai_engine.settings import Settings


@dataclass(frozen=True, slots=True)
class LineParts:
    """What line kinds are made of."""

    settings: Settings
    media: MediaLoop
    ports: RtpPorts
    sources: frozenset[str]
    """The addresses Asterisk's media may come from."""


def _rtp(parts: LineParts) -> LineKind:
    media = parts.settings.media
    return RtpLines(
        parts.ports,
        parts.media,
        advertise=media.advertise or media.bind,
        allowed_sources=parts.sources,
        downstream_ms=media.downstream_ms,
        comfort_noise_dbfs=media.comfort_noise_dbfs,
    )


def _audiosocket(parts: LineParts) -> LineKind:
    media = parts.settings.media
    return AudioSocketLines(
        parts.media,
        bind=media.audiosocket.bind,
        port=media.audiosocket.port,
        advertise=media.audiosocket.advertise,
        allowed_sources=parts.sources,
        downstream_ms=media.downstream_ms,
        comfort_noise_dbfs=media.comfort_noise_dbfs,
    )


def _websocket(parts: LineParts) -> LineKind:
    media, asterisk = parts.settings.media, parts.settings.asterisk
    server = MediaServer(
        asterisk.host,
        asterisk.port,
        tls=ssl.create_default_context() if asterisk.scheme == "https" else None,
        username=asterisk.username,
        password=asterisk.password.get_secret_value(),
    )
    lead_frames = round(media.websocket.lead_ms / FRAME_MS)
    return WebsocketLines(server, parts.media, downstream_ms=media.downstream_ms, lead_frames=lead_frames)


LINE_KINDS: Final[Mapping[TransportName, Callable[[LineParts], LineKind]]] = {
    "rtp": _rtp,
    "audiosocket": _audiosocket,
    "websocket": _websocket,
}


class Lines:
    """An engine's line kinds. Each is started when the first call asks for it: what nobody uses listens nowhere."""

    def __init__(self, kinds: Mapping[TransportName, LineKind]) -> None:
        self._kinds = kinds
        self._started: set[TransportName] = set()
        self._starting = asyncio.Lock()

    async def start(self, transport: TransportName) -> None:
        """Have `transport` ready. Raises `MediaError` where it cannot be."""
        async with self._starting:
            if transport not in self._kinds:
                raise MediaError(f"there is no transport {transport}; there are {', '.join(self._kinds)}")
            if transport not in self._started:
                await self._kinds[transport].start()
                self._started.add(transport)

    async def stop(self) -> None:
        """Stop those that were started. Idempotent."""
        while self._started:
            await self._kinds[self._started.pop()].stop()

    async def open(self, call_id: str, transport: TransportName, media_format: str) -> OpenLine:
        """A call's line. Raises `MediaError` or `PortError`; its transport's `close` gives it back."""
        await self.start(transport)
        return self._kinds[transport].open(call_id, media_format)


def lines_from(parts: LineParts) -> Lines:
    """All kinds there are."""
    return Lines({name: make(parts) for name, make in LINE_KINDS.items()})
