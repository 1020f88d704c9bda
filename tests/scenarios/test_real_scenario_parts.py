"""Real mode without a call: what it reads out of the engine's events, and the contexts it makes of personas."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from ai_engine.contexts import load_contexts
from tools.call import write_wav
from tools.call.sounds import speech_at
from tools.call.wav import RATE_HZ
from tools.engine_events import EngineEvents
from tools.scenarios import judge
from tools.scenarios.load import load_all
from tools.scenarios.model import Persona, Say
from tools.scenarios.real_parts import by_engine, engine_config
from tools.scenarios.real_record import CallRecord
from tools.scenarios.real_voice import CallerVoice

MINE: dict[str, Any] = {"call_id": "mine"}
NOW_S, WALL_S = time.monotonic(), time.time()
"""Of all tests here, however long one of them takes."""


def ago(seconds: float, **event: Any) -> dict[str, Any]:
    """An event of that many seconds ago."""
    return {"at": WALL_S - seconds, **MINE, **event}


def state(seconds: float, name: str) -> dict[str, Any]:
    return ago(seconds, type="state", state=name, detail="")


def agent_turn(seconds: float, text: str, *, interrupted: bool = False, source: str = "llm") -> dict[str, Any]:
    return ago(seconds, type="agent_turn", text=text, interrupted=interrupted, source=source, timeline_ms={})


async def record(*events: dict[str, Any], feed: EngineEvents | None = None) -> CallRecord:
    """Of a call that began before `events`, beside somebody else's."""
    feed = feed or EngineEvents()
    made = CallRecord(feed, "5001")
    feed.seen += [
        {"at": 0.0, "type": "call_started", "call_id": "other", "caller_number": "5002"},
        {"at": 0.0, "type": "state", "call_id": "other", "state": "speaking", "detail": ""},
        {"at": 0.0, "type": "call_started", "call_id": "mine", "caller_number": "5001"},
        *events,
    ]
    await made.started(1.0)
    return made


def past(times: list[float]) -> list[int]:
    """Whole seconds ago."""
    return [round(NOW_S - at) for at in times]


async def test_a_turn_begins_with_its_first_sound_and_not_after_a_pause() -> None:
    events = [state(9, "listening"), state(8, "speaking"), state(7, "paused"), state(6, "speaking")]
    events += [agent_turn(5, "Hello."), state(5, "listening"), state(3, "hearing"), state(2, "speaking")]
    call = await record(*events)
    assert past(call.begun()) == [8, 2]
    assert call.state[0] == "speaking"
    assert past([call.state[1]]) == [2]


async def test_an_answer_right_after_its_filler_is_a_turn_of_its_own() -> None:
    call = await record(state(9, "thinking"), state(8, "speaking"), agent_turn(7, "One moment.", source="said"))
    assert past(call.begun()) == [8, 7]
    call = await record(state(9, "speaking"), agent_turn(7, "Hello."), state(7, "listening"))
    assert past(call.begun()) == [9]


async def test_what_happens_in_between_is_no_state() -> None:
    call = await record(state(5, "paused"), state(4, "hearing"), state(4, "barge_in"), state(4, "took_back"))
    assert call.state[0] == "hearing"


async def test_the_engines_account_becomes_what_was_observed() -> None:
    persona = Persona(greeting="Hello, how can I help you?", filler="One moment.")
    call = await record(
        state(9, "speaking"), agent_turn(8, "Hello, how", interrupted=True, source="said"), state(8, "barge_in"),
        state(8, "hearing"), ago(6, type="caller_turn", text="When?"), state(6, "speaking"), agent_turn(5, "At nine."),
        ago(4, type="call_ended", outcome="agent_hung_up"),
    )  # fmt: skip
    observed = call.observed(persona, began=NOW_S - 10)
    assert observed.outcome == "agent_hung_up"
    assert observed.broken == []
    greeting, answer = observed.turns()
    assert (greeting.kind, greeting.interrupted, answer.kind, answer.text) == ("greeting", True, "answer", "At nine.")
    assert past([greeting.began or 0, answer.began or 0]) == [9, 6]
    assert [type(one) for one in observed.happened].count(judge.CallerTurn) == 1
    assert len(observed.states("barge_in")) == 1


async def test_a_call_still_alive_is_judged_as_it_was_then() -> None:
    events = EngineEvents()
    call = await record(state(9, "listening"), feed=events)
    mark = call.mark
    events.add(ago(1, type="call_ended", outcome="caller_hung_up"))
    assert call.observed(Persona(), began=0.0, until=mark).outcome == "talking"
    assert call.observed(Persona(), began=0.0).outcome == "caller_hung_up"


async def test_events_that_were_lost_are_told() -> None:
    call = await record(state(9, "listening"), {"type": "missed", "count": 3})
    assert "some are missing" in call.observed(Persona(), began=0.0).broken[0]


def test_every_persona_becomes_a_context_the_engine_takes(tmp_path: Path) -> None:
    scenarios = {name: one for name, one in load_all().items() if "real" in one.modes}
    for name, scenario in scenarios.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(scenario.persona.context_fields()))
    contexts = load_contexts(tmp_path)
    assert contexts.keys() == scenarios.keys()
    for name, context in contexts.items():
        persona = scenarios[name].persona
        assert context.greeting == persona.greeting
        assert [pair.answer for pair in context.known_answers.pairs] == [answer.say for answer in persona.answers]
        assert context.silence_policy.ask_after_s == persona.silence_policy.ask_after_s


def test_personas_with_the_same_settings_share_an_engine() -> None:
    scenarios = {name: one for name, one in load_all().items() if "real" in one.modes}
    groups = by_engine(scenarios)
    assert sum(len(group) for group in groups) == len(scenarios)
    for group in groups:
        assert len({json.dumps(engine_config(one.persona), sort_keys=True) for one in group.values()}) == 1
    assert engine_config(Persona()) == {"filler_after_s": 0}
    assert engine_config(Persona(filler="One moment.")) == {}


async def test_what_never_stops_is_said_again_and_again(tmp_path: Path) -> None:
    tone = np.sin(np.arange(RATE_HZ // 2) / 3) * 8000
    write_wav(tmp_path / "on.wav", speech_at(tone.astype(np.int16), -20))
    voice = CallerVoice("ws://127.0.0.1:1", "", tmp_path / "cache")
    once = await voice.sound(Say(wav="on.wav"), tmp_path)
    long = await voice.sound(Say(wav="on.wav", for_s=3.0), tmp_path)
    assert len(once) == RATE_HZ // 2
    assert 3.0 <= len(long) / RATE_HZ < 3.8
    quiet = await voice.sound(Say(wav="on.wav", louder_db=-20), tmp_path)
    assert int(abs(quiet).max()) == pytest.approx(int(abs(once).max()) / 10, abs=2)


async def test_the_beginning_of_a_call_is_waited_for_and_not_for_ever() -> None:
    feed = EngineEvents()
    call = CallRecord(feed, "5001")
    with pytest.raises(TimeoutError):
        await call.started(0.05)
    assert call.state == ("new", 0.0)
    assert call.begun() == []
    waiting = asyncio.create_task(call.started(30.0))
    await asyncio.sleep(0)
    feed.add({"type": "call_started", **MINE, "caller_number": "5001", "at": 0.0})
    await waiting
