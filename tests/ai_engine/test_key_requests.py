"""Who waits for keys gets them, and nobody else; a secret key leaves no tone in a recording."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Callable

import pytest
import structlog

from ai_engine.call_report import CallReport
from ai_engine.conversation.decisions import AgentTurn, Announce, CallerTurn, KeysTyped
from ai_engine.conversation.key_input import KeyRequest, KeyRules
from ai_engine.key_requests import KeyRequests
from ai_engine.live_events import LiveEvents
from ai_engine.logs import configure_logs
from ai_engine.media.call_recording import Block, CallRecording, Item
from ai_engine.metrics import Metrics
from ai_engine.recording_setup import SECRET_KEYS_S, press_key
from tests.ai_engine.conversation.virtual_call import VirtualCall
from voice_wire.audio import MULAW_8K

PIN = "4711"


class Desk:
    """`KeyRequests` on a virtual call: what it asks for is asked there, and what is decided there comes back."""

    def __init__(self) -> None:
        self.call = VirtualCall("pause 0.3").run()
        self.requests = KeyRequests(lambda action: action(self.call.conversation, self.call.now))
        self.told = 0

    async def step(self, *steps: str) -> None:
        await asyncio.sleep(0)
        for step in steps:
            self.call._step(step, 30.0)
        decisions = self.call.of(KeysTyped)
        for decision in decisions[self.told :]:
            self.requests.ended(decision)
        self.told = len(decisions)
        await asyncio.sleep(0)


async def test_keys_come_to_who_asked_for_them():
    desk = Desk()
    waiting = asyncio.create_task(desk.requests.collect(KeyRequest("", max_keys=4, secret=True)))
    await desk.step(f"key {PIN}")
    typed = await waiting
    assert typed.keys is not None
    assert typed.keys.digits == PIN
    assert PIN not in repr(typed)


async def test_who_gives_up_calls_the_request_off():
    desk = Desk()
    waiting = asyncio.create_task(desk.requests.collect(KeyRequest("")))
    await desk.step("key 12")
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await desk.step("pause 5")
    assert desk.told == 0
    assert desk.call.history() == []


async def test_the_later_of_two_gets_the_keys():
    desk = Desk()
    both = [asyncio.create_task(desk.requests.collect(KeyRequest("same"))) for _ in range(2)]
    await desk.step("key 5#", "pause 0.1")
    first, second = await asyncio.gather(*both)
    assert (first.how, second.how) == ("replaced", "complete")


async def test_the_end_of_the_call_ends_all_waiting():
    desk = Desk()
    waiting = asyncio.create_task(desk.requests.collect(KeyRequest("")))
    await desk.step()
    desk.requests.call_over()
    assert (await waiting).how == "call_over"
    desk.requests.ended(KeysTyped("keys-1", "none"))  # too late for anybody


# --- recordings -------------------------------------------------------------------------------------------------------


def silent_seconds(press: Callable[[CallRecording, float], None]) -> tuple[float, float]:
    """(when silence begins, when it ends) in a recording of 10 s, in the middle of which a key is pressed."""
    items: list[Item] = []
    recording = CallRecording("c", 8000, MULAW_8K, put=items.append, allowed=lambda _now: True)
    for n in range(500):
        if n == 200:
            press(recording, 100 + n / 50)
        recording.tick(b"\1\1" * 160, b"\1" * 160, 100 + n / 50)
    recording.end()
    frames = [frame for item in items if isinstance(item, Block) for frame in item.caller]
    silent = [n / 50 for n, frame in enumerate(frames) if frame is None]
    return (silent[0], silent[-1]) if silent else (0.0, 0.0)


@pytest.mark.parametrize(
    ("rules", "pause_s", "ends"),
    [
        (KeyRules(), 0.0, 0.0),
        (KeyRules(), 2.0, 5.98),
        (KeyRules(secret=True), 0.0, 3.98 + SECRET_KEYS_S),
        (KeyRules(secret=True), 2.0, 3.98 + SECRET_KEYS_S),
    ],
)
def test_a_secret_key_is_silence_in_a_recording(rules, pause_s, ends):
    call = VirtualCall("pause 0.3", keys=rules).run()

    def press(recording: CallRecording, now: float) -> None:
        press_key(call.conversation, "4", now, recording=recording, pause_s=pause_s)

    began, ended = silent_seconds(press)
    assert ended == pytest.approx(ends, abs=0.03)
    assert began == pytest.approx(3.5 if ends else 0.0, abs=0.03), "its tone was heard before it was told"


def test_the_keys_of_a_tools_secret_question_are_silence_too():
    call = VirtualCall("pause 0.3").run()
    call.conversation.request_keys(KeyRequest("a", secret=True, max_keys=1), call.now)

    def press(recording: CallRecording, now: float) -> None:
        press_key(call.conversation, "4", now, recording=recording, pause_s=0)

    assert silent_seconds(press)[1] > 8


def test_a_call_without_a_recording_takes_keys_all_the_same():
    call = VirtualCall("pause 0.3").run()
    press_key(call.conversation, "4", call.now, recording=None, pause_s=5)
    call._step("key #", 5)
    call._step("until agent", 30)
    assert call.history()[0] == "user: [keypad] 4#"


# --- what is written --------------------------------------------------------------------------------------------------


@pytest.fixture
def log_stream():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure_logs("debug", "json", transcripts=True, stream=stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.mark.parametrize("secret", [True, False])
async def test_secret_keys_are_in_no_log_line_and_no_live_event(log_stream, secret):
    live = LiveEvents()
    told: list[str] = []
    live.publish = lambda type, **facts: told.append(json.dumps([type, facts]))  # type: ignore[method-assign]
    report = CallReport("call-1", Metrics(), live)
    call = VirtualCall(
        f"pause 0.3\nkey {PIN}#\nuntil agent\nuntil quiet\nsay Thank you\nuntil quiet", keys=KeyRules(secret=secret)
    ).run()
    for decision in call.of(CallerTurn, AgentTurn, Announce):
        report.note(decision)
    written = log_stream.getvalue() + "".join(told)
    assert "Thank you" in written
    assert (PIN in written) is not secret
