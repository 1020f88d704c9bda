"""The local components over one socket, against a server that speaks the real protocol."""

from __future__ import annotations

import asyncio

import pytest
from stand_in_server import TOKEN, StandInServer
from websockets.asyncio.server import serve

from ai_engine.providers.components.component import ComponentFailed, SttTraits
from ai_engine.providers.components.llm.local import LocalLanguageModel
from ai_engine.providers.components.local_socket import LocalSocket, LocalSocketSettings
from ai_engine.providers.components.stt.local import LocalSpeechToText
from ai_engine.providers.components.tts.local import LocalTextToSpeech
from voice_core.history import Message
from voice_wire.audio import MULAW_8K, PCM_8K
from voice_wire.messages import (
    Adopt,
    Auth,
    BackendChanged,
    Cancel,
    End,
    Error,
    LlmRequest,
    Ping,
    Sampling,
    SttDrop,
    SttFinalize,
    SttResult,
    SttStart,
    TtsRequest,
    Warm,
)

HELLO = [Message("user", "hello")]


def ignore(text: str, backend: str) -> None:
    """Of partial results."""


def settings(url: str, **changes) -> LocalSocketSettings:
    known = {"url": url, "token": TOKEN, "backoff_first_s": 0.01, "backoff_most_s": 0.05, "connect_timeout_s": 2.0}
    return LocalSocketSettings(**(known | changes))


class Client:
    """One call's three components."""

    def __init__(self, url: str, **changes) -> None:
        self.socket = LocalSocket(settings(url, **changes), call_id="call-1")
        self.stt = LocalSpeechToText(self.socket, input_format=PCM_8K, language="en")
        self.llm = LocalLanguageModel(self.socket)
        self.tts = LocalTextToSpeech(self.socket)

    async def __aenter__(self) -> Client:
        await self.stt.start()
        return self

    async def __aexit__(self, *_) -> None:
        await self.stt.stop()

    def reply(self, **more):
        return self.llm.reply(HELLO, **({"sampling": Sampling(max_tokens=9), "speculative": False} | more))

    def speak(self, **more):
        return self.tts.speak("Good day.", **({"audio_format": MULAW_8K, "speculative": False} | more))


async def text_of(client: Client) -> str:
    async with client.reply() as output:
        return "".join([delta async for delta in output])


async def test_a_call_has_one_connection_that_ends_cleanly():
    async with StandInServer() as server:
        async with Client(server.url) as client:
            await asyncio.gather(client.stt.start(), client.llm.start(), client.tts.start())
            assert len(server.connections) == 1
            assert server.of(Auth)[0].protocol_version == 3
            assert server.of(Auth)[0].call_id == "call-1"
            assert client.tts.voice == "joe"
        assert server.received[-1] == End()
        await client.stt.stop()
        assert asyncio.all_tasks() - {asyncio.current_task()} <= server_tasks()


def server_tasks() -> set[asyncio.Task]:
    return {t for t in asyncio.all_tasks() if "websockets" in repr(t.get_coro()) or "Server" in repr(t.get_coro())}


async def test_all_three_work_at_once_over_it():
    async with StandInServer() as server, Client(server.url) as client:
        utterance = client.stt.stream(1, ignore)
        utterance.send(b"\1\0" * 400)

        async def sound() -> bytes:
            async with client.speak() as output:
                return b"".join([chunk async for chunk in output])

        heard, text, audio, _ = await asyncio.gather(
            utterance.decode(speculative=True), text_of(client), sound(), client.llm.warm(HELLO)
        )
        assert (heard.text, heard.stt_backend, heard.confidence) == ("800 bytes", "stand_in", 0.5)
        assert text == "Hello."
        assert audio == b"abcdef"
        start = server.of(SttStart)[0]
        assert (start.encoding, start.sample_rate_hz, start.language) == ("linear16", 8000, "en")
        request = server.of(LlmRequest)[0]
        assert request.stream
        assert request.sampling.max_tokens == 9
        speech = server.of(TtsRequest)[0]
        assert (speech.encoding, speech.sample_rate_hz, speech.voice) == ("mulaw", 8000, None)
        assert server.of(Warm)[0].messages[0].content == "hello"
        assert not server.of(Cancel), "what ended by itself is not cancelled"


async def test_the_backend_is_learned_and_its_switch_is_told():
    traits: list[SttTraits] = []
    async with StandInServer() as server:
        client = Client(server.url)
        client.stt.on_change(traits.append)
        async with client:
            assert client.stt.traits == SttTraits("stand_in", True)
            (connection,) = server.connections
            await connection.send(
                BackendChanged(backend_type="stt", backend="sherpa", stt_backend="sherpa", needs_gating=False).to_json()
            )
            while len(traits) < 2:
                await asyncio.sleep(0.005)
        assert traits == [SttTraits("stand_in", True), SttTraits("sherpa", False)]


