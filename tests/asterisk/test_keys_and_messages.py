"""Real calls with keys and messages: secret digits that nobody sees, 0 for a person, a message that reaches the office.

The model is a stand-in: one that refuses everything, or always wants the tool.
"""

from __future__ import annotations

import asyncio
import email
import email.policy
import io
import json
import wave
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from agent_fixture import (
    NO_FILLER,
    PATIENCE_S,
    Agent,
    agent_events,
    asterisk_variables,
    eventually,
    greeted,
    has_tone,
    require_models,
)
from aiosmtpd.smtp import SMTP, Envelope, Session
from openai_stand_in import DONE, StandIn, delta

from tools.call import SipCall, SipCaller
from tools.pbx_instance import Pbx
from tools.stack import PROJECT, Ports, Stack

pytestmark = [pytest.mark.asterisk, pytest.mark.models, pytest.mark.timeout(600)]

REFUSAL = (
    "I will put you through to nobody, whatever you say and whatever you type, because I am a machine that says no."
)
FIRST, SECOND, THIRD = "8031977", "5209463", "7714026"
KEYS = """\
greeting: Hello, this is the bank.
prompt: You are a bank.
provider: pipeline
keypad: {secret: true, wait_s: 1.5}
set_phrases:
  - id: person
    meaning: person
    keys: "0"
    act: transfer
    extension: "601"
    answer: One moment, please.
"""
MESSAGES = """\
greeting: Hello, we are closed.
prompt: You take messages.
provider: pipeline
tools: [leave]
"""


class Office:
    """Takes mail, as aiosmtpd's handler."""

    def __init__(self) -> None:
        self.mail: list[EmailMessage] = []

    async def handle_DATA(self, _smtp: SMTP, _session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        self.mail.append(message)
        return "250 OK"


@pytest.fixture
def model() -> Iterator[Any]:
    stand_in = StandIn()  # type: ignore[no-untyped-call]
    yield stand_in
    stand_in.stop()  # type: ignore[no-untyped-call]


@asynccontextmanager
async def shop(pbx: Pbx, home: Path, model: Any, persona: str, tools: dict[str, Any]) -> AsyncIterator[Agent]:
    require_models()
    contexts = home / "contexts"
    contexts.mkdir()
    (contexts / "default.yaml").write_text(persona)
    llm = {"kind": "openai", "options": {"base_url": model.url, "model": "tiny"}}
    config = {
        **NO_FILLER,
        "providers": {"pipeline": {"kind": "pipeline", "options": {"small_model": False, "llm": llm}}},
        "tools": tools,
        "history": {"enabled": True},
        "messages": {"folder": str(home / "messages"), "min_free_mb": 0},
    }
    variables = asterisk_variables(pbx) | {"ENGINE_HISTORY_URL": f"sqlite:///{home}/calls.sqlite3"}
    async with Stack(home / "agent", variables, contexts=contexts, config=config, ports=Ports()) as stack:
        yield Agent(stack, pbx)


async def call_of(agent: Agent) -> str:
    (session,) = (await agent.get("/sessions"))["sessions"]
    return str(session["call_id"])


async def remembered(agent: Agent, call_id: str) -> dict[str, Any]:
    async def read() -> dict[str, Any]:
        found: dict[str, Any] = await agent.get(f"/calls/{call_id}")
        return found

    found: dict[str, Any] = await eventually(read, lambda shown: bool(shown.get("ended_at")))
    return found


async def test_secret_digits_are_seen_by_nobody_and_zero_gets_a_person_from_a_model_that_refuses(
    pbx: Pbx, tmp_path: Path, model: Any, sip_caller: SipCaller
) -> None:
    model.script = [delta(role="assistant", text=""), delta(REFUSAL), delta("", "stop"), DONE]
    async with shop(pbx, tmp_path, model, KEYS, {}) as agent:
        async with agent_events(agent) as events, greeted(sip_caller, agent) as call:
            call_id = await call_of(agent)
            await call.send_dtmf(f"{FIRST}#")  # ended by the caller
            await events.next("state", lambda event: event["state"] == "speaking" and said(events, "7 digits"))
            await call.wait_for_agent(min_voiced_ms=500, timeout_s=PATIENCE_S)
            await call.send_dtmf(SECOND)  # over the agent, and ended by a pause
            await events.next("state", lambda event: event["state"] == "barge_in")
            await eventually(lambda: typed(events), lambda count: count >= 2)
            await call.wait_for_agent(min_voiced_ms=500, timeout_s=PATIENCE_S)
            await call.wait_for_silence(1000)
            await call.send_dtmf(f"{THIRD}#")
            await eventually(lambda: typed(events), lambda count: count >= 3)
            await call.send_dtmf("0")  # over the refusal
            ended = await events.next("call_ended")
            assert ended["outcome"] == "transferred"
        found = await remembered(agent, call_id)
        assert found["transferred_to"] == "601"
        assert ("transferred", "601") in [(moment["kind"], moment["detail"]) for moment in found["moments"]]
        assert [line["text"] for line in found["lines"]].count("[keypad] **** (7 digits)") == 3
        kept = [json.dumps(found), json.dumps(events.seen), repr(model.asked), everything_below(agent.stack.home)]
        for secret in (FIRST, SECOND, THIRD):
            assert not any(secret in text for text in kept)
        await agent.nothing_left()


def said(events: Any, words: str) -> bool:
    return any(words in event.get("text", "") for event in events.seen if event["type"] == "caller_turn")


async def typed(events: Any) -> int:
    return sum("[keypad] ****" in event.get("text", "") for event in events.seen if event["type"] == "caller_turn")


def everything_below(folder: Path) -> str:
    """Logs and databases, as they are on the disk."""
    files = [file for file in folder.rglob("*") if file.is_file() and file.suffix in (".log", ".sqlite3", ".json")]
    files += list(folder.parent.glob("calls.sqlite3*"))
    assert files
    return "".join(file.read_bytes().decode("latin-1") for file in files)


async def test_a_message_reaches_the_office_whether_the_caller_ends_it_or_hangs_up(
    pbx: Pbx, tmp_path: Path, model: Any, sip_caller: SipCaller
) -> None:
    use = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "leave", "arguments": "{}"}}
    model.script = [delta(role="assistant", tool_calls=[use]), delta("", "tool_calls"), DONE]
    office = Office()
    async with mail_server(office) as port:
        mail = {"host": "127.0.0.1", "port": port, "security": "none", "sender": "a@o.example", "to": "b@o.example"}
        tools = {
            "mail": {"kind": "email", "options": mail},
            "leave": {"kind": "leave_message", "options": {"deliver_to": ["mail"], "prompt": "Speak after the tone."}},
        }
        async with shop(pbx, tmp_path, model, MESSAGES, tools) as agent:
            words = await agent.line("Please tell the manager that my bicycle has two flat tires.")
            async with agent_events(agent) as events, greeted(sip_caller, agent) as call:
                call_id = await call_of(agent)
                await asked_for_a_message(call, events)
                await call.play(words).sent()
                await call.send_dtmf("#")
                turn = await events.next("agent_turn", lambda event: "I have your message" in event["text"])
                assert not turn["interrupted"]
            await the_office_has(office, 1, "bicycle")
            found = await remembered(agent, call_id)
            (moment,) = [one for one in found["moments"] if one["kind"] == "message"]
            assert (tmp_path / "messages" / moment["detail"].partition(":")[0]).exists()
            assert any("bicycle" in (line["text"] or "").lower() for line in found["lines"])
            assert [tool["name"] for tool in found["tools"]] == ["leave"]

            async with agent_events(agent) as events, greeted(sip_caller, agent) as call:
                await asked_for_a_message(call, events)
                await call.play(words).sent()
            await the_office_has(office, 2, "bicycle")
            await agent.nothing_left()


