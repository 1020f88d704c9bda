"""Conversations as data: what the caller and the provider do, and what has to come of it.

The steps of a script are explained in `virtual_call.py`. Expected steps are the turn-taking decisions in order:
S speculate, A adopt, D discard, F forget, T transcribe, I interrupt, Y say, H hang up, B fall back; `S2.1` is turn 2
revision 1.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import pytest

from ai_engine.conversation.conversation import Conversation
from ai_engine.conversation.conversation_settings import ConversationSettings, Phrases
from ai_engine.conversation.decisions import (
    Adopt,
    AgentTurn,
    CallerTurn,
    HangUp,
    Interrupt,
    RunTool,
    Say,
    SendAudio,
    Speculate,
)
from ai_engine.media.transport import Frame, FrameKind
from ai_engine.providers.provider import (
    AgentAudio,
    AgentAudioDone,
    AgentText,
    BackendChanged,
    CallerSpeech,
    ProviderFailed,
    StageReached,
    ToolCall,
)
from tests.ai_engine.conversation.virtual_call import DEFAULT_REPLY, ScriptedProvider, VirtualCall, VirtualTransport
from voice_wire.audio import MULAW_8K

GREETING = "Hello, this is Parley speaking. How can I help you today?"
QUESTION = "What are your opening hours?"
ASKED = f"user: {QUESTION}"
ANSWERED = f"assistant: {DEFAULT_REPLY}"
GREETED = f"assistant: {GREETING}"
APOLOGY = f"assistant: {Phrases().apology}"
OVER_AGENT = f"pause 0.3\nsay {QUESTION}\nuntil agent\npause 0.6\n"
ASKS_BACK = {"Book a table.": "Sure, gladly. Is seven fine for you? We are open until ten o'clock."}


@dataclass(frozen=True)
class Scenario:
    name: str
    script: str
    steps: str
    history: list[str]
    call: dict[str, Any] = field(default_factory=dict)
    hung_up: str | None = None


def streaming(**latencies: Any) -> dict[str, Any]:
    return {"provider": ScriptedProvider(streaming=True, **latencies)}


SCENARIOS = [
    Scenario(
        "a greeting is heard, then a question is answered",
        f"until quiet\npause 0.3\nsay {QUESTION}\nuntil agent\nuntil quiet",
        "Y1 S2.1 A2.1",
        [GREETED, ASKED, ANSWERED],
        {"greeting": GREETING},
    ),
    Scenario(
        "a pause inside a sentence throws the speculation away and keeps the turn",
        "pause 0.3\nsay I would like\npause 0.6\nsay to book a table.\nuntil agent\nuntil quiet",
        "S1.1 D1.1 S1.2 A1.2",
        ["user: I would like to book a table.", ANSWERED],
    ),
    Scenario(
        "a caller who goes on before the answer sounds takes the turn back",
        "pause 0.3\nsay I need a room.\npause 0.62\nsay for two people\nuntil agent\nuntil quiet",
        "S1.1 A1.1 D1.1 S1.2 A1.2",
        ["user: I need a room. for two people", ANSWERED],
        {"provider": ScriptedProvider(first_audio_s=0.6)},
    ),
    Scenario(
        "real words over the agent take the floor, and no word of them is lost",
        OVER_AGENT + "say no wait I mean Sunday\nuntil agent\nuntil quiet",
        "S1.1 A1.1 T2.1 T2.2 I1 S2.3 A2.3",
        [ASKED, "assistant: Certainly. We", "user: no wait I mean Sunday", ANSWERED],
    ),
    Scenario(
        "the same with a streaming STT: its words count once committed",
        OVER_AGENT + "say no wait I mean Sunday\nuntil agent\nuntil quiet",
        "S1.1 A1.1 I1 S2.1 A2.1",
        [ASKED, "assistant: Certainly. We", "user: no wait I mean Sunday", ANSWERED],
        streaming(),
    ),
    Scenario(
        "a cough over the agent pauses it, no more",
        OVER_AGENT + "cough 0.2\nuntil quiet",
        "S1.1 A1.1 T2.1 F2",
        [ASKED, ANSWERED],
    ),
    Scenario("a listening noise too", OVER_AGENT + "say uh-huh\nuntil quiet", "S1.1 A1.1 T2.1 F2", [ASKED, ANSWERED]),
    Scenario(
        "a listening noise, with a streaming STT",
        OVER_AGENT + "say uh-huh\nuntil quiet",
        "S1.1 A1.1 F2",
        [ASKED, ANSWERED],
        streaming(),
    ),
    Scenario(
        "yes said over a statement is kept as the next turn",
        OVER_AGENT + "say yes\nuntil quiet\nuntil quiet",
        "S1.1 A1.1 T2.1 S2.2 A2.2",
        [ASKED, ANSWERED, "user: yes", ANSWERED],
    ),
    Scenario(
        "what is said after a kept yes belongs to the same turn",
        OVER_AGENT + "say yes\npause 1.3\nsay and on Sunday please?\nuntil agent\nuntil quiet",
        "S1.1 A1.1 T2.1 S2.2 A2.2 D2.2 S2.3 A2.3",
        [ASKED, "assistant: We open at nine.", "user: yes and on Sunday please?", ANSWERED],
        {"provider": ScriptedProvider(first_audio_s=2.0, replies={QUESTION: "We open at nine."})},
    ),
    Scenario(
        "yes said over the words after a question takes the floor",
        "pause 0.3\nsay Book a table.\nuntil agent\nuntil question\nsay yes\nuntil agent\nuntil quiet",
        "S1.1 A1.1 T2.1 I1 S2.2 A2.2",
        ["user: Book a table.", "assistant: Sure, gladly. Is seven fine for you? We", "user: yes", ANSWERED],
        {"provider": ScriptedProvider(replies=ASKS_BACK)},
    ),
    Scenario(
        "okay after a question is an answer",
        "pause 0.3\nsay Book a table.\nuntil agent\nuntil question\nsay okay\nuntil agent\nuntil quiet",
        "S1.1 A1.1 T2.1 I1 S2.2 A2.2",
        ["user: Book a table.", "assistant: Sure, gladly. Is seven fine for you? We", "user: okay", ANSWERED],
        {"provider": ScriptedProvider(replies=ASKS_BACK)},
    ),
    Scenario(
        "a caller who talks on over the agent takes the floor by length when the STT is dead",
        "pause 0.3\nsay " + QUESTION + "\nuntil agent\npause 0.7\nfail stt\nsay one two three four five\nfail none\n"
        "pause 0.2\nuntil agent\nuntil quiet",
        "S1.1 A1.1 T2.1 I1 S2.2 A2.2",
        [ASKED, "assistant: Certainly. We", "user: one two three four five", ANSWERED],
    ),
    Scenario(
        "hello over the greeting does not stop it",
        "pause 1\nsay hello\nuntil quiet",
        "Y1 T2.1 F2",
        [GREETED],
        {"greeting": GREETING},
    ),
    Scenario(
        "a question over the greeting does",
        f"pause 1\nsay {QUESTION}\nuntil agent\nuntil quiet",
        "Y1 T2.1 T2.2 I1 S2.3 A2.3",
        ["assistant: Hello, this is", ASKED, ANSWERED],
        {"greeting": GREETING},
    ),
    Scenario(
        "a greeting that cannot be interrupted is heard to the end, and what was said over it is answered",
        "pause 1.5\nsay I have a question about Sunday.\nuntil quiet",
        "Y1 S2.1 A2.1",
        [GREETED, "user: I have a question about Sunday.", ANSWERED],
        {"greeting": GREETING, "settings": ConversationSettings(greeting_interruptible=False)},
    ),
    Scenario(
        "a caller who begins in the agent's last word is heard from his first",
        f"pause 0.3\nsay {QUESTION}\nuntil agent\npause 1.95\nsay and on Sunday I mean?\nuntil agent\nuntil quiet",
        "S1.1 A1.1 S2.1 A2.1",
        [ASKED, ANSWERED, "user: and on Sunday I mean?", ANSWERED],
    ),
    Scenario(
        "a key while the caller makes a sound over the agent",
        OVER_AGENT + "cough 0.15\nkey 1#\nuntil agent\nuntil quiet",
        "S1.1 A1.1 I1 S2.1 F2 S3.1 A3.1",
        [ASKED, "assistant: Certainly.", "user: [keypad] 1#", ANSWERED],
    ),
    Scenario(
        "a cough alone is no turn",
        "pause 0.3\ncough 0.2\npause 1\nuntil quiet",
        "S1.1 F1",
        [],
    ),
    Scenario(
        "a no is heard",
        "pause 0.3\nsay no\nuntil agent\nuntil quiet",
        "S1.1 A1.1",
        ["user: no", ANSWERED],
    ),
    Scenario(
        "a caller whose packets stop has paused",
        f"pause 0.3\nsay {QUESTION}\nmute 2\nuntil quiet",
        "S1.1 A1.1",
        [ASKED, ANSWERED],
    ),
    Scenario(
        "a failed speculation is tried once more when the turn is over, and then apologised for",
        f"pause 0.3\nfail llm\nsay {QUESTION}\npause 3\nuntil quiet\n"
        f"fail none\nsay {QUESTION}\nuntil agent\nuntil quiet",
        "S1.1 S1.2 A1.2 D1.2 S1.3 A1.3 I1 Y2 S3.1 A3.1",
        [ASKED, APOLOGY, ASKED, ANSWERED],
        {"provider": ScriptedProvider(stt_s=0.05)},
    ),
    Scenario(
        "after too many failures in a row the caller is handed on",
        "pause 0.3\nfail llm\n" + f"say {QUESTION}\npause 3\nuntil quiet\n" * 2,
        "S1.1 A1.1 D1.1 S1.2 A1.2 I1 Y2 S3.1 A3.1 D3.1 S3.2 A3.2 I3 Y4 B",
        [ASKED, APOLOGY, ASKED, f"assistant: {Phrases().giving_up}"],
        {"settings": ConversationSettings(max_failures=2)},
        hung_up="the provider failed",
    ),
    Scenario(
        "a provider lost while the caller waits is apologised for",
        f"pause 0.3\nsay {QUESTION}\npause 0.45\nlost\npause 1\nuntil quiet",
        "S1.1 A1.1 I1 Y2",
        [ASKED, APOLOGY],
        {"provider": ScriptedProvider(first_audio_s=2)},
    ),
    Scenario(
        "a provider lost in the middle of an answer: what came is heard, then the apology",
        f"pause 0.3\nsay {QUESTION}\nuntil agent\npause 0.2\nlost\npause 2\nuntil quiet",
        "S1.1 A1.1 Y2",
        [ASKED, "assistant: Certainly.", APOLOGY],
        {"provider": ScriptedProvider(phrase_gap_s=0.6)},
    ),
    Scenario(
        "a provider lost while it decodes an interruption: length decides, and the agent goes on",
        OVER_AGENT + "cough 0.25\npause 0.25\nlost\npause 1\nuntil quiet",
        "S1.1 A1.1 T2.1 F2",
        [ASKED, ANSWERED],
    ),
    Scenario(
        "a slow answer is bridged by one filler, which is no part of the history",
        f"pause 0.3\nsay {QUESTION}\npause 5\nuntil quiet",
        "S1.1 A1.1 Y2",
        [ASKED, ANSWERED],
        {"provider": ScriptedProvider(first_audio_s=5.0), "phrases": Phrases()},
    ),
    Scenario(
        "a filler that is slower than the answer is not said",
        f"pause 0.3\nsay {QUESTION}\npause 5\nuntil quiet",
        "S1.1 A1.1 Y2 I2",
        [ASKED, ANSWERED],
        {"provider": ScriptedProvider(first_audio_s=3.0, say_s=1.5), "phrases": Phrases()},
    ),
    Scenario(
        "a caller who speaks over the filler takes the turn back",
        f"pause 0.3\nsay {QUESTION}\nuntil agent\npause 0.4\nsay on Sunday I mean?\npause 4\nuntil quiet",
        "S1.1 A1.1 Y2 I2 D1.1 S1.2 A1.2",
        [f"{ASKED} on Sunday I mean?", ANSWERED],
        {"provider": ScriptedProvider(first_audio_s=3.4), "phrases": Phrases()},
    ),
    Scenario(
        "keys make a turn of their own",
        "pause 0.3\nkey 12#\nuntil agent\nuntil quiet",
        "S1.1 A1.1",
        ["user: [keypad] 12#", ANSWERED],
    ),
    Scenario(
        "a key takes the floor at once",
        OVER_AGENT + "pause 0.2\nkey 12\nuntil agent\nuntil quiet",
        "S1.1 A1.1 I1 S2.1 A2.1",
        [ASKED, "assistant: Certainly. We", "user: [keypad] 12", ANSWERED],
    ),
    Scenario(
        "a key during an utterance waits for its end",
        "pause 0.3\nsay What are your\nkey 1#\nsay opening hours?\nuntil agent\nuntil quiet",
        "S1.1 D1.1 S1.2 A1.2 S2.1 A2.1",
        [ASKED, ANSWERED, "user: [keypad] 1#", ANSWERED],
    ),
    Scenario(
        "hold stops everything, and afterwards the agent goes on",
        OVER_AGENT + "hold\npause 60\nunhold\nuntil quiet",
        "S1.1 A1.1",
        [ASKED, ANSWERED],
    ),
    Scenario(
        "hold in the middle of an utterance forgets it",
        "pause 0.3\nsay I would like\nhold\npause 60\nunhold\npause 1",
        "F1",
        [],
    ),
    Scenario(
        "silence: are you there, farewell, hang up",
        "pause 60",
        "Y1 Y2 Y3 H",
        [GREETED, f"assistant: {Phrases().are_you_there}", f"assistant: {Phrases().farewell}"],
        {"greeting": GREETING},
        hung_up="silence",
    ),
    Scenario(
        "an answer to are-you-there goes on with the call",
        f"until agent\npause 0.2\nsay {QUESTION}\nuntil agent\nuntil quiet\npause 2",
        "Y1 T2.1 T2.2 I1 S2.3 A2.3",
        ["assistant: Are", ASKED, ANSWERED],
    ),
    Scenario(
        "a call has an end",
        f"pause 0.3\nsay {QUESTION}\nuntil agent\nuntil quiet\npause 60",
        "S1.1 A1.1 Y2 H",
        [ASKED, ANSWERED, f"assistant: {Phrases().time_up}"],
        {"settings": ConversationSettings(max_call_s=6.0)},
        hung_up="time_up",
    ),
    Scenario(
        "an answer that never comes is given up",
        f"pause 0.3\nsay {QUESTION}\npause 6\n",
        "S1.1 A1.1 I1 Y2",
        [],
        {"provider": ScriptedProvider(silent=True), "settings": ConversationSettings(answer_timeout_s=4)},
    ),
    Scenario(
        "late events of cancelled work change nothing",
        "pause 0.3\nsay I would like\npause 0.6\nsay to book a table.\nuntil agent\npause 0.6\n"
        "say no wait I mean Sunday\nuntil agent\nuntil quiet",
        "S1.1 D1.1 S1.2 A1.2 T2.1 T2.2 I1 S2.3 A2.3",
        ["user: I would like to book a table.", "assistant: Certainly. We", "user: no wait I mean Sunday", ANSWERED],
        {"provider": ScriptedProvider(keep_going=True)},
    ),
    Scenario(
        "a switch from a gated to a streaming backend in mid-call",
        OVER_AGENT
        + "until quiet\nbackend streaming\n"
        + OVER_AGENT
        + "say no wait I mean Sunday\nuntil agent\nuntil quiet",
        "S1.1 A1.1 S2.1 A2.1 I2 S3.1 A3.1",
        [ASKED, ANSWERED, ASKED, "assistant: Certainly. We", "user: no wait I mean Sunday", ANSWERED],
    ),
    Scenario(
        "hanging up while the agent speaks: only what was heard remains",
        OVER_AGENT + "pause 0.6\nhangup",
        "S1.1 A1.1",
        [ASKED, "assistant: Certainly. We can do"],
    ),
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_scenario(scenario):
    call = VirtualCall(scenario.script, **scenario.call).run()
    assert call.steps_taken() == scenario.steps
    assert call.history() == scenario.history
    assert call.hung_up == scenario.hung_up


def test_a_turns_timeline_says_where_its_time_went():
    call = VirtualCall(f"pause 0.3\nsay {QUESTION}\nuntil agent\nuntil quiet").run()
    (turn,) = call.of(AgentTurn)
    order = ["speech_end", "stt_done", "end_of_turn", "first_packet", "heard_end"]
    assert sorted(turn.timeline, key=lambda stage: turn.timeline[stage]) == order
    waited_s = turn.timeline["end_of_turn"] - turn.timeline["speech_end"]
    assert 0.30 <= waited_s <= 0.36, "a complete question waits about 320 ms"
    assert turn.timeline["heard_end"] - turn.timeline["first_packet"] == pytest.approx(
        sum(len(part) for part in ("Certainly.", "We can do that for you.")) * 0.06 + 0.08, abs=0.05
    )
    (caller,) = call.of(CallerTurn)
    assert (caller.turn, caller.text) == (1, QUESTION)


def test_the_agent_falls_silent_soon_after_the_caller_speaks_over_it():
    call = VirtualCall(OVER_AGENT + "say no wait I mean Sunday\nuntil agent\nuntil quiet").run()
    onset = call.words[5].begins
    last_sound = max(at for at, _ in call.transport.wire if at < onset + 1.0)
    assert last_sound - onset <= 0.2


def test_after_a_false_alarm_the_agent_goes_on_at_the_word_it_was_cut_in():
    call = VirtualCall(OVER_AGENT + "cough 0.2\nuntil quiet").run()
    (turn,) = call.of(AgentTurn)
    assert turn.text == DEFAULT_REPLY
    assert not turn.interrupted
    full_s = sum(len(part) for part in ("Certainly.", "We can do that for you.")) * 0.06
    sent_s = 0.02 * len(call.transport.wire)
    assert full_s <= sent_s <= full_s + 0.5, "nothing is skipped, and at most a word is said again"


def test_noise_cannot_keep_a_reply_from_ending():
    reply = "We are open from nine to five on weekdays, and on Saturday we close at one."
    noise = "cough 0.25\npause 0.6\n" * 12
    call = VirtualCall(
        f"pause 0.3\nsay {QUESTION}\nuntil agent\npause 0.3\n{noise}until quiet",
        provider=ScriptedProvider(replies={QUESTION: reply}),
    ).run()
    assert call.states().count("resumed") == 4
    assert call.history() == [ASKED, f"assistant: {reply}"]


def test_noise_cannot_take_a_turn_back_for_ever():
    noise = "pause 0.8\ncough 0.15\n" * 4
    call = VirtualCall(
        f"pause 0.3\nsay {QUESTION}\n{noise}until quiet", provider=ScriptedProvider(first_audio_s=1.5)
    ).run()
    assert call.states().count("took_back") == 3
    assert call.history() == [ASKED, ANSWERED]


def test_a_turn_that_never_pauses_for_long_ends_all_the_same():
    chatter = "say and then the\npause 0.4\n" * 30
    call = VirtualCall(f"pause 0.3\n{chatter}until quiet").run(limit_s=60)
    adopted_at = call.time_of(Adopt) - call.started_at
    assert 30 <= adopted_at <= 32


@pytest.mark.parametrize("delay_s", [0.04, 0.1, 0.2, 0.3])
def test_the_agent_never_answers_its_own_echo(delay_s):
    script = f"until quiet\npause 0.5\nsay {QUESTION}\nuntil agent\nuntil quiet\n" * 3
    call = VirtualCall("until agent\n" + script, greeting=GREETING, echo_db=20, echo_delay_s=delay_s).run(tail_s=1.0)
    assert "paused" not in call.states()
    assert call.history() == [GREETED, ASKED, ANSWERED, ASKED, ANSWERED, ASKED, ANSWERED]


def test_a_caller_is_heard_over_the_echo():
    call = VirtualCall(
        OVER_AGENT + "say no wait I mean Sunday\nuntil agent\nuntil quiet", echo_db=20, echo_delay_s=0.3
    ).run()
    assert call.history()[2] == "user: no wait I mean Sunday"


def test_speculation_sees_the_history_without_the_callers_unfinished_words():
    call = VirtualCall(f"pause 0.3\nsay {QUESTION}\nuntil agent\nuntil quiet\nsay Thanks.\nuntil agent").run()
    first, second = call.of(Speculate)
    assert first.history == ()
    assert [message.role for message in second.history] == ["user", "assistant"]


def test_withheld_audio_reaches_back_before_the_onset():
    call = VirtualCall("pause 1\nsay yes\nuntil agent").run()
    first = call.of(SendAudio)[0]
    assert len(first.audio) / 16 >= 300, "milliseconds"


class Line:
    """A conversation driven by hand."""

    def __init__(self, *, owns_turn_taking: bool = False, greeting: str = "", **knobs: Any) -> None:
        self.transport = VirtualTransport()
        self.now = 10.0
        self.conversation = Conversation(
            self.transport,
            settings=ConversationSettings(**knobs),
            phrases=Phrases(greeting=greeting, filler=""),
            owns_turn_taking=owns_turn_taking,
        )
        self.conversation.start(self.now)

    def tell(self, *events: Any) -> None:
        for event in events:
            self.conversation.provider_event(event, self.now)

    def run(self, seconds: float, probability: float = 0.0) -> None:
        frame = Frame(b"\x00\x10" * 160, FrameKind.SPEECH)
        for _ in range(round(seconds / 0.02)):
            self.now += 0.02
            self.conversation.hear(frame, self.now)
            self.conversation.speech_probability(probability, self.now, self.now)
            self.conversation.tick(self.now)
            self.transport.transmit(self.now)

    def taken(self, *kinds: type) -> list[Any]:
        found = [decision for decision in self.conversation.decisions if isinstance(decision, kinds)]
        self.conversation.decisions = []
        return found


def audio(turn: int, revision: int = 1, text: str = "Hello there.", seconds: float = 1.0) -> AgentAudio:
    return AgentAudio(turn, revision, b"\x10" * round(8000 * seconds), MULAW_8K, text)


def test_a_tool_runs_only_for_an_adopted_answer():
    line = Line()
    line.run(0.5, 0.9)
    line.run(0.2)
    (speculation,) = line.taken(Speculate)
    call = ToolCall(speculation.turn, speculation.revision, "t1", "transfer", {"to": "700"})
    line.tell(call)
    assert line.taken(RunTool) == []
    line.tell(CallerSpeech(1, 1, "Put me through please.", final=False))
    line.run(0.6)
    assert line.taken(RunTool) == [RunTool(1, 1, "t1", "transfer", {"to": "700"})]
    line.run(0.2, 0.9)  # a cough while the tool is at work
    line.run(1.0)
    assert line.taken(Interrupt) == []
    line.run(1.3, 0.9)  # a turn that has used a tool is not taken back: it was acted upon
    assert [interrupt.turn for interrupt in line.taken(Interrupt)] == [1]
    line.run(1.0)
    assert [speculation.turn for speculation in line.taken(Speculate)] == [2]


def test_an_adopted_turn_that_turns_out_empty_is_forgotten_without_a_reply():
    line = Line()
    line.run(0.3, 0.9)
    line.run(0.8)
    assert [type(decision) for decision in line.taken(Speculate, Adopt)] == [Speculate, Adopt]
    line.tell(CallerSpeech(1, 1, "", final=True), audio(1))
    line.run(0.1)
    assert line.transport.wire == []
    assert line.conversation.state == "listening"
    assert line.conversation.stale_events == 1


def test_words_that_come_after_the_answer_still_enter_the_history():
    line = Line()
    line.run(0.5, 0.9)
    line.run(0.8)
    line.tell(audio(1, seconds=0.1), AgentAudioDone(1, 1))
    line.run(0.5)
    line.tell(CallerSpeech(1, 1, "Good morning.", final=True))
    assert [message.content for message in line.conversation.history.messages()] == ["Good morning.", "Hello there."]
    assert [turn.text for turn in line.taken(CallerTurn)] == ["Good morning."]


def test_a_streaming_final_without_revision_belongs_to_the_adopted_turn():
    line = Line()
    line.tell(BackendChanged("streams", needs_gating=False))
    line.run(0.5, 0.9)
    line.run(0.8)
    line.tell(CallerSpeech(1, 0, "Good morning.", final=True), audio(1), CallerSpeech(1, 0, "", final=False))
    line.run(0.1)
    line.tell(CallerSpeech(1, 0, "Anybody there?", final=True))
    assert line.conversation.history.messages()[0].content == "Good morning. Anybody there?"


@pytest.mark.parametrize("needs_gating", [False, True])
def test_a_switch_of_the_backend_decides_whether_the_stt_hears_the_caller_over_the_agent(needs_gating):
    """The backend was of the other sort until just before the caller spoke over the agent."""
    line = Line()
    line.tell(BackendChanged("before", needs_gating=not needs_gating))
    line.run(0.5, 0.9)
    line.run(0.8)
    line.tell(audio(1, seconds=3.0))
    line.run(0.4)
    line.tell(BackendChanged("after", needs_gating=needs_gating))
    line.taken(SendAudio)
    line.run(0.24, 0.95)
    assert bool(line.taken(SendAudio)) is not needs_gating


def test_semantic_end_of_turn_moves_the_wait():
    waits = []
    for probability in (None, 1.0, 0.0):
        line = Line()
        line.run(0.5, 0.9)
        began = line.now
        while not line.taken(Adopt):
            line.run(0.02)
            if probability is not None:
                line.conversation.end_of_turn_probability(1, 1, probability, line.now)
        waits.append(line.now - began)
    plain, sure, unsure = waits
    assert sure < plain < unsure


def test_farewell_hangs_up_when_it_was_heard():
    line = Line()
    line.run(0.1)
    line.conversation.say_farewell_and_hang_up("Goodbye.", line.now, reason="stopping", rendered_only=True)
    assert line.taken(Say) == [Say(1, 1, "Goodbye.", rendered_only=True)]
    line.tell(audio(1, text="Goodbye.", seconds=0.5), AgentAudioDone(1, 1))
    line.run(0.5, 0.9)  # speech over it does not stop it
    assert line.taken(HangUp) == []
    line.run(0.14)
    assert line.taken(HangUp) == [HangUp("stopping")]


def test_farewell_hangs_up_at_the_deadline_when_it_is_never_heard():
    line = Line(farewell_deadline_s=2.0)
    line.conversation.say_farewell_and_hang_up("Goodbye.", line.now)
    line.run(1.9)
    assert line.taken(HangUp) == []
    line.run(0.2)
    assert line.taken(HangUp) == [HangUp("farewell")]
    line.run(5.0)
    assert line.taken(HangUp) == []


def test_farewell_without_words_hangs_up_at_once_and_in_hold_too():
    line = Line()
    line.conversation.hold(line.now)
    line.conversation.hold(line.now)
    line.run(0.2, 0.9)
    line.conversation.say_farewell_and_hang_up("", line.now)
    line.conversation.say_farewell_and_hang_up("Goodbye.", line.now)
    assert line.taken(HangUp, Say) == [HangUp("farewell")]


def test_a_greeting_that_fails_is_taken_from_the_pre_rendered_store():
    line = Line(greeting=GREETING)
    line.tell(ProviderFailed(1, 1, "tts", "no voice", retryable=False))
    assert line.taken(Say) == [Say(1, 1, GREETING), Say(2, 1, GREETING, rendered_only=True)]
    line.tell(AgentAudioDone(2, 1))
    line.run(0.1)
    assert line.conversation.state == "listening"


def test_a_prompt_that_has_not_sounded_yet_gives_way_to_the_caller():
    line = Line(ask_after_s=1.0)
    line.run(1.1)
    assert [say.turn for say in line.taken(Say)] == [1]
    line.run(0.3, 0.9)
    assert line.taken(Interrupt) == [Interrupt(1, "")]
    line.tell(audio(1))
    assert line.conversation.stale_events == 1
    assert line.conversation.state == "hearing"


def test_a_farewell_that_cannot_be_said_hangs_up():
    line = Line()
    line.conversation.say_farewell_and_hang_up("Goodbye.", line.now)
    line.tell(ProviderFailed(1, 1, "tts", "no voice", retryable=False))
    assert line.taken(Say, HangUp) == [Say(1, 1, "Goodbye."), Say(2, 1, "Goodbye.", rendered_only=True)]
    line.tell(ProviderFailed(2, 1, "tts", "not rendered", retryable=False))
    assert line.taken(Say, HangUp) == [HangUp("farewell")]


def test_a_probe_that_fails_leaves_the_decision_to_length():
    line = Line(greeting=GREETING)
    line.tell(audio(1, seconds=5.0))
    line.run(1.0)
    line.run(0.6, 0.9)
    line.tell(ProviderFailed(2, 1, "stt", "gone", retryable=True))
    line.run(0.4, 0.9)
    assert [interrupt.turn for interrupt in line.taken(Interrupt)] == [1]


def test_an_answer_that_stops_in_the_middle_is_ended_and_apologised_for():
    line = Line(stall_s=1.0)
    line.run(0.5, 0.9)
    line.run(0.8)
    line.tell(CallerSpeech(1, 1, "Hello.", final=True), audio(1))
    line.run(1.0)
    line.taken()
    line.run(1.4)
    assert [turn.text for turn in line.taken(AgentTurn)] == ["Hello there."]
    line.run(0.0)
    assert line.conversation.state == "listening"


@pytest.mark.parametrize("let_go", [False, True])
def test_nothing_comes_after_the_end(let_go):
    line = Line(greeting=GREETING)
    line.tell(audio(1))
    line.run(0.3)
    conversation = line.conversation
    conversation.end(line.now)
    line.taken()
    if let_go:
        conversation.let_go()
    sent = len(line.transport.wire)
    conversation.end(line.now)
    conversation.hold(line.now)
    conversation.unhold(line.now)
    conversation.dtmf("1", line.now)
    conversation.provider_lost(line.now)
    conversation.hand_on(line.now)
    conversation.echo_found(line.now)
    conversation.end_of_turn_probability(1, 1, 0.5, line.now)
    conversation.say_farewell_and_hang_up("Goodbye.", line.now)
    line.tell(audio(1), AgentAudioDone(1, 1))
    line.run(1.0, 0.9)
    assert conversation.decisions == []
    assert len(line.transport.wire) <= sent + 1, "one fading frame at most"
    assert conversation.state == "ended"


# --- providers that take turns themselves -----------------------------------------------------------------------------


def test_full_duplex_passes_all_audio_on_and_plays_what_comes():
    line = Line(owns_turn_taking=True, greeting=GREETING)
    line.run(0.1, 0.9)
    assert len(line.taken(SendAudio)) == 5
    line.tell(audio(1, seconds=0.2), AgentAudioDone(1, 1))
    line.run(0.5)
    line.tell(CallerSpeech(2, 0, "Good morning", final=False), CallerSpeech(2, 0, "Good morning.", final=True))
    line.tell(audio(2, seconds=0.3), audio(2, text="", seconds=0.2), AgentAudioDone(2, 1))
    line.run(0.4)
    assert line.conversation.state == "speaking"
    line.run(0.3)
    assert [turn.turn for turn in line.taken(AgentTurn)] == [1, 2]
    assert [message.role for message in line.conversation.history.messages()] == ["assistant", "user", "assistant"]


def test_full_duplex_providers_interrupt_themselves():
    line = Line(owns_turn_taking=True)
    line.tell(audio(1, seconds=3.0))
    line.run(1.5)
    line.tell(CallerSpeech(2, 0, "", final=False))
    assert line.taken(Interrupt) == [Interrupt(1, "Hello")]
    sent = len(line.transport.wire)
    line.tell(audio(1), AgentAudioDone(1, 1))
    line.run(0.2)
    assert len(line.transport.wire) <= sent + 1
    assert line.conversation.stale_events == 2
    line.tell(audio(2))
    line.run(0.1)
    assert line.conversation.state == "speaking"


def test_full_duplex_turns_that_overlap_sound_one_after_the_other():
    line = Line(owns_turn_taking=True)
    line.tell(audio(1, seconds=0.5), audio(2, text="And more.", seconds=0.5), AgentAudioDone(2, 1))
    line.tell(AgentText(2, 1, "And more."), StageReached(2, 1, "tts_first_audio", line.now), BackendChanged("x", False))
    line.run(0.4)
    assert line.transport.played.last_frame_turn == 1
    line.run(1.2)
    assert [(turn.turn, turn.text) for turn in line.taken(AgentTurn)] == [(1, "Hello there."), (2, "And more.")]


def test_a_full_duplex_provider_that_fails_is_apologised_for():
    line = Line(owns_turn_taking=True)
    line.tell(audio(1, seconds=0.2), ProviderFailed(0, 0, "connection", "gone", retryable=True))
    line.run(0.5)
    assert [say.rendered_only for say in line.taken(Say)] == [True]


def test_a_full_duplex_caller_who_speaks_is_not_asked_whether_he_is_there():
    line = Line(owns_turn_taking=True, ask_after_s=2.0)
    line.run(1.5)
    line.tell(CallerSpeech(1, 0, "I was thinking", final=False))
    line.run(1.5)
    assert line.taken(Say) == []
    line.run(1.0)
    assert len(line.taken(Say)) == 1


def test_what_was_said_long_before_the_end_of_a_greeting_is_not_dug_up():
    line = Line(greeting=GREETING, greeting_interruptible=False)
    line.tell(audio(1, seconds=8.0), AgentAudioDone(1, 1))
    for probability, seconds in ((0.0, 1.0), (0.9, 1.0), (0.0, 7.0)):
        line.run(seconds, probability)
    assert line.conversation.state == "listening"
    assert line.taken(SendAudio) == []


# --- cost -------------------------------------------------------------------------------------------------------------


def test_a_listening_call_costs_little_per_tick():
    line = Line(ask_after_s=0.0, give_up_after_s=0.0)
    frame = Frame(bytes(320), FrameKind.SPEECH)
    line.run(1.0)
    conversation, now, n = line.conversation, line.now, 5000
    best_us = float("inf")
    for _ in range(3):
        began = time.thread_time()  # others that want the machine do not count
        for _ in range(n):
            now += 0.02
            conversation.hear(frame, now)
            conversation.tick(now)
        best_us = min(best_us, (time.thread_time() - began) / n * 1e6)
    assert best_us < 50, "five times what it takes on an idle machine"
