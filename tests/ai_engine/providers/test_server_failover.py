"""Calls on several local AI servers: who gets them, and what becomes of a turn whose server dies.

The servers are stand-ins that speak the real protocol; everything on this side of the sockets is real.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from ai_engine.contexts import Context
from ai_engine.conversation.rendered import RenderedSpeech
from ai_engine.providers.components.component import ComponentFailed, SttTraits
from ai_engine.providers.components.llm.chain import GO_ON, ChainedLanguageModel
from ai_engine.providers.components.llm.local import LocalLanguageModel, local_language_model
from ai_engine.providers.components.local_failover import OverServers
from ai_engine.providers.components.local_socket import LocalSocket, LocalSocketSettings
from ai_engine.providers.components.stt.local import local_speech_to_text
from ai_engine.providers.components.tts.local import local_text_to_speech
from ai_engine.providers.provider import AgentAudioDone, AgentText, CallerSpeech, CallInfo
from ai_engine.providers.registry import make_factory
from ai_engine.providers.services import CallScope, Services
from voice_core.history import Message
from voice_wire.audio import MULAW_8K
from voice_wire.messages import (
    Auth,
    AuthResponse,
    Error,
    LlmRequest,
    Sampling,
    SttFinalize,
    SttStart,
    TtsRequest,
    Warm,
)

sys.path.insert(0, str(Path(__file__).parent / "components"))
from stand_in_server import TOKEN, StandInServer

CHAT = [Message("system", "You are Joe."), Message("user", "When are you open?")]
GREEDY, FREE = Sampling(temperature=0.0), Sampling(temperature=0.4)
FULL = Error(code="server_at_capacity", message="2 sessions are open, which is the limit", active=2, max=2)


async def until(met: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not met():
            await asyncio.sleep(0.005)


class Call:
    """One call's components, as the configuration makes them."""

    def __init__(self, services: Services, call_id: str) -> None:
        scope = CallScope(CallInfo(call_id, "default", "You are Joe.", "en", None, MULAW_8K), services)
        self.stt = local_speech_to_text(scope, {})
        self.llm = local_language_model(scope, {})
        self.tts = local_text_to_speech(scope, {})

    async def __aenter__(self) -> Call:
        await self.stt.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(self.stt.stop(), self.llm.stop(), self.tts.stop())

    async def says(self, sampling: Sampling = GREEDY) -> str:
        async with self.llm.reply(CHAT, sampling=sampling, speculative=False) as output:
            return "".join([piece async for piece in output])

    async def speaks(self, text: str) -> bytes:
        async with self.tts.speak(text, audio_format=MULAW_8K, speculative=False) as output:
            return b"".join([chunk async for chunk in output])


class Servers:
    """Stand-ins, and an engine's services that know them."""

    def __init__(self, servers: list[StandInServer], services: Services) -> None:
        self.all = servers
        self.services = services
        self._number = count(1)

    def call(self) -> Call:
        return Call(self.services, f"call-{next(self._number)}")

    def one_with_the_call(self) -> tuple[StandInServer, StandInServer]:
        """Of two servers: where the only call is, and the other one."""
        first, second = self.all
        assert bool(first.connections) != bool(second.connections)
        return (first, second) if first.connections else (second, first)

    def states(self) -> list[str]:
        return [page["state"] for page in self.services.local_servers().fleet.describe()]

    def reasons(self) -> list[str]:
        return [page["reason"] for page in self.services.local_servers().fleet.describe()]


@asynccontextmanager
async def serving(number: int, *more: str) -> AsyncIterator[Servers]:
    """So many servers, and further addresses."""
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(StandInServer()) for _ in range(number)]
        addresses = ", ".join([server.url for server in servers] + list(more))
        services = Services(local_url=addresses, local_token=TOKEN, rendered=RenderedSpeech(Path("unused")))
        stack.push_async_callback(services.clients.close)
        yield Servers(servers, services)
        await until(lambda: not any(server.connections for server in servers))
        assert all(server.calls == 0 for server in services.local_servers().fleet.servers)


# --- placing ----------------------------------------------------------------------------------------------------------


async def test_calls_are_spread_over_the_servers():
    async with serving(3) as servers, AsyncExitStack() as stack:
        for _ in range(9):
            await stack.enter_async_context(servers.call())
        assert [len(server.connections) for server in servers.all] == [3, 3, 3]


