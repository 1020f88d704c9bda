"""An answer that was begun at a short pause and thrown away leaves nothing behind: no tool, no history, no sound."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ai_engine.conversation.conversation import Conversation
from ai_engine.conversation.conversation_settings import ConversationSettings, Phrases
from ai_engine.conversation.decisions import (
    Adopt,
    AgentTurn,
    CallerTurn,
    Decision,
    Discard,
    Forget,
    RunTool,
    SendAudio,
    Speculate,
)
from ai_engine.media.transport import Frame, FrameKind
from ai_engine.providers.provider import (
    AgentAudio,
    AgentAudioDone,
    AgentText,
    CallerSpeech,
    ProviderFailed,
    StageReached,
    ToolCall,
)
from tests.ai_engine.conversation.virtual_call import DEFAULT_REPLY, ScriptedProvider, VirtualCall, VirtualTransport
from voice_wire.audio import MULAW_8K

GUESSED, MEANT = b"\x10", b"\x20"
LOUD = Frame((np.resize([4000, -4000], 160)).astype(np.int16).tobytes(), FrameKind.SPEECH)
QUIET = Frame(bytes(320), FrameKind.SPEECH)


class Caller:
    """A conversation driven by hand, its caller's voice on or off."""

    def __init__(self) -> None:
        self.transport = VirtualTransport()
        self.conversation = Conversation(
            self.transport, settings=ConversationSettings(), phrases=Phrases(filler="", are_you_there="")
        )
        self.now = 50.0
        self.log: list[Decision] = []
        self.conversation.start(self.now)

    def run(self, seconds: float, *, speaking: bool = False) -> None:
        for _ in range(round(seconds / 0.02)):
            self.now += 0.02
            self.conversation.hear(LOUD if speaking else QUIET, self.now)
            self.conversation.speech_probability(0.95 if speaking else 0.02, self.now, self.now)
            self.conversation.tick(self.now)
            self.take()
            self.transport.transmit(self.now)

    def tell(self, *events: Any) -> None:
        for event in events:
            self.conversation.provider_event(event, self.now)
        self.take()

    def take(self) -> None:
        self.log += self.conversation.decisions
        self.conversation.decisions = []

    def of(self, *kinds: type) -> list[Any]:
        return [decision for decision in self.log if isinstance(decision, kinds)]


def whole_answer(turn: int, revision: int, heard: str, said: str, octet: bytes, now: float) -> list[Any]:
    """All that a provider can tell of an answer."""
    return [
        StageReached(turn, revision, "stt_done", now),
        CallerSpeech(turn, revision, heard, final=False),
        StageReached(turn, revision, "first_phrase", now, "known_answer:hours"),
        AgentText(turn, revision, said),
        ToolCall(turn, revision, f"call-{revision}", "transfer", {"to": octet.hex()}),
        AgentAudio(turn, revision, octet * 4000, MULAW_8K, said),
        AgentAudioDone(turn, revision),
    ]


def octets(caller: Caller) -> set[bytes]:
    return {frame[80:81] for _, frame in caller.transport.wire}


def begun_answer() -> Caller:
    """The caller has said something and pauses; a whole answer to that has come."""
    caller = Caller()
    caller.run(0.6, speaking=True)
    caller.run(0.2)
    (speculation,) = caller.of(Speculate)
    caller.tell(*whole_answer(speculation.turn, 1, "I would like", "Gladly.", GUESSED, caller.now))
    return caller


def test_until_it_is_adopted_an_answer_only_waits():
    caller = begun_answer()
    caller.run(0.1)
    assert not caller.of(RunTool, AgentTurn, CallerTurn, Adopt)
    assert caller.conversation.history.messages() == ()
    assert caller.transport.wire == []
    assert not caller.transport.played.queued_ms


@pytest.mark.parametrize("late", [False, True])
def test_a_thrown_away_answer_leaves_no_trace(late):
    caller = begun_answer()
    caller.run(0.4, speaking=True)
    assert caller.of(Discard) == [Discard(1, 1)]
    if late:  # what was on its way when it was discarded
        caller.tell(*whole_answer(1, 1, "I would like", "Gladly.", GUESSED, caller.now))
        caller.tell(ProviderFailed(1, 1, "llm", "cancelled", retryable=True))
        assert caller.conversation.stale_events >= 6
    caller.run(0.2)
    caller.tell(*whole_answer(1, 2, "I would like a table", "Certainly.", MEANT, caller.now))
    caller.run(2.0)
    assert [(adopted.turn, adopted.revision) for adopted in caller.of(Adopt)] == [(1, 2)]
    assert caller.of(RunTool) == [RunTool(1, 2, "call-2", "transfer", {"to": MEANT.hex()})]
    said = [m for m in caller.conversation.history.messages() if m.tool is None]
    assert [(m.role, m.content) for m in said] == [("user", "I would like a table"), ("assistant", "Certainly.")]
    assert octets(caller) == {MEANT}
    assert [turn.text for turn in caller.of(CallerTurn)] == ["I would like a table"]
    (turn,) = caller.of(AgentTurn)
    assert (turn.text, turn.interrupted) == ("Certainly.", False)


def test_each_guess_is_made_without_the_words_of_the_one_before():
    caller = begun_answer()
    caller.run(0.4, speaking=True)
    caller.run(0.2)
    assert [speculation.history for speculation in caller.of(Speculate)] == [(), ()]


def test_all_that_was_said_is_sent_once_however_often_was_guessed():
    caller = Caller()
    for _ in range(5):
        caller.run(0.4, speaking=True)
        caller.run(0.2)
    assert [speculation.revision for speculation in caller.of(Speculate)] == [1, 2, 3, 4, 5]
    assert [discard.revision for discard in caller.of(Discard)] == [1, 2, 3, 4]
    loud = sum(sent.audio.count(LOUD.pcm) for sent in caller.of(SendAudio))
    assert loud == 5 * 20


def test_a_guess_about_no_words_is_forgotten_whole():
    caller = Caller()
    caller.run(0.4, speaking=True)
    caller.run(0.2)
    caller.tell(CallerSpeech(1, 1, "", final=False), AgentAudioDone(1, 1))
    caller.run(2.0)
    assert caller.of(Forget) == [Forget(1)]
    assert not caller.of(Adopt, AgentTurn, CallerTurn)
    assert caller.conversation.history.messages() == ()
    assert caller.transport.wire == []


@pytest.mark.parametrize("keep_going", [False, True])
def test_a_caller_with_many_pauses_is_answered_once(keep_going):
    """`keep_going`: the provider's cancels come to nothing, all its late sound and words arrive."""
    pauses = "\npause 0.3\n".join(f"say {words}" for words in ("I would", "like to", "book a table", "for two people."))
    call = VirtualCall(
        f"pause 0.3\n{pauses}\nuntil agent\nuntil quiet",
        provider=ScriptedProvider(stt_s=0.05, first_audio_s=0.05, keep_going=keep_going),
    ).run(tail_s=2.0)
    assert len(call.of(Speculate)) == 4
    assert len(call.of(Discard)) == 3
    assert call.history() == ["user: I would like to book a table for two people.", f"assistant: {DEFAULT_REPLY}"]
    assert len(call.of(AgentTurn)) == 1
