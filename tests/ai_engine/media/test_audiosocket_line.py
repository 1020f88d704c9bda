"""AudioSocket's listening socket: whose connection is whose, and what becomes of those that are nobody's."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import cast

import pytest
import uvloop

from ai_engine.asterisk.ari import AriClient
from ai_engine.asterisk.events import Channel
from ai_engine.media import audiosocket_line
from ai_engine.media.audiosocket import SLIN, UUID, AudioSocketParser, Message, message
from ai_engine.media.audiosocket_line import AudioSocketLine, AudioSocketLines
from ai_engine.media.audiosocket_transport import AudioSocketTransport
from ai_engine.media.lines import MediaError
from ai_engine.media.pacer import MediaLoop

PATIENCE_S = 30.0
NO_ARI = cast("AriClient", None)
NO_CHANNEL = cast("Channel", None)


@pytest.fixture
def media() -> Iterator[MediaLoop]:
    loop = MediaLoop()
    loop.start()
    yield loop
    loop.stop()


def kind(
    media: MediaLoop, *, allowed: str = "127.0.0.1", port: int = 0, identify_s: float = PATIENCE_S
) -> AudioSocketLines:
    return AudioSocketLines(
        media,
        bind="127.0.0.1",
        port=port,
        advertise=None,
        allowed_sources=[allowed],
        downstream_ms=80,
        identify_s=identify_s,
    )


@pytest.fixture
async def lines(media: MediaLoop) -> AsyncIterator[AudioSocketLines]:
    lines = kind(media)
    await lines.start()
    yield lines
    await lines.stop()


class Connection:
    """Asterisk's, or somebody else's."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.parser = AudioSocketParser()

    async def next(self, count: int = 1) -> list[Message]:
        """The next messages."""
        messages: list[Message] = []
        async with asyncio.timeout(PATIENCE_S):
            while len(messages) < count:
                data = await self.reader.read(65536)
                assert data, "the connection was closed"
                messages += self.parser.feed(data)
        return messages

    async def was_closed(self) -> bool:
        async with asyncio.timeout(PATIENCE_S):
            with contextlib.suppress(ConnectionError):
                while await self.reader.read(65536):
                    pass
        return True


@contextlib.asynccontextmanager
async def connection(lines: AudioSocketLines, first: bytes = b"") -> AsyncIterator[Connection]:
    reader, writer = await asyncio.open_connection("127.0.0.1", lines.port)
    writer.write(first)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def naming(line: AudioSocketLine) -> bytes:
    """The first message of that call's connection."""
    assert line.request.data is not None
    return message(UUID, uuid.UUID(line.request.data).bytes)


async def closed(media: MediaLoop, line: AudioSocketLine) -> None:
    await asyncio.wrap_future(media.submit(line.transport.close()))


async def until_refused(lines: AudioSocketLines, **expected: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while lines.refused != expected:
            await asyncio.sleep(0.005)


async def test_what_asterisk_is_asked_for(lines: AudioSocketLines, media: MediaLoop) -> None:
    line = lines.open("call", "slin16")
    request = line.request
    assert (request.transport, request.encapsulation, request.connection_type) == ("tcp", "audiosocket", "client")
    assert request.external_host == f"127.0.0.1:{lines.port}"
    assert request.media_format == "slin16"
    assert uuid.UUID(request.data).version == 4
    assert line.transport.pcm_rate_hz == 16000
    await closed(media, line)


async def test_a_connection_reaches_the_call_it_names_and_hears_silence_at_once(
    lines: AudioSocketLines, media: MediaLoop
) -> None:
    one, other = lines.open("one", "slin"), lines.open("other", "slin")
    assert lines.waiting == 2
    async with connection(lines, naming(other)) as asterisk:
        async with asyncio.timeout(PATIENCE_S):
            await other.connected(NO_ARI, NO_CHANNEL)
        assert await asterisk.next(3) == [Message(SLIN, bytes(320))] * 3  # nobody ticks this call yet
        assert lines.waiting == 1
        await closed(media, other)
        assert await asterisk.was_closed()
    await closed(media, one)
    assert lines.waiting == 0
    assert not lines.refused


def test_the_same_on_the_event_loop_of_the_engine(media: MediaLoop) -> None:
    async def scenario() -> None:
        lines = kind(media)
        await lines.start()
        line = lines.open("call", "slin")
        async with connection(lines, naming(line)) as asterisk:
            assert await asterisk.next(2)
            lines._identify_s = 0.1  # only now: a busy machine may take longer to read a name that is there
            async with connection(lines) as silent:
                assert await silent.was_closed()
            await closed(media, line)
            assert await asterisk.was_closed()
        await lines.stop()
        assert lines.refused == {"silent": 1}

    uvloop.run(scenario())


async def test_a_uuid_in_pieces_and_sound_right_behind_it(lines: AudioSocketLines, media: MediaLoop) -> None:
    line = lines.open("call", "slin")
    first = naming(line)
    async with connection(lines, first[:2]) as asterisk:
        for piece in (first[2:9], first[9:] + message(SLIN, b"\x01\x02" * 160)):
            await asterisk.writer.drain()
            await asyncio.sleep(0.01)
            asterisk.writer.write(piece)
        async with asyncio.timeout(PATIENCE_S):
            await line.connected(NO_ARI, NO_CHANNEL)
            while not line.transport.line_quality().received:
                await asyncio.sleep(0.005)
    assert line.transport.line_quality().malformed == 0
    await closed(media, line)


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        pytest.param(message(UUID, uuid.uuid4().bytes), "unknown", id="a UUID of no call"),
        pytest.param(message(SLIN, bytes(16)), "malformed", id="sound before a UUID"),
        pytest.param(message(SLIN, bytes(320)), "malformed", id="a frame of sound before a UUID"),
        pytest.param(b"\x03\x00\x015", "malformed", id="a digit before a UUID"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", "malformed", id="HTTP"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01", "malformed", id="TLS"),
    ],
)
async def test_what_names_no_call_is_closed_and_counted(lines: AudioSocketLines, first: bytes, reason: str) -> None:
    async with connection(lines, first) as stranger:
        assert await stranger.was_closed()
    await until_refused(lines, **{reason: 1})