async def test_a_full_server_sends_nobody_away_while_others_have_room():
    async with serving(3) as servers, AsyncExitStack() as stack:
        servers.all[0].turned_away = FULL
        for _ in range(4):
            await stack.enter_async_context(servers.call())
        assert [len(server.connections) for server in servers.all] == [0, 2, 2]
        assert len(servers.all[0].of(Auth)) == 1, "the others did not ask there"
        assert servers.states()[0] == "set_aside"
        assert servers.services.local_servers().fleet.describe()[0]["capacity"] == 2


async def test_an_address_where_nobody_is_costs_no_call():
    async with serving(2, "ws://127.0.0.1:1") as servers, AsyncExitStack() as stack:
        for _ in range(6):
            await stack.enter_async_context(servers.call())
        assert [len(server.connections) for server in servers.all] == [3, 3]
        assert servers.states()[2] == "down"


@pytest.mark.parametrize("status", [503, 502], ids=["it says so", "its proxy does"])
async def test_a_server_that_is_not_ready_is_asked_only_when_no_other_is(status):
    async with serving(2) as servers, AsyncExitStack() as stack:
        servers.all[0].ready, servers.all[0].unready_status = False, status
        servers.services.local_servers().start()
        await until(lambda: servers.states() == ["down", "up"])
        for _ in range(3):
            await stack.enter_async_context(servers.call())
        assert [len(server.connections) for server in servers.all] == [0, 3]
        await servers.all[1].kill()
        await until(lambda: len(servers.all[0].connections) == 3)


async def test_servers_that_refuse_us_are_named_with_the_reason():
    async with serving(3) as servers:
        servers.all[0].turned_away = AuthResponse(status="error", message="invalid_auth_token")
        servers.all[1].speaks_version = 2
        async with servers.call() as one, servers.call():
            assert await one.says() == "Hello."
            assert servers.states()[:2] == ["unusable", "unusable"]
            assert "LOCAL_WS_AUTH_TOKEN must be the same" in servers.reasons()[0]
            assert "does not speak protocol version 3" in servers.reasons()[1]
        servers.all[2].turned_away = AuthResponse(status="error", message="invalid_auth_token")
        call = servers.call()
        with pytest.raises(ComponentFailed, match="no local_ai_server of LOCAL_WS_URL serves") as refused:
            await call.stt.start()
        await call.stt.stop()
        assert not refused.value.retryable
        assert all(server.url in str(refused.value) for server in servers.all)


async def test_a_call_that_ends_while_it_connects_is_on_no_server():
    async with serving(2) as servers:
        for server in servers.all:
            server.responds.clear()
        call = servers.call()
        starting = asyncio.create_task(call.stt.start())
        await until(lambda: any(server.of(Auth) for server in servers.all))
        await call.stt.stop()
        with pytest.raises(ComponentFailed, match="the call has ended"):
            await starting
        for server in servers.all:
            server.responds.set()


async def test_a_single_server_is_not_looked_at():
    async with serving(1) as servers:
        async with servers.call() as call:
            assert await call.says() == "Hello."
        servers.services.local_servers().start()
        assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("probe")]
        assert not servers.all[0].probes


async def test_probes_carry_no_token_and_logs_hold_none():
    with capture_logs() as lines:
        async with serving(2) as servers, servers.call() as call:
            await until(lambda: all(server.probes for server in servers.all))
            for server in servers.all:
                assert "Authorization" not in server.probes[0].headers
                assert TOKEN not in f"{server.probes[0]}"
            at, _ = servers.one_with_the_call()
            await at.kill()
            assert await call.says() == "Hello."
    assert {line["event"] for line in lines} >= {"local_server_changed", "call_moved_to_another_server"}
    assert TOKEN not in f"{lines} {servers.services}"


# --- a server dies under a call ---------------------------------------------------------------------------------------


async def test_a_server_killed_while_the_caller_talks_is_replaced_before_he_has_ended():
    traits: list[SttTraits] = []
    async with serving(2) as servers, servers.call() as call:
        call.stt.on_change(traits.append)
        await call.llm.warm(CHAT)
        at, other = servers.one_with_the_call()
        other.stt_backend, other.voices = ("vosk", False), ("eve",)
        utterance = call.stt.stream(1, lambda text, backend: None)
        utterance.send(b"\1\0" * 8000)
        await at.wait_for(SttStart)
        await at.kill()
        (warm,) = await other.wait_for(Warm)
        assert [line.content for line in warm.messages] == ["You are Joe.", "When are you open?"]
        assert not other.of(LlmRequest)
        utterance.send(b"\1\0" * 8000)
        await other.wait_for(SttStart)
        assert (await utterance.decode(speculative=False)).text == "32000 bytes"
        assert traits == [SttTraits("stand_in", True), SttTraits("vosk", False)]
        assert call.tts.voice == "eve"


