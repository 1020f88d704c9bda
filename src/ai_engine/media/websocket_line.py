"""chan_websocket as a line kind: Asterisk makes the channel, we connect to its HTTP server.

That way round (`connection_type=server`) Asterisk needs no configuration beyond what ARI has already, nobody has to
reach us, and nothing listens here. Asterisk names the channel's address, which nobody can guess, in its answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from ai_engine.asterisk import channels
from ai_engine.asterisk.ari import AriClient
from ai_engine.asterisk.events import Channel
from ai_engine.media.lines import MediaChannelRequest, MediaError
from ai_engine.media.pacer import MediaLoop
from ai_engine.media.websocket_connection import MediaServer, WebsocketConnection, WebsocketRefused, connect
from ai_engine.media.websocket_control import ControlError, ControlForm, MediaStart, parse_event
from ai_engine.media.websocket_media import WEBSOCKET_FORMATS, WebsocketTransport
from voice_wire.audio import AudioFormat

_CONNECT_S: Final = 5.0
"""To connect and be told MEDIA_START; on a network of one's own it takes milliseconds."""
_MOST_EARLY: Final = 500
"""Messages before MEDIA_START, which is the first or nearly so; 10 s of sound."""
_CONNECTION_ID: Final = "MEDIA_WEBSOCKET_CONNECTION_ID"
_MODULES: Final = "load chan_websocket.so, res_websocket_client.so and res_http_websocket.so (Asterisk 22.6 or later)"


class WebsocketLine:
    """One call's."""

    def __init__(self, transport: WebsocketTransport, media_format: str, server: MediaServer, media: MediaLoop) -> None:
        self.transport = transport
        self.request = MediaChannelRequest(
            "INCOMING", media_format, transport="websocket", encapsulation="none", connection_type="server"
        )
        self._server = server
        self._media = media

    async def connected(self, ari: AriClient, channel: Channel) -> None:
        """Connect to the channel and hand the connection to the transport. Raises `AriError` or `MediaError`."""
        connection_id = channel.channelvars.get(_CONNECTION_ID)
        connection_id = connection_id or await channels.get_variable(ari, channel.id, _CONNECTION_ID)
        if not connection_id:
            raise MediaError(f"Asterisk named no connection id for the media channel; {_MODULES}")
        where = f"{self._server.host}:{self._server.port}"
        try:
            async with asyncio.timeout(_CONNECT_S):
                connection = await connect(self._server, connection_id)
                try:
                    start, form, early = await _media_start(connection)
                except BaseException:
                    connection.close()
                    raise
        except TimeoutError:
            raise MediaError(f"no media connection to Asterisk at {where} within {_CONNECT_S:g} s") from None
        except WebsocketRefused as error:
            raise MediaError(_why_refused(error, where)) from error
        except OSError as error:
            raise MediaError(f"Asterisk's HTTP server at {where} cannot be reached: {error}") from error
        try:
            self._check(start)
            if not self._media.post(self.transport.attach, connection, form, early):
                connection.close()  # the media loop has ended, and the call will
        except BaseException:
            connection.close()
            raise

    def _check(self, start: MediaStart) -> None:
        wanted, frame_bytes = self.request.media_format, self.transport.played.frame_bytes
        if start.format not in {"", wanted} or start.optimal_frame_size != frame_bytes:
            raise MediaError(
                f"Asterisk's media channel speaks {start.format or 'a format'} in frames of {start.optimal_frame_size} "
                f"bytes, where {wanted} has {frame_bytes}"
            )


class WebsocketLines:
    """The `LineKind` of chan_websocket."""

    def __init__(self, server: MediaServer, media: MediaLoop, *, downstream_ms: float, lead_frames: int = 3) -> None:
        self.formats: Mapping[str, AudioFormat] = {name: wire.format for name, wire in WEBSOCKET_FORMATS.items()}
        self._server = server
        self._media = media
        self._downstream_ms = downstream_ms
        self._lead_frames = lead_frames

    async def start(self) -> None:
        """Nothing is shared."""

    async def stop(self) -> None:
        """Each line gives its own connection back."""

    def open(self, call_id: str, media_format: str) -> WebsocketLine:
        """Raises `ValueError` for a format that is not among `formats`."""
        transport = WebsocketTransport(media_format, downstream_ms=self._downstream_ms, lead_frames=self._lead_frames)
        return WebsocketLine(transport, media_format, self._server, self._media)


async def _media_start(connection: WebsocketConnection) -> tuple[MediaStart, ControlForm, list[bytes | str]]:
    """The event, the form Asterisk speaks, and what else came before or with it: sound may (ASTERISK's trap 8)."""
    others: list[bytes | str] = []
    found: tuple[MediaStart, ControlForm] | None = None
    while True:
        for message in connection.receive():
            if isinstance(message, str) and found is None and (start := _as_media_start(message)) is not None:
                found = start
            else:
                others.append(message)
        if found is not None:
            return *found, others
        if len(others) > _MOST_EARLY:
            raise WebsocketRefused(f"{len(others)} messages came before MEDIA_START")
        if connection.lost is not None:
            raise WebsocketRefused(f"closed before MEDIA_START ({connection.lost})")
        await connection.readable()


def _as_media_start(text: str) -> tuple[MediaStart, ControlForm] | None:
    try:
        event, form = parse_event(text)
    except ControlError:
        return None
    return (event, form) if isinstance(event, MediaStart) else None


def _why_refused(error: WebsocketRefused, where: str) -> str:
    match error.status:
        case 401 | 403:
            return f"{where} refused the media connection ({error}): check asterisk.username and ASTERISK_ARI_PASSWORD"
        case 404:
            return f"{where} knows no such media connection ({error}): {_MODULES}, or the channel has ended"
    return f"{where} refused the media connection: {error}"