async def test_a_second_connection_with_the_same_uuid_is_closed_and_the_first_goes_on(
    lines: AudioSocketLines, media: MediaLoop
) -> None:
    line = lines.open("call", "slin")
    async with connection(lines, naming(line)) as asterisk:
        await asterisk.next()
        async with connection(lines, naming(line)) as second:
            assert await second.was_closed()
        assert await asterisk.next(2)
    assert lines.refused == {"unknown": 1}
    await closed(media, line)


async def test_a_call_that_has_ended_is_no_longer_expected(lines: AudioSocketLines, media: MediaLoop) -> None:
    line = lines.open("call", "slin")
    await closed(media, line)
    async with connection(lines, naming(line)) as late:
        assert await late.was_closed()
    assert lines.refused == {"unknown": 1}


@pytest.mark.parametrize("said", [b"", b"\x01", b"\x01\x00\x10" + bytes(15)], ids=["nothing", "a byte", "all but one"])
async def test_who_does_not_say_whose_it_is_in_time_is_closed(media: MediaLoop, said: bytes) -> None:
    lines = kind(media, identify_s=0.1)
    await lines.start()
    async with connection(lines, said) as slow:
        assert await slow.was_closed()
    await until_refused(lines, silent=1)
    await lines.stop()


async def test_who_closes_before_he_says_whose_it_is_is_counted(lines: AudioSocketLines) -> None:
    async with connection(lines, b"\x01\x00"):
        pass
    await until_refused(lines, silent=1)


async def test_addresses_that_are_not_allowed_are_closed(media: MediaLoop) -> None:
    lines = kind(media, allowed="192.0.2.7")
    await lines.start()
    line = lines.open("call", "slin")
    async with connection(lines, naming(line)) as foreign:
        assert await foreign.was_closed()
    assert lines.refused == {"address": 1}
    assert lines.waiting == 1
    await closed(media, line)
    await lines.stop()


@pytest.mark.parametrize("allowed", ["127.0.0.1", "::ffff:127.0.0.1"])
async def test_addresses_are_compared_as_addresses(media: MediaLoop, allowed: str) -> None:
    lines = kind(media, allowed=allowed)
    await lines.start()
    line = lines.open("call", "slin")
    async with connection(lines, naming(line)) as asterisk:
        await asterisk.next()
    await closed(media, line)
    await lines.stop()


async def test_ipv6_is_told_to_asterisk_in_brackets(media: MediaLoop) -> None:
    lines = AudioSocketLines(media, bind="::1", port=0, advertise=None, allowed_sources=["0::1"], downstream_ms=80)
    try:
        await lines.start()
    except MediaError as error:
        pytest.skip(f"no IPv6 here: {error}")
    line = lines.open("call", "slin")
    assert line.request.external_host == f"[::1]:{lines.port}"
    reader, writer = await asyncio.open_connection("::1", lines.port)
    writer.write(naming(line))
    assert await Connection(reader, writer).next() == [Message(SLIN, bytes(320))]
    writer.close()
    await closed(media, line)
    await lines.stop()