async def test_a_turn_being_decoded_is_decoded_by_another():
    async with serving(2) as servers, servers.call() as call:
        at, other = servers.one_with_the_call()
        at.hold["stt"] = asyncio.Event()
        utterance = call.stt.stream(1, lambda text, backend: None)
        utterance.send(b"\1\0" * 8000)
        decoding = asyncio.create_task(utterance.decode(speculative=True))
        await at.wait_for(SttFinalize)
        utterance.adopt()
        await at.kill()
        assert (await decoding).text == "16000 bytes"
        assert not other.of(SttFinalize)[0].speculative
        assert servers.services.local_servers().fleet.servers[servers.all.index(at)].state == "down"


@pytest.mark.parametrize("sampling", [GREEDY, FREE], ids=["greedy", "free"])
async def test_an_answer_that_broke_off_goes_on_and_nothing_is_said_twice(sampling):
    async with serving(2) as servers, servers.call() as call:
        at, other = servers.one_with_the_call()
        for server in servers.all:
            server.reply = ["We are open ", "from nine to six."]
        at.hold["llm"] = asyncio.Event()
        said = ""
        async with call.llm.reply(CHAT, sampling=sampling, speculative=False) as output:
            async for piece in output:
                said += piece
                if not at._server.is_serving():
                    continue
                await at.kill()
        assert said == "We are open from nine to six."
        (asked,) = other.of(LlmRequest)
        expected = [line.content for line in CHAT]
        assert [m.content for m in asked.messages] == (
            expected if sampling is GREEDY else [*expected, "We are open", GO_ON]
        )


async def test_an_answer_whose_end_is_read_long_after_it_broke_off_goes_on():
    """Phrases wait while the ones before them are spoken."""
    async with serving(2) as servers, servers.call() as call:
        at, other = servers.one_with_the_call()
        for server in servers.all:
            server.reply = ["We are open ", "from nine to six."]
        other.voices = ("eve",)
        at.hold["llm"] = asyncio.Event()
        async with call.llm.reply(CHAT, sampling=GREEDY, speculative=False) as output:
            pieces = aiter(output)
            said = await anext(pieces)
            await at.kill()
            await until(lambda: call.tts.voice == "eve" and servers.states()[servers.all.index(at)] == "down")
            said += "".join([piece async for piece in pieces])
        assert said == "We are open from nine to six."


async def test_an_answer_that_had_not_begun_begins_anew():
    async with serving(2) as servers, servers.call() as call:
        at, other = servers.one_with_the_call()
        at.error["llm"] = Error(code="worker_failed", message="the worker died")
        assert await call.says() == "Hello."
        assert len(other.of(LlmRequest)) == 1
        await until(lambda: not at.connections)
        assert servers.states()[servers.all.index(at)] == "set_aside"


async def test_what_no_server_would_do_is_asked_once():
    async with serving(2) as servers, servers.call() as call:
        at, other = servers.one_with_the_call()
        at.error["llm"] = Error(code="prompt_too_long", message="too long")
        with pytest.raises(ComponentFailed, match="too long"):
            await call.says()
        assert at.connections
        assert not other.of(Auth)


async def test_a_phrase_that_broke_off_goes_on_about_where_it_stopped():
    async with serving(2) as servers, servers.call() as call:
        at, other = servers.one_with_the_call()
        at.chunks, other.chunks = [b"a" * 8000, b"b"], [b"c"]
        at.hold["tts"] = asyncio.Event()
        sound = b""
        text = "We are open from nine to six on all days."
        async with call.tts.speak(text, audio_format=MULAW_8K, speculative=False) as output:
            async for chunk in output:
                sound += chunk
                if chunk[:1] == b"a":
                    await at.kill()
        assert sound == b"a" * 8000 + b"c"
        (rest,) = other.of(TtsRequest)
        assert text.endswith(rest.text)
        assert 0 < len(rest.text) < len(text)