async def test_words_come_while_the_caller_speaks_and_not_after_the_utterance():
    heard: list[tuple[str, str]] = []
    async with StandInServer() as server, Client(server.url) as client:
        utterance = client.stt.stream(1, lambda text, backend: heard.append((text, backend)))
        other = client.stt.stream(2, ignore)
        for each in (utterance, other):
            each.send(b"\1\0" * 800)
        first, second = await server.wait_for(SttStart, 2)
        assert first.partials
        (connection,) = server.connections

        async def say(stream_id: int, text: str) -> None:
            await connection.send(
                SttResult(stream_id=stream_id, text=text, is_final=False, is_partial=True, stt_backend="vosk").to_json()
            )

        await say(first.stream_id, " no wait ")
        await say(second.stream_id, "something else")
        await say(first.stream_id, "no wait a moment")
        await utterance.decode(speculative=True)
        assert heard == [("no wait", "vosk"), ("no wait a moment", "vosk")]
        utterance.drop()
        await say(first.stream_id, "late")
        await other.decode(speculative=False)
        assert len(heard) == 2


async def test_after_a_lost_connection_the_words_of_the_new_stream_count():
    heard: list[str] = []
    async with StandInServer() as server, Client(server.url) as client:
        utterance = client.stt.stream(1, lambda text, backend: heard.append(text))
        utterance.send(b"\1\0" * 800)
        (first,) = await server.wait_for(SttStart)
        next(iter(server.connections)).transport.abort()
        while client.socket.up:
            await asyncio.sleep(0.005)
        await utterance.decode(speculative=True)
        second = server.of(SttStart)[-1]
        assert second.stream_id != first.stream_id
        (connection,) = server.connections
        for stream_id, text in ((first.stream_id, "old"), (second.stream_id, "new")):
            result = SttResult(stream_id=stream_id, text=text, is_final=False, is_partial=True, stt_backend="vosk")
            await connection.send(result.to_json())
        await utterance.decode(speculative=True)
        assert heard == ["new"]


async def test_speculative_audio_goes_on_in_the_same_stream():
    async with StandInServer() as server, Client(server.url) as client:
        utterance = client.stt.stream(1, ignore)
        for _ in range(7):
            utterance.send(b"\0" * 320)
        assert (await utterance.decode(speculative=True)).text == "2240 bytes"
        utterance.send(b"\0" * 320)
        assert (await utterance.decode(speculative=True)).text == "2560 bytes"
        utterance.drop()
        await server.wait_for(SttDrop)
        assert len(server.of(SttStart)) == 1
        assert [m.speculative for m in server.of(SttFinalize)] == [True, True]


@pytest.mark.parametrize("kind", ["llm", "tts"])
async def test_leaving_an_answer_cancels_it_and_its_late_audio_is_dropped(kind):
    async with StandInServer() as server, Client(server.url) as client:
        server.hold[kind] = asyncio.Event()
        context = client.reply() if kind == "llm" else client.speak()
        async with context as output:
            async for _ in output:
                break
        (cancel,) = await server.wait_for(Cancel)
        assert cancel.request_id == server.received[-2].request_id
        server.hold.clear()
        assert await text_of(client) == "Hello."
        assert client.socket.late_frames == (1 if kind == "tts" else 0)


async def test_a_cancelled_task_cancels_its_request():
    async with StandInServer() as server, Client(server.url) as client:
        server.hold = {"stt": asyncio.Event(), "warm": asyncio.Event()}
        for job in (client.stt.stream(1, ignore).decode(speculative=True), client.llm.warm(HELLO)):
            task = asyncio.create_task(job)
            await asyncio.sleep(0.05)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert len(await server.wait_for(Cancel, 2)) == 2


async def test_adopting_names_the_request():
    async with StandInServer() as server, Client(server.url) as client:
        server.hold = {"stt": asyncio.Event(), "llm": asyncio.Event()}
        utterance = client.stt.stream(1, ignore)
        decode = asyncio.create_task(utterance.decode(speculative=True))
        (finalize,) = await server.wait_for(SttFinalize)
        utterance.adopt()
        async with client.reply(speculative=True) as output:
            output.adopt()
            await server.wait_for(Adopt, 2)
            assert server.of(LlmRequest)[0].speculative
            assert [a.request_id for a in server.of(Adopt)] == [
                finalize.request_id,
                server.of(LlmRequest)[0].request_id,
            ]
        server.hold["stt"].set()
        await decode


async def test_a_lost_connection_fails_what_is_in_flight_and_the_next_request_connects_at_once():
    async with StandInServer() as server, Client(server.url, backoff_first_s=60, backoff_most_s=60) as client:
        server.hold["llm"] = asyncio.Event()
        utterance = client.stt.stream(1, ignore)
        utterance.send(b"\0" * 1600)
        with pytest.raises(ComponentFailed) as failure:
            async with client.reply() as output:
                async for _ in output:
                    next(iter(server.connections)).transport.abort()
        assert failure.value.retryable
        server.hold.clear()
        assert await text_of(client) == "Hello."
        utterance.send(b"\0" * 320)
        assert (await utterance.decode(speculative=True)).text == "1920 bytes", "all of it, on the new connection"
        assert len(server.of(Auth)) == 2


