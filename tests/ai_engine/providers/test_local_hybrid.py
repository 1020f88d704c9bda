"""`local_hybrid` and other mixes are configuration only: as docs/providers.md writes them, against stand-ins."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import pytest
import yaml

from ai_engine.contexts import Context
from ai_engine.conversation.rendered import RenderedSpeech
from ai_engine.providers.provider import AgentAudio, AgentAudioDone, CallerSpeech, CallInfo, ProviderFailed
from ai_engine.providers.registry import make_factory
from ai_engine.providers.services import Services
from tests.openai_stand_in import DONE, DROP, StandIn, delta
from tests.speech_stand_in import tone
from tests.wyoming_stand_in import WyomingStandIn, packed, sound
from voice_core.history import Message
from voice_wire.audio import MULAW_8K

sys.path.insert(0, str(Path(__file__).parent / "components"))
from stand_in_server import TOKEN, StandInServer

PAGE = Path(__file__).resolve().parents[3] / "docs" / "providers.md"
CONTEXT = Context(greeting="Hello.", prompt="You are Joe.")
CALL = CallInfo("c1", "default", "You are Joe.", "en", None, MULAW_8K)
KEY = "sk-a-secret-that-nobody-may-see"
ANSWER = [delta(role="assistant", text=""), delta("Yes, we"), delta(" are open."), delta("", "stop"), DONE]


@pytest.fixture
def thinks():
    stand_in = StandIn()
    stand_in.script = ANSWER
    stand_in.key = KEY
    stand_in.models["data"][0]["id"] = "qwen3-8b"
    yield stand_in
    stand_in.stop()


@pytest.fixture
async def hears_and_speaks():
    async with StandInServer() as server:
        yield server


@pytest.fixture
async def services(tmp_path, hears_and_speaks):
    made = Services(
        hears_and_speaks.url, TOKEN, RenderedSpeech(tmp_path / "speech"), environment={"OPENAI_API_KEY": KEY}
    )
    yield made
    await made.clients.close()


def of_the_page(name):
    """The options of a provider as the page writes them."""
    blocks = re.findall(r"(?:^    .*\n|^\n)+", PAGE.read_text(), re.MULTILINE)
    (block,) = (found for found in blocks if f"  {name}:" in found)
    return yaml.safe_load(block)["providers"][name]


async def converse(provider):
    """Two turns of a call: what was heard, what was said."""
    await provider.start(CALL)
    events, history = [], ()

    async def read():
        async for event in provider.events():
            events.append(event)  # noqa: PERF401 - as they come

    reading = asyncio.create_task(read())
    try:
        for turn in (1, 2):
            provider.send_audio(turn, b"\x10\x00" * 8000)
            provider.speculate(turn, 1, history)
            provider.adopt(turn, 1)
            async with asyncio.timeout(60):
                while not any(isinstance(e, AgentAudioDone | ProviderFailed) and e.turn == turn for e in events):
                    await asyncio.sleep(0.01)
            of_turn = [event for event in events if getattr(event, "turn", 0) == turn]
            assert not [event for event in of_turn if isinstance(event, ProviderFailed)], of_turn
            heard = next(event.text for event in of_turn if isinstance(event, CallerSpeech))
            said = " ".join(event.text for event in of_turn if isinstance(event, AgentAudio) and event.text)
            history = (*history, Message("user", heard), Message("assistant", said))
    finally:
        await provider.stop()
        await reading
    return [message.content for message in history], events


async def test_with_local_speech_only_words_leave_the_machine(thinks, hears_and_speaks, services):
    written = of_the_page("local_hybrid")
    written["options"]["llm"]["options"]["base_url"] = thinks.url
    factory = make_factory("local_hybrid", written["kind"], written["options"], services)
    said, events = await converse(factory.create(CALL, CONTEXT, no_information="No."))
    heard = said[0]
    assert said == [heard, "Yes, we are open."] * 2
    assert b"".join(event.audio for event in events if isinstance(event, AgentAudio)) == b"abcdef" * 2
    asked = [request for request in thinks.asked if request["max_tokens"] != 1]  # others are warm-ups
    assert [[line["content"] for line in request["messages"]] for request in asked] == [
        ["You are Joe.", heard],
        ["You are Joe.", *said[:2], heard],
    ]
    assert {request["model"] for request in thinks.asked} == {"qwen3-8b"}
    assert hears_and_speaks.streams_begun
    assert not hears_and_speaks.connections or not await asyncio.sleep(0.1)


async def test_every_component_may_come_from_elsewhere(thinks, services):
    ears, mouth = WyomingStandIn(), WyomingStandIn()
    ears.script = [packed("transcript", {"text": "Are you open?"})]
    mouth.script = sound(tone(0.3, rate_hz=22_050))
    await ears.start()
    await mouth.start()
    options = {
        "small_model": False,
        "stt": {"kind": "wyoming", "options": {"url": ears.url}},
        "llm": [
            {"kind": "openai", "options": {"base_url": thinks.url, "key": "OPENAI_API_KEY"}},
            {"kind": "ollama", "options": {"base_url": "http://127.0.0.1:1", "model": "qwen3:4b"}},
        ],
        "tts": {"kind": "wyoming", "options": {"url": mouth.url}},
    }
    provider = make_factory("mix", "pipeline", options, services).create(CALL, CONTEXT, no_information="No.")
    said, events = await converse(provider)
    assert said == ["Are you open?", "Yes, we are open."] * 2
    assert sum(len(event.audio) for event in events if isinstance(event, AgentAudio)) > 8000
    await ears.stop()
    await mouth.stop()


async def test_a_server_that_breaks_off_in_a_call_is_gone_on_for_by_the_local_model(thinks, hears_and_speaks, services):
    thinks.script = [delta("Yes, we are"), DROP]
    hears_and_speaks.reply = ["are open", " and glad to help."]
    options = {
        "small_model": False,
        "llm": [
            {"kind": "openai", "options": {"base_url": thinks.url, "key": "OPENAI_API_KEY"}},
            {"kind": "local"},
        ],
    }
    provider = make_factory("chained", "pipeline", options, services).create(CALL, CONTEXT, no_information="No.")
    said, _ = await converse(provider)
    assert said[1::2] == ["Yes, we are open and glad to help."] * 2
