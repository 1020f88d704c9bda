"""chan_websocket with a real Asterisk: its traps as it has them, and a real SIP call whose sound goes over it."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pytest
from bridged_line import MOST_DELAY_MS, PATIENCE_S, babble, bridged_line, compare

from ai_engine.asterisk import channels
from ai_engine.asterisk.ari import AriClient
from ai_engine.asterisk.events import ChannelDestroyed, Event
from ai_engine.media import websocket_control as control
from ai_engine.media.pacer import MediaLoop
from ai_engine.media.transport import MediaTransport
from ai_engine.media.websocket_connection import MediaServer, WebsocketConnection, connect
from ai_engine.media.websocket_control import ControlEvent, ControlForm, MarkProcessed, MediaStart, MediaXoff, Status
from ai_engine.media.websocket_line import WebsocketLines
from ai_engine.media.websocket_media import WebsocketTransport
from tools.pbx_instance import Pbx
from voice_wire.audio import AudioFormat, encode

if TYPE_CHECKING:
    from tools.call import SipCaller

pytestmark = pytest.mark.asterisk

JSON = ControlForm.JSON


@pytest.fixture
def media() -> Iterator[MediaLoop]:
    loop = MediaLoop()
    loop.start()
    yield loop
    loop.stop()


def server_of(pbx: Pbx) -> MediaServer:
    return MediaServer(pbx.host, pbx.http_port, username=pbx.ari_user, password=pbx.ari_password)


# --- the traps, as this Asterisk has them -----------------------------------------------------------------------------


@dataclass
class Channel:
    """A media channel in no bridge, and the connection to it."""

    connection: WebsocketConnection
    events: list[ControlEvent] = field(default_factory=list)
    destroyed: asyncio.Event = field(default_factory=asyncio.Event)

    def send(self, *messages: str | bytes) -> None:
        for message in messages:
            self.connection.send(message)
        self.connection.flush()

    async def until(self, wanted: Callable[[ControlEvent], bool]) -> ControlEvent:
        """The next event of the kind; all that come go into `events`."""
        seen = len(self.events)
        async with asyncio.timeout(PATIENCE_S):
            while True:
                texts = [message for message in self.connection.receive() if isinstance(message, str)]
                self.events += [control.parse_event(text)[0] for text in texts]
                for event in self.events[seen:]:
                    seen += 1
                    if wanted(event):
                        return event
                await asyncio.sleep(0.005)

    async def mark(self, mark_id: str) -> None:
        self.send(control.mark_media(JSON, mark_id))
        await self.until(lambda event: event == MarkProcessed(mark_id))

    async def status(self) -> Status:
        self.send(control.get_status(JSON))
        status = await self.until(lambda event: isinstance(event, Status))
        assert isinstance(status, Status)
        return status

    @property
    def marks(self) -> list[str]:
        return [event.id for event in self.events if isinstance(event, MarkProcessed)]


@pytest.fixture
async def channel(pbx: Pbx) -> AsyncIterator[Channel]:
    ari = AriClient(pbx.ari_url, pbx.ari_user, pbx.ari_password, pbx.app)
    up, destroyed = asyncio.Event(), asyncio.Event()
    channel_id = f"trap-{time.monotonic_ns()}"

    def noted(event: Event) -> None:
        if isinstance(event, ChannelDestroyed) and event.channel_id == channel_id:
            destroyed.set()

    async def connected() -> None:
        up.set()

    async with ari:
        events = asyncio.create_task(ari.run(noted, connected))
        async with asyncio.timeout(PATIENCE_S):
            await up.wait()
        request = WebsocketLines(server_of(pbx), MediaLoop(), downstream_ms=80).open("trap", "ulaw").request
        made = await channels.external_media(
            ari,
            channel_id=channel_id,
            external_host=request.external_host,
            media_format=request.media_format,
            transport=request.transport,
            encapsulation=request.encapsulation,
            connection_type=request.connection_type,
        )
        connection = await connect(server_of(pbx), made.channelvars["MEDIA_WEBSOCKET_CONNECTION_ID"])
        try:
            channel = Channel(connection, destroyed=destroyed)
            start = await channel.until(lambda event: isinstance(event, MediaStart))
            assert isinstance(start, MediaStart)
            assert (start.format, start.optimal_frame_size, start.ptime_ms) == ("ulaw", 160, 20)
            yield channel
        finally:
            connection.close()
            async with asyncio.timeout(PATIENCE_S):
                await destroyed.wait()  # a closed socket hangs the channel up
            events.cancel()
            await asyncio.gather(events, return_exceptions=True)


FRAME = b"\x80" * 160


async def test_trap_1_asterisk_keeps_a_thousand_frames_and_drops_the_rest(channel: Channel) -> None:
    channel.send(control.pause_media(JSON))
    for _ in range(11):
        channel.send(FRAME * 100)
    assert (await channel.status()).queue_full
    assert MediaXoff() in channel.events
    assert (await channel.status()).queue_length == 1000


async def test_traps_2_and_3_a_flush_frees_marks_and_ends_no_pause(channel: Channel) -> None:
    channel.send(FRAME * 50, control.mark_media(JSON, "freed"), control.pause_media(JSON), control.flush_media(JSON))
    status = await channel.status()
    assert status.queue_length == 0
    assert status.media_paused
    channel.send(control.continue_media(JSON))
    await channel.mark("after")
    assert channel.marks == ["after"]


async def test_trap_4_a_paused_asterisk_tells_no_marks(channel: Channel) -> None:
    channel.send(control.pause_media(JSON), FRAME, control.mark_media(JSON, "late"))
    for _ in range(10):
        assert (await channel.status()).media_paused
        await asyncio.sleep(0.02)
    assert channel.marks == []
    channel.send(control.continue_media(JSON))
    await channel.until(lambda event: event == MarkProcessed("late"))


async def test_traps_5_and_6_what_is_too_long_or_too_short_is_ignored(channel: Channel) -> None:
    too_long = '{"command":"MARK_MEDIA","correlation_id":"' + "x" * 90 + '"}'
    assert len(too_long) > control.MOST_COMMAND_BYTES
    channel.send(control.pause_media(JSON), too_long, FRAME + b"\x80" * 90, b"\x80" * 159)
    assert (await channel.status()).queue_length == 1
    channel.send(control.continue_media(JSON))
    await channel.mark("short")
    assert channel.marks == ["short"]


# --- a call -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "media_format",
    ["slin16", *(pytest.param(name, marks=pytest.mark.slow) for name in ("ulaw", "alaw", "slin"))],
)
async def test_what_the_caller_says_comes_back(
    pbx: Pbx, media: MediaLoop, sip_caller: SipCaller, media_format: str
) -> None:
    lines = WebsocketLines(server_of(pbx), media, downstream_ms=80)
    async with (
        bridged_line(pbx, media, lines, media_format) as call,
        asyncio.timeout(PATIENCE_S),
        sip_caller.dial(pbx.sip_uri(700)) as phone,
    ):
        await call.bridged.wait()
        await asyncio.sleep(0.3)
        await phone.play(babble(3.0)).sent()
        await phone.send_dtmf("15")
        while len(call.digits) < 2:
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.5)
        recording = phone.recording
        transport = call.line.transport
        assert isinstance(transport, WebsocketTransport)
        quality, stats = transport.line_quality(), transport.stats
    delays_ms, likenesses = compare(recording.caller[: 8000 * 4], recording.agent)
    print(f"{media_format}: echo after {min(delays_ms):.0f}-{max(delays_ms):.0f} ms, {quality.known()}, {stats}")
    assert np.median(likenesses) > 0.95
    assert np.median(delays_ms) <= MOST_DELAY_MS
    assert stats.marks_processed > 10
    assert stats.malformed == stats.errors == stats.xoffs == 0
    assert call.digits == "15"  # by ARI, once; whatever the channel says of them besides is counted and no more


class Speaker:
    """A session that speaks turn after turn: each a tone of its own that goes on until it is interrupted."""

    def __init__(self, transport: MediaTransport) -> None:
        self.transport = transport

    def tick(self, now: float) -> None:
        self.transport.receive(now)
        self.transport.transmit(now)

    def failed(self, error: Exception) -> None:
        raise error


def tone(format: AudioFormat, hz: float, seconds: float) -> bytes:
    t = np.arange(round(format.sample_rate_hz * seconds)) / format.sample_rate_hz
    return encode((9000 * np.sin(2 * np.pi * hz * t)).astype(np.int16), format.encoding)


@pytest.mark.parametrize("media_format", ["ulaw", pytest.param("slin16", marks=pytest.mark.slow)])
async def test_pause_and_flush_are_silence_at_the_telephone(
    pbx: Pbx, media: MediaLoop, sip_caller: SipCaller, media_format: str
) -> None:
    """And what is said next is heard: neither waits for marks that do not come, nor for a pause to end."""
    lines = WebsocketLines(server_of(pbx), media, downstream_ms=80)
    async with (
        bridged_line(pbx, media, lines, media_format) as call,
        asyncio.timeout(PATIENCE_S),
        sip_caller.dial(pbx.sip_uri(700)) as phone,
    ):
        await call.bridged.wait()
        media.remove(call.echo)
        transport = call.line.transport
        assert isinstance(transport, WebsocketTransport)
        speaker = Speaker(transport)
        media.add(speaker)

        async def loudness_is(wanted: Callable[[float], bool]) -> None:
            while True:
                since = time.monotonic()
                await asyncio.sleep(0.1)
                heard = phone.heard_since(since)
                if heard.size and wanted(float(np.abs(heard.astype(int)).max())):
                    return

        async def do(action: Callable[[float], None]) -> float:
            begun = time.monotonic()
            media.post(lambda: action(time.monotonic()))
            return begun

        silences_ms = []
        for turn, cut in itertools.product(range(2), (transport.pause, transport.flush)):
            number, hz = 2 * turn + (cut == transport.flush) + 1, 500 + 100 * turn
            sound = tone(transport.format, hz, 30.0)
            await do(lambda now, n=number, s=sound: transport.play(n, s, "word " * 60, now))  # type: ignore[misc]
            await loudness_is(lambda peak: peak > 4000)
            begun = await do(cut)
            await loudness_is(lambda peak: peak < 500)
            silences_ms.append(1000 * (time.monotonic() - begun))
            if cut == transport.pause:
                await do(transport.resume)
                await loudness_is(lambda peak: peak > 4000)
                await do(transport.flush)
                await loudness_is(lambda peak: peak < 500)
        stats = transport.stats
        played = transport.played
        media.remove(speaker)
        heard_ms = [played.heard_ms(number, time.monotonic()) for number in range(1, 5)]
    print(f"{media_format}: silent after at most {silences_ms} ms (looked at each 100 ms), {stats}, heard {heard_ms}")
    assert stats.flushes >= 4
    assert stats.marks_processed > 10
    assert all(0 < ms < 25_000 for ms in heard_ms)