async def test_it_connects_again_by_itself():
    server = StandInServer()
    async with server:
        client = Client(server.url)
        async with client:
            await server.kill()
            while client.socket.up:
                await asyncio.sleep(0.005)
            with pytest.raises(ComponentFailed, match="python -m local_ai_server") as failure:
                await text_of(client)
            assert failure.value.retryable
            async with StandInServer(server.port) as again:
                await again.wait_for(Auth)
                assert await text_of(client) == "Hello."


async def test_a_server_that_does_not_answer_pings_is_left():
    async with StandInServer() as server:
        server.answers_pings = False
        async with Client(server.url, ping_interval_s=0.05):
            await server.wait_for(Auth, 2)
            assert server.of(Ping)


async def test_pings_keep_an_idle_call_connected():
    async with StandInServer() as server, Client(server.url, ping_interval_s=0.02):
        await server.wait_for(Ping, 5)
        assert len(server.of(Auth)) == 1


async def test_no_server_is_an_error_that_says_what_to_do():
    client = Client("ws://127.0.0.1:1")
    with pytest.raises(ComponentFailed, match="start it with `python -m local_ai_server` or set LOCAL_WS_URL"):
        await client.stt.start()
    await client.stt.stop()


async def test_a_wrong_token_is_an_error_that_says_what_to_do_and_is_not_tried_again():
    async with StandInServer() as server:
        client = Client(server.url, token="wrong")
        for _ in range(2):
            with pytest.raises(ComponentFailed, match="LOCAL_WS_AUTH_TOKEN must be the same") as failure:
                await client.stt.start()
            assert not failure.value.retryable
        await client.stt.stop()
        assert len(server.of(Auth)) == 1
    assert "wrong" not in repr(settings("ws://x", token="wrong"))


async def test_a_call_that_ends_while_it_connects_leaves_nothing():
    async def say_nothing(reader, writer) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    client = Client(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}", connect_timeout_s=30)
    starting = asyncio.create_task(client.stt.start())
    await asyncio.sleep(0.05)
    async with asyncio.timeout(1):
        await client.stt.stop()
        with pytest.raises(ComponentFailed, match="the call has ended"):
            await starting
    server.close()
    await server.wait_closed()


async def test_another_websocket_server_is_not_mistaken_for_ours():
    async def echo(connection) -> None:
        async for message in connection:
            await connection.send("hello " + message)

    async with serve(echo, "127.0.0.1", 0) as server:
        client = Client(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        with pytest.raises(ComponentFailed, match="is not local_ai_server"):
            await client.stt.start()
        await client.stt.stop()


async def test_a_server_that_breaks_the_protocol_is_left_and_found_again():
    async with StandInServer() as server, Client(server.url) as client:
        for nonsense in ("no json", "[]", b"abc", '{"type": "llm_delta"}'):
            (connection,) = server.connections
            await connection.send(nonsense)
            while connection in server.connections:
                await asyncio.sleep(0.005)
            await client.stt.start()
        (connection,) = server.connections
        await connection.send('{"type": "from_a_newer_server"}')
        assert await text_of(client) == "Hello."
        assert len(server.of(Auth)) == 5


async def test_what_is_no_local_ai_server_is_said_so():
    async def shrug(reader, writer) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(shrug, "127.0.0.1", 0)
    client = Client(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    with pytest.raises(ComponentFailed, match="no local_ai_server at"):
        await client.stt.start()
    await client.stt.stop()
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize(
    ("code", "said", "retryable"),
    [
        ("worker_failed", None, True),
        ("llm_not_loaded", None, False),
        ("llm_not_loaded", True, True),
        ("prompt_too_long", None, False),
    ],
)
async def test_an_error_says_whether_to_try_again(code, said, retryable):
    async with StandInServer() as server, Client(server.url) as client:
        server.error["llm"] = Error(code=code, message="set LOCAL_AI_MODE=full", retryable=said)
        with pytest.raises(ComponentFailed, match="LOCAL_AI_MODE=full") as failure:
            await text_of(client)
        assert (failure.value.component, failure.value.retryable) == ("llm", retryable)
        assert not server.of(Cancel)


async def test_a_silent_server_is_a_failure():
    async with StandInServer() as server, Client(server.url, answer_timeout_s=0.05) as client:
        server.hold["llm"] = asyncio.Event()
        with pytest.raises(ComponentFailed, match=r"silent for 0\.05 s") as failure:
            await text_of(client)
        assert failure.value.retryable
        await server.wait_for(Cancel)


async def test_sound_in_another_format_than_asked_for_is_refused():
    async with StandInServer() as server, Client(server.url) as client:
        server.tts_format = ("linear16", 22050)
        with pytest.raises(ComponentFailed, match="asked for was"):
            async with client.speak() as output:
                async for _ in output:
                    pass


async def test_ending_the_call_ends_what_is_in_flight():
    async with StandInServer() as server:
        client = Client(server.url)
        await client.stt.start()
        server.hold["llm"] = asyncio.Event()
        task = asyncio.create_task(text_of(client))
        await server.wait_for(LlmRequest)
        await client.stt.stop()
        with pytest.raises(ComponentFailed, match="the call has ended"):
            await task
        with pytest.raises(ComponentFailed, match="the call has ended"):
            await text_of(client)
