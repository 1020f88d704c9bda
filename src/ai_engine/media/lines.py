"""How a call's sound comes to us: one *line kind* for each transport, which opens one line for each call.

A kind is made with the engine and holds what its calls share (ports, a listening socket). `open` makes a call's line
without waiting for anything. Asterisk is then asked for the media channel that the line describes, and `connected`
joins the two. Everything here is used on the control loop; a line's transport belongs to the media loop.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from ai_engine.asterisk.ari import AriClient
from ai_engine.asterisk.events import Channel
from ai_engine.media.transport import MediaTransport
from voice_wire.audio import AudioFormat


class MediaError(Exception):
    """A call's media cannot be connected; the message says why and what mends it."""


@dataclass(frozen=True, slots=True)
class MediaChannelRequest:
    """What Asterisk is asked for: the parameters of `channels.external_media` besides its id."""

    external_host: str
    media_format: str
    """Asterisk's name of it: ulaw, alaw, slin, slin16, g722."""
    transport: Literal["udp", "tcp", "websocket"] = "udp"
    encapsulation: Literal["rtp", "audiosocket", "none"] = "rtp"
    connection_type: Literal["client", "server"] = "client"
    data: str | None = None
    transport_data: str | None = None


class OpenLine(Protocol):
    """One call's. Its transport's `close` gives back all it holds, connected or not."""

    @property
    def transport(self) -> MediaTransport: ...

    @property
    def request(self) -> MediaChannelRequest:
        """What to ask Asterisk for."""

    async def connected(self, ari: AriClient, channel: Channel) -> None:
        """Asterisk has made the media channel: join it. Raises `AriError` or `MediaError`; may be cancelled."""


class LineKind(Protocol):
    """One transport, shared by all calls of an engine."""

    @property
    def formats(self) -> Mapping[str, AudioFormat]:
        """The formats that work both ways, by Asterisk's names, and what a transport of each takes to `play`."""

    async def start(self) -> None:
        """Open what all calls share. Raises `MediaError` where it cannot be had."""

    async def stop(self) -> None:
        """Give it back; the lines are closed. Idempotent."""

    def open(self, call_id: str, media_format: str) -> OpenLine:
        """A call's line in one of `formats`. Raises `MediaError` or `PortError` when there is nothing to open it on."""
