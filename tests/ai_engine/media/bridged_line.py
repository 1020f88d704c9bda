"""A real call through a real Asterisk to a line of ours that says what it hears, whatever its transport."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator

import numpy as np

from ai_engine.asterisk import channels
from ai_engine.asterisk.ari import AriClient
from ai_engine.asterisk.events import ChannelDtmfReceived, Event, StasisStart
from ai_engine.media.lines import LineKind, OpenLine
from ai_engine.media.pacer import MediaLoop
from ai_engine.media.transport import FrameKind, MediaTransport
from tools.pbx_instance import Pbx
from voice_wire.audio import Pcm, encode

PATIENCE_S = 60.0
MOST_DELAY_MS = 800
"""From telephone to telephone by way of us: some tens on a quiet machine, and nobody's fault on a busy one."""
_PIECE, _AROUND = 2000, 2000 + 8 * 1000


def babble(seconds: float) -> Pcm:
    """Noise in syllables: no two parts of it are alike, so that a delay can be told."""
    rng = np.random.default_rng(5)
    t = np.arange(int(8000 * seconds)) / 8000
    smooth = np.convolve(rng.normal(0, 4000, t.size), np.ones(5) / 5, "same")
    return (smooth * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * t))).astype(np.int16)


class Echo:
    """A session that says what it hears."""

    def __init__(self, transport: MediaTransport) -> None:
        self.transport = transport
        self.kinds: list[FrameKind] = []
        self.error: Exception | None = None

    def tick(self, now: float) -> None:
        frame = self.transport.receive(now)
        self.kinds.append(frame.kind)
        pcm = np.frombuffer(frame.pcm, np.int16)
        self.transport.play(1, encode(pcm, self.transport.format.encoding), "", now)
        self.transport.transmit(now)

    def failed(self, error: Exception) -> None:
        self.error = error


class BridgedLine:
    """The next call to the Stasis app: answered, joined to a line, echoed."""

    def __init__(self, ari: AriClient, media: MediaLoop, line: OpenLine) -> None:
        self.ari = ari
        self.line = line
        self.echo = Echo(line.transport)
        number = uuid.uuid4().hex[:8]
        self.media_channel_id = f"line-test-{number}"
        self.bridge_id = f"line-test-bridge-{number}"
        self.digits = ""
        """Of all channels, in order."""
        self.bridged = asyncio.Event()
        self._media = media
        self._starts: asyncio.Queue[StasisStart] = asyncio.Queue()

    def noted(self, event: Event) -> None:
        match event:
            case StasisStart():
                self._starts.put_nowait(event)
            case ChannelDtmfReceived(digit=digit):
                self.digits += digit

    async def serve(self) -> None:
        caller = (await self._starts.get()).channel.id
        await channels.answer(self.ari, caller)
        await channels.create_bridge(self.ari, self.bridge_id)
        request = self.line.request
        channel = await channels.external_media(
            self.ari,
            channel_id=self.media_channel_id,
            external_host=request.external_host,
            media_format=request.media_format,
            transport=request.transport,
            encapsulation=request.encapsulation,
            connection_type=request.connection_type,
            data=request.data,
            transport_data=request.transport_data,
        )
        await self.line.connected(self.ari, channel)
        await self._starts.get()
        await channels.add_to_bridge(self.ari, self.bridge_id, caller, self.media_channel_id)
        self._media.add(self.echo)
        self.bridged.set()


class Switchboard:
    """One connection to Asterisk's ARI for as many calls as a test makes, one after the other."""

    def __init__(self, ari: AriClient, media: MediaLoop) -> None:
        self.ari = ari
        self.connected = asyncio.Event()
        self._media = media
        self._call: BridgedLine | None = None

    def noted(self, event: Event) -> None:
        if self._call is not None:
            self._call.noted(event)

    async def is_connected(self) -> None:
        self.connected.set()

    @contextlib.asynccontextmanager
    async def next_call(self, lines: LineKind, media_format: str) -> AsyncIterator[BridgedLine]:
        """Dial the app inside and wait for `bridged`; afterwards all is given back."""
        line = lines.open("line-test", media_format)
        self._call = call = BridgedLine(self.ari, self._media, line)
        serving = asyncio.create_task(call.serve())
        try:
            yield call
            if serving.done():
                serving.result()
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
            self._media.remove(call.echo)
            await channels.hangup(self.ari, call.media_channel_id)
            await channels.destroy_bridge(self.ari, call.bridge_id)
            await asyncio.wrap_future(self._media.submit(line.transport.close()))
        if call.echo.error is not None:
            raise call.echo.error


@contextlib.asynccontextmanager
async def switchboard(pbx: Pbx, media: MediaLoop) -> AsyncIterator[Switchboard]:
    """Connected."""
    ari = AriClient(pbx.ari_url, pbx.ari_user, pbx.ari_password, pbx.app)
    board = Switchboard(ari, media)
    async with ari:
        events = asyncio.create_task(ari.run(board.noted, board.is_connected))
        try:
            async with asyncio.timeout(PATIENCE_S):
                await board.connected.wait()
            yield board
        finally:
            events.cancel()
            await asyncio.gather(events, return_exceptions=True)


@contextlib.asynccontextmanager
async def bridged_line(pbx: Pbx, media: MediaLoop, lines: LineKind, media_format: str) -> AsyncIterator[BridgedLine]:
    """One call, on a connection to the ARI of its own."""
    async with switchboard(pbx, media) as board, board.next_call(lines, media_format) as call:
        yield call


def compare(said: Pcm, heard: Pcm) -> tuple[list[float], list[float]]:
    """Delay and likeness of each quarter of a second that was spoken; a frame held or dropped moves those after it.

    What was not heard at all is like it by 0.
    """
    from tools.call.measure import lag_ms, likeness

    delays_ms: list[float] = []
    likenesses: list[float] = []
    for start in range(0, len(said) - _PIECE, _PIECE):
        piece, around = said[start : start + _PIECE], heard[start : start + _AROUND]
        if np.abs(piece).mean() > 500 and len(around) > len(piece):
            if not around.any():
                likenesses.append(0.0)
                continue
            delays_ms.append(lag_ms(piece, around))
            there = around[max(0, round(8 * delays_ms[-1])) :][: len(piece)]
            likenesses.append(likeness(piece, around, delays_ms[-1]) if there.any() else 0.0)
    return delays_ms, likenesses
