"""A caller who goes on just as his answer begins had not finished: both halves are one turn, answered as a whole."""

from __future__ import annotations

import pytest

from ai_engine.conversation.agent_floor import AgentFloor
from ai_engine.conversation.conversation_settings import ConversationSettings, Phrases
from ai_engine.conversation.decisions import AgentTurn, CallerTurn, Discard, Forget, Interrupt
from ai_engine.conversation.turns import Reply, ReplyKind
from ai_engine.providers.provider import AgentAudio
from tests.ai_engine.conversation.virtual_call import DEFAULT_REPLY, ScriptedProvider, VirtualCall
from tools.hand_paced import HandPacedTransport
from voice_core.gate import Gate
from voice_core.history import History
from voice_wire.audio import MULAW_8K

HALF = "What are your opening hours?"
ASKED = f"pause 0.3\nsay {HALF}\nuntil agent\n"
WHOLE = f"{HALF} on Sunday I mean?"
SORTS = pytest.mark.parametrize("streaming", [False, True], ids=["gated", "streaming"])


def calling(script: str, *, streaming: bool = False, **latencies: float) -> VirtualCall:
    backend = "backend streaming\n" if streaming else ""
    provider = ScriptedProvider(stt_s=0.1, **latencies)
    return VirtualCall(backend + script, provider=provider, phrases=Phrases(greeting="", filler="")).run()


def said(call: VirtualCall) -> list[str]:
    return [decision.text for decision in call.of(CallerTurn)]


@SORTS
@pytest.mark.parametrize("after_s", [0.0, 0.1, 0.2])
def test_what_is_said_over_the_first_sound_of_an_answer_goes_on_with_the_turn(after_s, streaming):
    script = f"{ASKED}pause {after_s}\nsay on Sunday I mean?\npause 1\nuntil quiet"
    call = calling(script, streaming=streaming)
    assert call.history() == [f"user: {WHOLE}", f"assistant: {DEFAULT_REPLY}"]
    assert said(call) == [WHOLE], "the first half was never told as a turn"
    assert call.states().count("took_back") == 1
    assert [turn.interrupted for turn in call.of(AgentTurn)] == [False]
    assert not call.of(Interrupt)
    assert {decision.turn for decision in call.of(Discard)} == {1}
    assert 1 not in {decision.turn for decision in call.of(Forget)}


@SORTS
def test_a_caller_who_has_heard_some_of_the_answer_interrupts_it(streaming):
    call = calling(ASKED + "pause 0.5\nsay on Sunday I mean?\nuntil agent\nuntil quiet", streaming=streaming)
    assert said(call) == [HALF, "on Sunday I mean?"]
    assert "barge_in" in call.states()
    assert "took_back" not in call.states()


@pytest.mark.parametrize("text", ["sorry I meant the prices", "no wait what does it cost"])
def test_a_correction_is_a_turn_of_its_own(text):
    call = calling(f"{ASKED}pause 0.1\nsay {text}\nuntil agent\nuntil quiet")
    assert said(call) == [HALF, text]
    assert "took_back" not in call.states()


def test_a_noise_in_the_first_sound_leaves_the_answer_as_it_is():
    call = calling(ASKED + "pause 0.15\ncough 0.2\nuntil quiet")
    assert call.history() == [f"user: {HALF}", f"assistant: {DEFAULT_REPLY}"]
    assert said(call) == [HALF]
    assert call.states().count("resumed") == 1


def test_an_answer_that_was_long_in_coming_is_no_half_of_a_turn():
    call = calling(ASKED + "pause 0.1\nsay are you there still?\nuntil agent\nuntil quiet", first_audio_s=4.0)
    assert said(call) == [HALF, "are you there still?"]


def test_a_turn_is_taken_back_so_often_and_no_more():
    going_on = "say and then the\nuntil agent\n"
    call = calling(f"pause 0.3\nsay I want a table and the\nuntil agent\n{going_on * 5}until quiet")
    assert call.states().count("took_back") == 3


def test_a_joined_turn_teaches_the_callers_pause():
    script = "pause 0.3\nsay We talked about it\nuntil agent\npause 0.1\nsay last week\npause 1\nuntil quiet\n"
    call = calling(script + "say We talked about it\npause 0.65\nsay last week\npause 1\nuntil quiet")
    assert said(call) == ["We talked about it last week"] * 2
    assert call.states().count("took_back") == 1


@pytest.mark.parametrize("kind", [ReplyKind.ANSWER, ReplyKind.FAREWELL])
def test_an_answer_does_not_begin_while_the_caller_may_be_beginning_to_speak(kind):
    stirring = {0.02, 0.04, 0.06}
    transport = HandPacedTransport()
    floor = AgentFloor(
        transport,
        Gate(),
        History(),
        ConversationSettings(),
        lambda decision: None,
        next_turn=lambda: 2,
        stirring=stirring.__contains__,
    )
    reply = Reply(1, 1, kind, 0.0, backlog=[AgentAudio(1, 1, bytes(160), MULAW_8K, "Yes.")])
    floor.take(reply, 0.02)
    begun = []
    for now in (0.02, 0.04, 0.06, 0.08):
        floor.tick(now)
        begun.append(reply.sounded)
    assert begun == ([False, False, False, True] if reply.answers else [True] * 4)