async def test_a_crowd_of_silent_connections_does_not_keep_asterisk_out(
    lines: AudioSocketLines, media: MediaLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audiosocket_line, "_MOST_UNKNOWN", 8)
    line = lines.open("call", "slin")
    async with contextlib.AsyncExitStack() as crowd:
        for _ in range(40):
            await crowd.enter_async_context(connection(lines))
        async with connection(lines, naming(line)) as asterisk:
            await asterisk.next()
        await closed(media, line)
    assert lines.refused["crowd"] >= 30


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_a_crowd_that_comes_at_once_is_kept_small(
    run: Callable[[Coroutine[None, None, None]], None], media: MediaLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They have all come before the first is accepted."""
    monkeypatch.setattr(audiosocket_line, "_MOST_UNKNOWN", 8)

    async def scenario() -> None:
        lines = kind(media)
        await lines.start()
        crowd = [socket.create_connection(("127.0.0.1", lines.port)) for _ in range(100)]
        most = 0
        async with asyncio.timeout(PATIENCE_S):
            while lines.refused["crowd"] < 92:
                await asyncio.sleep(0)
                most = max(most, lines.unknown)
        assert most <= 8 + 4
        await lines.stop()
        for connection in crowd:
            connection.close()

    run(scenario())


async def test_a_machine_without_the_family_of_the_address_is_told_with_the_setting(
    media: MediaLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown_family(*_: object) -> None:
        raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")

    monkeypatch.setattr(audiosocket_line.socket, "socket", unknown_family)
    lines = kind(media)
    with pytest.raises(MediaError, match=r"cannot listen .* \(media.audiosocket\): Address family not supported"):
        await lines.start()
    monkeypatch.undo()
    await lines.stop()


async def test_asterisk_that_does_not_connect_is_told_with_the_fix(
    lines: AudioSocketLines, media: MediaLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audiosocket_line, "_CONNECT_S", 0.05)
    line = lines.open("call", "slin")
    with pytest.raises(MediaError, match=r"did not connect to AudioSocket at 127.0.0.1:\d+.*audiosocket.advertise"):
        await line.connected(NO_ARI, NO_CHANNEL)
    await closed(media, line)
    assert lines.waiting == 0


async def test_waiting_for_the_connection_may_be_cancelled(lines: AudioSocketLines, media: MediaLoop) -> None:
    line = lines.open("call", "slin")
    waiting = asyncio.create_task(line.connected(NO_ARI, NO_CHANNEL))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await closed(media, line)
    assert lines.waiting == 0


@pytest.mark.parametrize(
    ("media_format", "why"),
    [
        ("ulaw", r"ulaw: Asterisk sends ulaw as if it were slin, and plays noise; use slin, slin16"),
        ("slin24", r"does not carry slin24; use slin, slin16"),
    ],
)
async def test_formats_that_do_not_work_are_refused_with_the_reason(
    lines: AudioSocketLines, media_format: str, why: str
) -> None:
    with pytest.raises(MediaError, match=why):
        lines.open("call", media_format)
    assert lines.waiting == 0


async def test_a_port_that_is_taken_is_told_with_the_setting(media: MediaLoop) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        lines = kind(media, port=taken.getsockname()[1])
        with pytest.raises(MediaError, match=r"cannot listen for AudioSocket on 127.0.0.1:\d+ \(media.audiosocket\)"):
            await lines.start()
        await lines.stop()


async def test_listening_everywhere_needs_an_address_to_tell_asterisk(media: MediaLoop) -> None:
    lines = AudioSocketLines(
        media, bind="0.0.0.0", port=0, advertise=None, allowed_sources=["127.0.0.1"], downstream_ms=80
    )
    with pytest.raises(MediaError, match=r"set media\.audiosocket\.advertise"):
        await lines.start()


async def test_stopping_gives_everything_back_and_may_be_done_twice(media: MediaLoop) -> None:
    tasks = asyncio.all_tasks()
    lines = kind(media)
    await lines.start()
    await lines.start()
    port = lines.port
    async with connection(lines) as unknown, connection(lines, b"\x01") as half:
        await asyncio.sleep(0.01)
        await lines.stop()
        await lines.stop()
        assert await unknown.was_closed()
        assert await half.was_closed()
    assert asyncio.all_tasks() == tasks
    assert not lines.refused
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
    with pytest.raises(MediaError, match="not started"):
        lines.open("call", "slin")
    assert lines.waiting == 0


async def test_a_fault_before_the_call_ticks_is_told_at_its_first_tick(
    lines: AudioSocketLines, media: MediaLoop
) -> None:
    line = lines.open("call", "slin")
    async with connection(lines, naming(line)) as asterisk:
        await asterisk.next()
        asterisk.writer.write(b"nonsense")
        async with asyncio.timeout(PATIENCE_S):
            while media.figures().sessions:
                await asyncio.sleep(0.005)
        assert line.transport.line_quality().malformed == 1
        with pytest.raises(MediaError, match="lost step"):
            line.transport.receive(1.0)
        await closed(media, line)


async def test_a_connection_that_comes_when_the_media_loop_has_ended_is_closed(lines: AudioSocketLines) -> None:
    ended = MediaLoop()
    line = AudioSocketLine(AudioSocketTransport("slin"), lines.open("call", "slin").request, ended)
    ours, theirs = socket.socketpair()
    line.arrived(ours)
    assert theirs.recv(1) == b""
    theirs.close()


async def test_listening_goes_on_when_a_connection_cannot_be_taken(
    lines: AudioSocketLines, media: MediaLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    accept, refusals = loop.sock_accept, [OSError(errno.EMFILE, "too many open files")]

    async def reluctant(listener: socket.socket) -> tuple[socket.socket, object]:
        if refusals:
            raise refusals.pop()
        return await accept(listener)

    monkeypatch.setattr(loop, "sock_accept", reluctant)
    line = lines.open("call", "slin")
    async with connection(lines), connection(lines, naming(line)) as asterisk:
        await asterisk.next()
        await closed(media, line)
    assert not refusals
    assert lines.refused["not accepted"] == 1