async def test_between_two_sentences_the_next_is_spoken_by_another():
    async with serving(2) as servers, servers.call() as call:
        at, other = servers.one_with_the_call()
        assert await call.speaks("Good day.") == b"abcdef"
        await at.kill()
        assert await call.speaks("How are you?") == b"abcdef"
        assert [request.text for request in other.of(TtsRequest)] == ["How are you?"]


async def test_a_server_that_answers_nothing_any_more_is_left():
    """Its connections stay open: only a ping that is not answered shows it."""
    async with serving(2) as servers, servers.call() as call:
        at, other = servers.one_with_the_call()
        at.responds.clear()
        with capture_logs() as lines:
            assert await call.says() == "Hello."
        (lost,) = [line for line in lines if line["event"] == "local server lost"]
        assert lost["reason"] == "the server does not answer pings"
        assert len(other.of(LlmRequest)) == 1
        await until(lambda: servers.states()[servers.all.index(at)] == "down")
        at.responds.set()


async def test_a_server_that_keeps_one_waiting_is_left_while_there_is_another():
    """It answers pings: what is stuck is behind it."""
    async with serving(2) as servers:
        fleet = servers.services.local_servers().fleet
        socket = LocalSocket(LocalSocketSettings(token=TOKEN), call_id="c1", fleet=fleet)
        llm = LocalLanguageModel(socket)
        impatient = ChainedLanguageModel(OverServers("llm", llm, socket, tries=2, patience_s=0.2))
        await impatient.start()
        at, _ = servers.one_with_the_call()
        at.hold["llm"], at.reply = asyncio.Event(), ["", "Too late."]
        async with impatient.reply(CHAT, sampling=GREEDY, speculative=False) as output:
            assert "".join([piece async for piece in output]) == "Hello."
        assert servers.states()[servers.all.index(at)] == "set_aside"
        await until(lambda: not at.connections)
        await impatient.stop()


async def test_a_server_that_is_back_gets_new_calls_and_none_is_moved_back():
    async with serving(2) as servers, servers.call() as first, servers.call() as second:
        gone, stays = servers.all
        await gone.kill()
        assert [await call.says() for call in (first, second)] == ["Hello.", "Hello."]
        assert len(stays.connections) == 2
        async with StandInServer(gone.port) as back:
            await until(lambda: servers.states() == ["up", "up"])
            async with servers.call() as third:
                assert await third.says() == "Hello."
                assert (len(back.connections), len(stays.connections)) == (1, 2)


async def test_when_all_die_the_call_is_told_and_goes_on_when_one_is_back():
    async with serving(2) as servers, servers.call() as call:
        for server in servers.all:
            await server.kill()
        with pytest.raises(ComponentFailed) as failure:
            await call.says()
        assert failure.value.retryable
        async with StandInServer(servers.all[0].port) as back:
            await back.wait_for(Auth)
            assert await call.says() == "Hello."


# --- a whole turn -----------------------------------------------------------------------------------------------------


async def test_a_turn_whose_server_dies_is_heard_and_answered_once(tmp_path):
    async with serving(2) as servers:
        call = CallInfo("c1", "default", "You are Joe.", "en", None, MULAW_8K)
        provider = make_factory("local", "local", {}, servers.services).create(
            call, Context(greeting="Hello.", prompt="You are Joe."), no_information="I do not know."
        )
        await provider.start(call)
        events: list[object] = []

        async def read() -> None:
            async for event in provider.events():
                events.append(event)  # noqa: PERF401 - as they come

        reading = asyncio.create_task(read())
        at, other = servers.one_with_the_call()
        for server in servers.all:
            server.reply = ["Hello to you. ", "Good day."]
        at.hold["llm"] = asyncio.Event()
        provider.send_audio(1, bytes(16000))
        provider.speculate(1, 1, ())
        provider.adopt(1, 1)
        await at.wait_for(LlmRequest)
        await at.kill()
        await until(lambda: any(isinstance(event, AgentAudioDone) for event in events))
        assert [e.text for e in events if isinstance(e, CallerSpeech) and e.final][-1] == "16000 bytes"
        assert " ".join(e.text for e in events if isinstance(e, AgentText)) == "Hello to you. Good day."
        await until(
            lambda: any(
                [line.content for line in warm.messages][-2:] == ["16000 bytes", "Hello to you. Good day."]
                for warm in other.of(Warm)
            )
        )
        await provider.stop()
        await reading