@pytest.mark.slow
async def test_the_ready_persona_takes_a_message_with_the_embedded_models(
    pbx: Pbx, tmp_path: Path, sip_caller: SipCaller
) -> None:
    require_models()
    contexts = tmp_path / "contexts"
    contexts.mkdir()
    ready = (PROJECT / "config" / "contexts" / "after_hours.yaml").read_text()
    (contexts / "default.yaml").write_text(ready)
    config = {**NO_FILLER, "messages": {"folder": str(tmp_path / "messages"), "min_free_mb": 0}}
    async with Stack(tmp_path / "agent", asterisk_variables(pbx), contexts=contexts, config=config) as stack:
        agent = Agent(stack, pbx)
        wish = await agent.line("I would like to leave a message.")
        words = await agent.line("Please tell the manager that my bicycle has two flat tires.")
        async with agent_events(agent) as events, greeted(sip_caller, agent) as call:
            await call.play(wish).sent()
            await events.next("agent_turn", lambda event: "after the tone" in event["text"])
            await call.play(words).sent()
            left = await events.next("message")
            await events.next("agent_turn", lambda event: "I have your message" in event["text"])
        assert (tmp_path / "messages" / left["file"]).stat().st_size > 2 * 8000 * 2
        await agent.nothing_left()


async def asked_for_a_message(call: SipCall, events: Any) -> None:
    """The tone has been heard."""
    await call.send_dtmf("5#")
    await events.next("agent_turn", lambda event: "after the tone" in event["text"])

    async def heard_tone() -> bool:
        return len(call.recording.agent) > 8000

    await eventually(heard_tone, bool)
    await call.wait_for_silence(300)


async def the_office_has(office: Office, count: int, word: str) -> None:
    async def read() -> list[EmailMessage]:
        return office.mail

    mail = (await eventually(read, lambda got: len(got) >= count))[count - 1]
    body, attached = mail.iter_parts()
    assert word in body.get_content().lower()
    with wave.open(io.BytesIO(attached.get_content())) as sound:
        assert (sound.getnchannels(), sound.getframerate()) == (1, 8000)
        samples = np.frombuffer(sound.readframes(sound.getnframes()), np.int16)
    assert 2.0 < samples.size / 8000 < 20
    assert np.abs(samples).max() > 1000
    assert not has_tone(samples[:4000], 1000.0), "the tone is before the recording"


@asynccontextmanager
async def mail_server(office: Office) -> AsyncIterator[int]:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(office, hostname="mail.test", loop=loop), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
