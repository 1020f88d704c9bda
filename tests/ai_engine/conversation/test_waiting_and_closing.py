"""How calls begin, wait and end, and what is said without the model: cases as data.

The steps of a script are explained in `tools/scenarios/virtual_call.py`, the expected steps in `test_conversation.py`;
`X` is a transfer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from ai_engine.conversation.conversation import Conversation
from ai_engine.conversation.conversation_settings import ConversationSettings, GreetingMode, Phrases
from ai_engine.conversation.decisions import AgentTurn, CallerTurn, FallBack, HangUp, Say, Transfer
from ai_engine.conversation.set_answers import SetAnswer, SetAnswers
from ai_engine.conversation.waiting import Alternatives
from ai_engine.media.transport import Frame, FrameKind
from ai_engine.providers.provider import AgentAudio, AgentAudioDone, CallerSpeech, ProviderFailed, ToolCall
from tests.ai_engine.conversation.virtual_call import DEFAULT_REPLY, ScriptedProvider, VirtualCall, VirtualTransport
from voice_core.set_phrases import SetPhrase, SetPhrases
from voice_core.speakable import speakable
from voice_wire.audio import MULAW_8K

GREETING = "Hello, this is Parley speaking. How can I help you today?"
TOLD = "You are talking with a machine."
QUESTION = "What are your opening hours?"
ASKED = f"user: {QUESTION}"
ANSWERED = f"assistant: {DEFAULT_REPLY}"
GREETED = f"assistant: {GREETING}"
FAREWELL = f"assistant: {Phrases().farewell}"
ARE_YOU_THERE = f"assistant: {Phrases().are_you_there}"
TIME_UP = f"assistant: {Phrases().time_up}"
CALL_112 = "Please hang up and dial one one two."
PUTTING_THROUGH = "One moment, I will put you through."
SET = SetAnswers(
    SetPhrases(
        [
            SetPhrase("emergency", meaning="emergency"),
            SetPhrase("person", meaning="person", keys="0"),
            SetPhrase("bye", said=("goodbye",)),
            SetPhrase("nobody", said=("nobody",)),
        ]
    ),
    {
        "emergency": SetAnswer(CALL_112),
        "person": SetAnswer(PUTTING_THROUGH, Transfer("600", "", "person")),
        "bye": SetAnswer("Goodbye.", HangUp("bye")),
        "nobody": SetAnswer("", FallBack("nobody")),
    },
)
ON_THE_PHONE = {"set_answers": SET}
WAITS = ConversationSettings(greeting_mode=GreetingMode.WAIT, greeting_wait_s=3.0)
SILENT = ConversationSettings(greeting_mode=GreetingMode.NONE)
QUICK = ConversationSettings(ask_after_s=1.0, give_up_after_s=2.0)


@dataclass(frozen=True)
class Case:
    name: str
    script: str
    steps: str
    history: list[str]
    call: dict[str, Any] = field(default_factory=dict)
    hung_up: str | None = None


def phrases(**texts: Any) -> Phrases:
    return Phrases(**{"filler": "", "greeting": GREETING, **texts})


TWO_SENTENCES = "We are open from nine to five on weekdays. On Saturday we close at one in the afternoon."
WITHOUT_END = " ".join(["and then we are open"] * 12) + "."


CASES = [
    # --- greetings ---
    Case(
        "an agent that waits lets the caller begin, and then has no greeting",
        f"pause 1\nsay {QUESTION}\nuntil agent\nuntil quiet\npause 4",
        "S1.1 A1.1",
        [ASKED, ANSWERED],
        {"settings": WAITS, "greeting": GREETING},
    ),
    Case(
        "a caller who only says hello hears the greeting, and what was prepared is thrown away",
        "pause 1\nsay Hello?\nuntil agent\nuntil quiet",
        "S1.1 Y2 F1",
        [GREETED],
        {"settings": WAITS, "greeting": GREETING},
    ),
    Case(
        "a caller who says nothing is greeted after a while",
        "pause 2.8\nuntil agent\nuntil quiet",
        "Y1",
        [GREETED],
        {"settings": WAITS, "greeting": GREETING},
    ),
    Case(
        "nobody is asked whether he is there before he was greeted",
        "pause 2.8\nuntil agent\nuntil quiet\nuntil agent\nuntil quiet",
        "Y1 Y2",
        [GREETED, ARE_YOU_THERE],
        {
            "settings": ConversationSettings(
                greeting_mode=GreetingMode.WAIT, greeting_wait_s=3.0, ask_after_s=1.0, give_up_after_s=9.0
            ),
            "greeting": GREETING,
        },
    ),
    Case(
        "a cough does not begin the conversation",
        "pause 1\ncough 0.2\nuntil agent\nuntil quiet",
        "S1.1 F1 Y2",
        [GREETED],
        {"settings": WAITS, "greeting": GREETING},
    ),
    Case(
        "without a greeting a hello is answered by the model",
        "pause 4\nsay Hello?\nuntil agent\nuntil quiet",
        "S1.1 A1.1",
        ["user: Hello?", ANSWERED],
        {"settings": SILENT, "greeting": GREETING},
    ),
    Case(
        "hold does not count as waiting for the greeting",
        "pause 1\nhold\npause 10\nunhold\npause 1\nsay Hello?\nuntil agent\nuntil quiet",
        "S1.1 Y2 F1",
        [GREETED],
        {"settings": WAITS, "greeting": GREETING},
    ),
    Case(
        "a delayed greeting",
        "until agent\nuntil quiet",
        "Y1",
        [GREETED],
        {"settings": ConversationSettings(greeting_delay_s=2.0), "greeting": GREETING},
    ),
    Case(
        "a caller who speaks before a delayed greeting is answered instead",
        f"pause 0.5\nsay {QUESTION}\nuntil agent\nuntil quiet\npause 3",
        "S1.1 A1.1",
        [ASKED, ANSWERED],
        {"settings": ConversationSettings(greeting_delay_s=2.0), "greeting": GREETING},
    ),
    # --- disclosure ---
    Case(
        "the disclosure begins the greeting",
        "until quiet",
        "Y1",
        [f"assistant: {TOLD} {GREETING}"],
        {"phrases": phrases(disclosure=TOLD)},
    ),
    Case(
        "a caller who speaks over the disclosure does not stop it, and who goes on stops the rest",
        f"until agent\npause 0.5\nsay {QUESTION}\nuntil agent\nuntil quiet",
        "Y1 I1 S2.1 A2.1",
        [f"assistant: {TOLD}", ASKED, ANSWERED],
        {"phrases": phrases(disclosure=TOLD)},
    ),
    Case(
        "what is over before the disclosure is, is heard after the greeting",
        "until agent\npause 0.3\nsay When?\nuntil quiet",
        "Y1 S2.1 A2.1",
        [f"assistant: {TOLD} Hi.", "user: When?", ANSWERED],
        {"phrases": phrases(disclosure=TOLD, greeting="Hi.")},
    ),
    Case(
        "where the caller speaks first, the disclosure comes before the first answer, and only there",
        f"pause 1\nsay {QUESTION}\nuntil agent\nuntil quiet\nsay {QUESTION}\nuntil agent\nuntil quiet",
        "S1.1 A1.1 Y2 S3.1 A3.1",
        [ASKED, ANSWERED, ASKED, ANSWERED],
        {"settings": SILENT, "phrases": phrases(disclosure=TOLD)},
    ),
    Case(
        "a disclosure that the caller talked down is said again",
        f"pause 1\nsay {QUESTION}\nuntil agent\npause 0.5\nsay on Sunday I mean?\nuntil agent\nuntil quiet",
        "S1.1 A1.1 Y2 I2 D1.1 S1.2 A1.2 Y3",
        [f"{ASKED} on Sunday I mean?", ANSWERED],
        {"settings": SILENT, "phrases": phrases(disclosure=TOLD)},
    ),
    # --- silence ---
    Case(
        "real words over the farewell for silence keep the call",
        f"until agent\nuntil quiet\nuntil agent\npause 0.5\nsay {QUESTION}\nuntil agent\nuntil quiet",
        "Y1 Y2 T3.1 T3.2 I2 S3.3 A3.3",
        [ARE_YOU_THERE, "assistant: I can't", ASKED, ANSWERED],
        {"settings": QUICK},
    ),
    Case(
        "a yes over it keeps the call too",
        "until agent\nuntil quiet\nuntil agent\npause 0.5\nsay yes\nuntil agent\nuntil quiet",
        "Y1 Y2 T3.1 I2 S3.2 A3.2",
        [ARE_YOU_THERE, "assistant: I can't", "user: yes", ANSWERED],
        {"settings": QUICK},
    ),
    Case(
        "a cough over it does not",
        "until agent\nuntil quiet\nuntil agent\npause 0.5\ncough 0.2\npause 20",
        "Y1 Y2 T3.1 F3 H",
        [ARE_YOU_THERE, FAREWELL],
        {"settings": QUICK},
        hung_up="silence",
    ),
    Case(
        "a key over it does",
        "until agent\nuntil quiet\nuntil agent\npause 0.5\nkey 5#\nuntil agent\nuntil quiet",
        "Y1 Y2 I2 S3.1 A3.1",
        [ARE_YOU_THERE, "assistant: I can't", "user: [keypad] 5#", ANSWERED],
        {"settings": QUICK},
    ),
    Case(
        "words over the farewell at the end of the time change nothing",
        f"until agent\npause 0.5\nsay {QUESTION}\npause 20",
        "Y1 H",
        [TIME_UP],
        {"settings": ConversationSettings(max_call_s=3.0)},
        hung_up="time_up",
    ),
    Case(
        "when the time is up in the middle of an answer, the agent finishes his sentence",
        f"say {QUESTION}\npause 20",
        "S1.1 A1.1 I1 Y2 H",
        [ASKED, f"assistant: {TWO_SENTENCES.partition('. ')[0]}.", TIME_UP],
        {
            "provider": ScriptedProvider(replies={QUESTION: TWO_SENTENCES}),
            "settings": ConversationSettings(max_call_s=4.0),
        },
        hung_up="time_up",
    ),
    Case(
        "the caller is asked as often as it may, in other words each time",
        "pause 60",
        "Y1 Y2 Y3 Y4 H",
        ["assistant: Hello?", "assistant: Are you there?", "assistant: Hello?", FAREWELL],
        {
            "settings": ConversationSettings(ask_after_s=2.0, ask_times=3, give_up_after_s=10.0),
            "phrases": phrases(greeting="", are_you_there=("Hello?", "Are you there?")),
        },
        hung_up="silence",
    ),
    Case(
        "the end of the time is told beforehand",
        "pause 60",
        "Y1 Y2 H",
        ["assistant: We have to end soon.", TIME_UP],
        {
            "settings": ConversationSettings(ask_after_s=0, give_up_after_s=0, max_call_s=12.0, time_warning_s=6.0),
            "phrases": phrases(greeting="", time_warning="We have to end soon."),
        },
        hung_up="time_up",
    ),
    Case(
        "a farewell waits for the end of a hold",
        f"say {QUESTION}\nuntil agent\nuntil quiet\nuntil agent\npause 0.5\nhold\npause 60\nunhold\npause 20",
        "S1.1 A1.1 Y2 H",
        [ASKED, ANSWERED, FAREWELL],
        {"settings": ConversationSettings(ask_after_s=0, give_up_after_s=2.0)},
        hung_up="silence",
    ),
    # --- fillers ---
    Case(
        "slow answers in two turns running: one filler",
        f"say {QUESTION}\nuntil agent\nuntil quiet\nuntil quiet\nsay {QUESTION}\nuntil agent\nuntil quiet\n"
        f"say {QUESTION}\nuntil agent\nuntil quiet\nuntil quiet",
        "S1.1 A1.1 Y2 S3.1 A3.1 S4.1 A4.1 Y5",
        [ASKED, ANSWERED] * 3,
        {"provider": ScriptedProvider(first_audio_s=4.5), "phrases": Phrases()},
    ),
    # --- set phrases ---
    Case(
        "who asks for a person is put through, whatever the model would say",
        "pause 0.3\nsay Operator, please.\npause 20",
        "S1.1 F1 Y2 X",
        ["user: Operator, please.", f"assistant: {PUTTING_THROUGH}"],
        ON_THE_PHONE,
        hung_up="person",
    ),
    Case(
        "the same when the words come after the end of the turn",
        "pause 0.3\nsay Operator, please.\npause 20",
        "S1.1 A1.1 F1 Y2 X",
        ["user: Operator, please.", f"assistant: {PUTTING_THROUGH}"],
        {**ON_THE_PHONE, "provider": ScriptedProvider(stt_s=1.2)},
        hung_up="person",
    ),
    Case(
        "the same with a streaming STT",
        "pause 0.3\nsay Operator, please.\npause 20",
        "S1.1 F1 Y2 X",
        ["user: Operator, please.", f"assistant: {PUTTING_THROUGH}"],
        {**ON_THE_PHONE, **{"provider": ScriptedProvider(streaming=True)}},
        hung_up="person",
    ),
    Case(
        "the same over the agent",
        f"pause 0.3\nsay {QUESTION}\nuntil agent\npause 0.6\nsay No, operator please!\npause 20",
        "S1.1 A1.1 T2.1 T2.2 I1 S2.3 F2 Y3 X",
        [ASKED, "assistant: Certainly. We", "user: No, operator please!", f"assistant: {PUTTING_THROUGH}"],
        ON_THE_PHONE,
        hung_up="person",
    ),
    Case(
        "an emergency is answered as set, and the conversation goes on",
        f"pause 0.3\nsay This is an emergency!\nuntil agent\nuntil quiet\nsay {QUESTION}\nuntil agent\nuntil quiet",
        "S1.1 F1 Y2 S3.1 A3.1",
        ["user: This is an emergency!", f"assistant: {CALL_112}", ASKED, ANSWERED],
        ON_THE_PHONE,
    ),
    Case(
        "the words inside another sentence are the model's",
        "pause 0.3\nsay Where is the operator manual?\nuntil agent\nuntil quiet",
        "S1.1 A1.1",
        ["user: Where is the operator manual?", ANSWERED],
        ON_THE_PHONE,
    ),
    Case(
        "goodbye is heard to its end",
        "pause 0.3\nsay Goodbye!\nuntil agent\nsay one more question please\npause 20",
        "S1.1 F1 Y2 H",
        ["user: Goodbye!", "assistant: Goodbye."],
        ON_THE_PHONE,
        hung_up="bye",
    ),
    Case(
        "a fallback without a sentence comes at once",
        "pause 0.3\nsay nobody\npause 20",
        "S1.1 F1 B",
        ["user: nobody"],
        ON_THE_PHONE,
        hung_up="nobody",
    ),
    Case(
        "a key that means the same",
        "pause 0.3\nkey 0\npause 20",
        "Y2 X",
        ["user: [keypad] 0", f"assistant: {PUTTING_THROUGH}"],
        ON_THE_PHONE,
        hung_up="person",
    ),
    Case(
        "a key over the agent",
        f"pause 0.3\nsay {QUESTION}\nuntil agent\npause 0.8\nkey 0#\npause 20",
        "S1.1 A1.1 I1 Y3 X",
        [ASKED, "assistant: Certainly. We", "user: [keypad] 0#", f"assistant: {PUTTING_THROUGH}"],
        ON_THE_PHONE,
        hung_up="person",
    ),
    Case(
        "a number that begins with that key is a number",
        "pause 0.3\nkey 0171#\nuntil agent\nuntil quiet",
        "S1.1 A1.1",
        ["user: [keypad] 0171#", ANSWERED],
        ON_THE_PHONE,
    ),
    Case(
        "a transfer whose sentence cannot be said by the provider is announced from the store",
        "pause 0.3\nfail tts\nsay Operator, please.\npause 20",
        "S1.1 S1.2 A1.2 F1 Y2 Y3 X",
        ["user: Operator, please.", f"assistant: {PUTTING_THROUGH}"],
        ON_THE_PHONE,
        hung_up="person",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case):
    call = VirtualCall(case.script, **case.call).run()
    assert call.steps_taken() == case.steps
    assert call.history() == case.history
    assert call.hung_up == case.hung_up


def test_a_set_answer_is_told_with_its_source_and_its_latency():
    call = VirtualCall("pause 0.3\nsay This is an emergency!\nuntil agent\nuntil quiet", set_answers=SET).run()
    (turn,) = call.of(AgentTurn)
    assert turn.source == "set:emergency"
    assert turn.timeline["first_packet"] > turn.timeline["end_of_turn"] > turn.timeline["speech_end"]
    assert [told.text for told in call.of(CallerTurn)] == ["This is an emergency!"]
    assert "set_phrase" in call.states()


def test_a_long_farewell_is_heard_to_its_end():
    farewell = "We thank you for your call. " * 10 + "Goodbye."
    settings = ConversationSettings(ask_after_s=0, give_up_after_s=1.0, farewell_deadline_s=2.0)
    call = VirtualCall("pause 60", settings=settings, phrases=phrases(greeting="", farewell=farewell)).run()
    (turn,) = call.of(AgentTurn)
    assert turn.text == farewell
    assert not turn.interrupted
    assert call.hung_up == "silence"


def test_wordings_are_used_in_turn():
    wordings = Alternatives(("One moment.", "", "Just a second."))
    assert [wordings.next() for _ in range(3)] == ["One moment.", "Just a second.", "One moment."]
    assert Alternatives("Hm.").next() == "Hm."
    assert not Alternatives("")
    assert not Alternatives(())


# --- by hand ----------------------------------------------------------------------------------------------------------


class Line:
    def __init__(self, *, owns_turn_taking: bool = False, texts: Phrases | None = None, **knobs: Any) -> None:
        self.transport = VirtualTransport()
        self.now = 10.0
        self.conversation = Conversation(
            self.transport,
            settings=ConversationSettings(**knobs),
            phrases=texts or phrases(greeting=""),
            owns_turn_taking=owns_turn_taking,
            set_answers=SET,
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


def audio(turn: int, text: str, seconds: float = 1.0) -> AgentAudio:
    return AgentAudio(turn, 1, b"\x10" * round(8000 * seconds), MULAW_8K, text)


def test_the_time_that_a_tool_takes_is_no_silence():
    line = Line(ask_after_s=2.0, give_up_after_s=4.0)
    line.run(0.5, 0.9)
    line.run(0.8)
    line.tell(CallerSpeech(1, 1, "Book it.", final=True), ToolCall(1, 1, "t1", "book", {}))
    line.run(10.0)
    assert line.taken(Say, HangUp) == []
    line.tell(audio(1, "It is booked."), AgentAudioDone(1, 1))
    line.run(1.2)
    line.run(2.1)
    assert [say.text for say in line.taken(Say)] == [Phrases().are_you_there]


def test_a_provider_that_takes_turns_itself_is_overruled_by_a_set_phrase():
    line = Line(owns_turn_taking=True)
    line.run(0.1)
    line.tell(CallerSpeech(1, 0, "Operator, please.", final=True), audio(1, "Why?"), AgentAudioDone(1, 1))
    (say,) = line.taken(Say)
    assert say.text == PUTTING_THROUGH
    assert say.turn > 1
    line.tell(audio(say.turn, PUTTING_THROUGH, 0.3), AgentAudioDone(say.turn, 1))
    line.run(0.6)
    assert line.taken(Transfer) == [Transfer("600", "", "person")]
    assert [m.content for m in line.conversation.history.messages()] == ["Operator, please.", PUTTING_THROUGH]


def test_a_key_overrules_it_too():
    line = Line(owns_turn_taking=True, keypad_wait_s=0.5)
    line.conversation.dtmf("0", line.now)
    line.run(0.7)
    assert [say.text for say in line.taken(Say)] == [PUTTING_THROUGH]


def test_it_tells_what_it_is_before_anything_else():
    line = Line(owns_turn_taking=True, greeting_mode=GreetingMode.NONE, texts=phrases(disclosure=TOLD))
    assert [say.text for say in line.taken(Say)] == [TOLD]
    line = Line(owns_turn_taking=True, texts=phrases(disclosure=TOLD))
    assert [say.text for say in line.taken(Say)] == [f"{TOLD} {GREETING}"]
    line.tell(audio(1, f"{TOLD} {GREETING}", 3.0))
    line.run(1.0)
    line.tell(CallerSpeech(2, 0, "But", final=False))
    assert line.conversation.state == "speaking"


def test_its_caller_keeps_the_call_by_speaking_over_the_farewell_for_silence():
    line = Line(owns_turn_taking=True, ask_after_s=0, give_up_after_s=1.0)
    line.run(1.1)
    (say,) = line.taken(Say)
    line.tell(audio(say.turn, say.text, 3.0))
    line.run(0.5)
    line.tell(CallerSpeech(say.turn + 1, 0, "Wait", final=False))
    line.run(3.0)
    assert [farewell.text for farewell in line.taken(Say)] == [Phrases().farewell], "after the next silence"


def test_set_words_that_come_after_a_tool_was_used_still_act():
    line = Line()
    line.run(0.5, 0.9)
    line.run(0.8)
    line.tell(ToolCall(1, 1, "t1", "look_up", {}), audio(1, "Let me see."))
    line.run(0.2)
    line.tell(CallerSpeech(1, 1, "Operator!", final=True))
    assert [say.text for say in line.taken(Say)] == [PUTTING_THROUGH]
    line.tell(CallerSpeech(1, 1, "Operator!", final=True))
    assert line.taken(Say) == [], "once"


def test_a_call_without_any_provider_is_handed_on_with_a_sentence():
    line = Line(texts=phrases())
    line.taken()
    line.conversation.hand_on(line.now)
    (say,) = line.taken(Say)
    assert (say.text, say.rendered_only) == (Phrases().giving_up, True)
    line.tell(audio(say.turn, say.text, 0.3), AgentAudioDone(say.turn, 1))
    line.run(0.6)
    assert [decision.reason for decision in line.taken(FallBack)] == ["the provider failed"]


def test_a_farewell_for_silence_becomes_final_when_the_engine_stops():
    line = Line(ask_after_s=0, give_up_after_s=1.0)
    line.run(1.1)
    (say,) = line.taken(Say)
    line.tell(audio(say.turn, say.text, 2.0), AgentAudioDone(say.turn, 1))
    line.run(0.5)
    line.conversation.say_farewell_and_hang_up("Goodbye.", line.now)
    line.run(1.8, 0.9)
    assert line.taken(HangUp) == [HangUp("silence")]


def test_a_disclosure_that_cannot_be_spoken_is_taken_from_the_store():
    line = Line(texts=phrases(disclosure=TOLD), greeting_mode=GreetingMode.NONE)
    line.run(0.5, 0.9)
    line.run(0.8)
    (say,) = line.taken(Say)
    line.tell(CallerSpeech(1, 1, "Hello.", final=True), ProviderFailed(say.turn, 1, "tts", "no voice", retryable=False))
    assert [(again.text, again.rendered_only) for again in line.taken(Say)] == [(TOLD, True)]


def test_a_disclosure_counts_as_told_by_its_words_not_by_its_spaces():
    """A variable without a value leaves a space behind; what the voice is given has none."""

    class Tidied(VirtualCall):
        def _speak(self, turn, revision, text, delay_s):
            super()._speak(turn, revision, speakable(text), delay_s)

    told = "Hello , you are talking with  a machine."
    asking = f"say {QUESTION}\nuntil agent\nuntil quiet\npause 0.5\n"
    call = Tidied(f"pause 0.5\n{asking}{asking}", settings=SILENT, phrases=phrases(disclosure=told)).run()
    assert [say.text for say in call.of(Say)] == [told]
    assert len(call.of(CallerTurn)) == 2


def test_who_has_begun_to_speak_over_a_farewell_does_not_keep_a_call_that_has_to_end():
    call = VirtualCall(
        "until agent\nuntil quiet\nuntil agent\npause 0.5",
        greeting=GREETING,
        settings=ConversationSettings(ask_times=0, give_up_after_s=2.0),
    ).run()
    call.sounds.append((call.now, call.now + 3.0))
    call.advance_until(lambda: call.conversation.state == "paused", 5.0)
    call.conversation.say_farewell_and_hang_up("Goodbye.", call.now)  # the engine stops
    call.advance(20.0)
    assert call.hung_up == "silence"
    assert "barge_in" not in call.states()


def test_a_sentence_without_end_does_not_keep_the_call_when_its_time_is_up() -> None:
    call = VirtualCall(
        f"say {QUESTION}\npause 40",
        provider=ScriptedProvider(replies={QUESTION: WITHOUT_END}),
        settings=ConversationSettings(max_call_s=4.0),
        phrases=phrases(greeting=""),
    ).run()
    history = call.history()
    assert history[0] == ASKED
    assert history[2:] == [TIME_UP]
    heard = history[1].removeprefix("assistant: ")
    assert heard
    assert WITHOUT_END.startswith(heard)
    assert heard != WITHOUT_END
    assert call.time_of(HangUp, -1) < call.started_at + 4.0 + 6.0 + 10.0
