"""Keys as an answer, over the agent, for a tool; and secret ones in nothing that is kept, sent or shown."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from ai_engine.conversation.conversation_settings import ConversationSettings, Phrases
from ai_engine.conversation.decisions import AgentTurn, CallerTurn, Interrupt, KeysTyped, Speculate, Transfer
from ai_engine.conversation.key_input import KeyRequest, KeyRules, Keys, SecretQuestions
from ai_engine.conversation.set_answers import SetAnswer, SetAnswers
from tests.ai_engine.conversation.virtual_call import ScriptedProvider, VirtualCall
from voice_core.set_phrases import SetPhrase, SetPhrases

PIN = "4711"
MASKED = "[keypad] **** (4 digits)"
ASKS_FOR_PIN = {"My account please": "Please type your PIN on the keypad."}
OPERATOR = SetAnswers(
    SetPhrases([SetPhrase("person", meaning="person", keys="0")]),
    {"person": SetAnswer("I will put you through.", Transfer("600", reason="person"))},
)


def call(script: str, **keys: object) -> VirtualCall:
    rules = KeyRules(**{name: keys.pop(name) for name in list(keys) if name in KeyRules.__slots__})
    keys.setdefault("provider", ScriptedProvider(replies=ASKS_FOR_PIN))
    return VirtualCall(f"pause 0.3\n{script}", keys=rules, **keys).run(tail_s=0.1)


def typed(made: VirtualCall) -> list[str]:
    return [line.removeprefix("user: ") for line in made.history() if line.startswith("user: [keypad]")]


def everything_told(made: VirtualCall) -> str:
    """All that leaves the conversation: decisions as a log would write them, texts, prompts and the history."""
    prompts = [message.content for decision in made.of(Speculate) for message in decision.history]
    texts = [decision.text for decision in made.of(Speculate, CallerTurn, AgentTurn)]
    texts += [decision.heard for decision in made.of(Interrupt)]
    return "\n".join([*(repr(decision) for _, decision in made.log), *prompts, *texts, *made.history()])


@dataclass(frozen=True)
class Case:
    name: str
    script: str
    typed: list[str]
    keys: dict[str, object] = field(default_factory=dict)


CASES = [
    Case("a hash ends an answer at once", "key 12#\nuntil agent", ["[keypad] 12#"]),
    Case("a pause ends an answer", "key 12\npause 2.2\nuntil quiet", ["[keypad] 12"]),
    Case("a pause as long as the persona says", "key 1\npause 0.7\nkey 2\nuntil agent", ["[keypad] 12"], {"wait_s": 1}),
    Case(
        "a shorter one makes two",
        "key 1\nuntil quiet\nkey 2\nuntil agent",
        ["[keypad] 1", "[keypad] 2"],
        {"wait_s": 0.2},
    ),
    Case(
        "so many keys need no pause",
        "key 1234\npause 0.04\nkey 5678\nuntil quiet\npause 0.1",
        ["[keypad] 1234"],
        {"max_keys": 4},
    ),
    Case("secret keys are a count", f"key {PIN}#\nuntil agent", [MASKED], {"secret": True}),
    Case("one secret key", "key 1#\nuntil agent", ["[keypad] **** (1 digit)"], {"secret": True}),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_keys_as_an_answer(case):
    made = call(case.script, **dict(case.keys))
    assert typed(made)[: len(case.typed)] == case.typed


@pytest.mark.parametrize(
    "script",
    [
        f"key {PIN}#\nuntil quiet",
        f"key {PIN}\nuntil quiet",
        "say Tell me about the prices\nuntil agent\npause 0.3\n"
        f"key {PIN}#\nuntil agent\nuntil quiet\nsay Thank you\nuntil quiet",
        f"say I would like\nkey {PIN}#\nsay to book\nuntil agent\nuntil quiet\nuntil quiet",
        f"key {PIN}#\npause 0.2\nfail llm\nuntil quiet\nfail none\nkey {PIN}#\nuntil quiet",
        f"key {PIN}\nhangup",
        f"key {PIN}\nhold\npause 5\nunhold\nuntil quiet",
    ],
)
def test_secret_keys_are_in_nothing_that_is_told(script):
    told = everything_told(call(script, secret=True))
    assert PIN not in told
    assert not any(part in told.replace(" (4 digits)", "") for part in ("471", "711"))


def test_keys_that_are_not_secret_are_told_everywhere():
    told = everything_told(call(f"key {PIN}#\nuntil quiet\nsay Thank you\nuntil quiet"))
    assert told.count(PIN) > 3


def test_secret_keys_interrupt_the_agent_as_others_do():
    made = call("say My account please\nuntil agent\npause 0.8\nkey 1#\nuntil agent\nuntil quiet", secret=True)
    assert len(made.of(Interrupt)) == 1
    assert made.of(Interrupt)[0].heard


# --- a single question ------------------------------------------------------------------------------------------------

ASKED = "say My account please\nuntil agent\nuntil quiet\n"


@pytest.mark.parametrize(
    ("script", "seen"),
    [
        (f"{ASKED}key {PIN}#\nuntil quiet", [MASKED]),
        ("key 12#\nuntil quiet", ["[keypad] 12#"]),
        (f"key 12#\nuntil quiet\n{ASKED}key {PIN}#\nuntil quiet", ["[keypad] 12#", MASKED]),
        # typed over the question
        (f"say My account please\nuntil agent\npause 0.2\nkey {PIN}#\nuntil agent\nuntil quiet", [MASKED]),
        # the answer to it does not ask again, and what follows is another attempt
        (f"{ASKED}key 47#\nuntil quiet\nkey {PIN}#\nuntil quiet", ["[keypad] **** (2 digits)", MASKED]),
        # asked back before it was typed
        (f"{ASKED}say Which one do you mean?\nuntil agent\nuntil quiet\nkey {PIN}#\nuntil quiet", [MASKED]),
        # spoken after it was typed: the question is over
        (
            f"{ASKED}key {PIN}#\nuntil quiet\nsay And my order?\nuntil agent\nuntil quiet\nkey 99#\nuntil quiet",
            [MASKED, "[keypad] 99#"],
        ),
    ],
)
def test_keys_are_secret_after_the_question_that_asks_for_them(script, seen):
    made = call(script, secret_after=("PIN", "card number"))
    assert typed(made) == seen
    assert PIN not in everything_told(made)


def test_a_wording_is_found_where_it_ends_in_the_next_phrase():
    questions = SecretQuestions(("[credit] card number",))
    for text in ("Please type the number of the card.", "And your credit", "card", "of 2030"):
        questions.agent_said(text)
        assert not questions.asked
    questions.agent_said("Your card")
    questions.agent_said("number, please.")
    assert questions.asked


def test_without_wordings_no_question_is_secret():
    questions = SecretQuestions(())
    questions.agent_said("Your PIN, please.")
    assert not questions.asked


# --- what a tool waits for --------------------------------------------------------------------------------------------


def asked(script: str, request: KeyRequest, *, after: str = "pause 0.3", **more: object) -> tuple[VirtualCall, list]:
    made = VirtualCall(after, **more).run()
    made.conversation.request_keys(request, made.now)
    made.steps = script.splitlines()
    for step in made.steps:
        made._step(step, 60.0)
        if made.ended:
            break
    return made, made.of(KeysTyped)


@pytest.mark.parametrize(
    ("script", "request_", "how", "digits"),
    [
        ("key 4711#\npause 0.1", KeyRequest("a"), "complete", "4711"),
        ("key 4711\npause 2.2", KeyRequest("a"), "complete", "4711"),
        ("key 4711\npause 0.6", KeyRequest("a", wait_s=0.5), "complete", "4711"),
        ("key 4711", KeyRequest("a", max_keys=4), "complete", "4711"),
        ("pause 3.1", KeyRequest("a", first_key_s=3), "none", None),
        ("pause 2\nkey 1\npause 1.5\nkey 2#\npause 0.1", KeyRequest("a", first_key_s=3), "complete", "12"),
        ("say I do not know it\npause 3", KeyRequest("a", first_key_s=30), "spoke", None),
        ("key #\npause 0.1", KeyRequest("a"), "complete", ""),
    ],
)
def test_a_request_is_answered_by_keys_or_ends(script, request_, how, digits):
    made, (ended,) = asked(script, request_)
    assert (ended.request_id, ended.how) == ("a", how)
    assert (ended.keys.digits if ended.keys else None) == digits
    assert not typed(made), "what a tool asked for is no turn of the conversation"


def test_a_request_waits_until_the_agent_has_spoken():
    made, ended = asked("until quiet\npause 1.8", KeyRequest("a", first_key_s=2), greeting="Hello there. " * 6)
    assert ended == []
    made.advance(1.0)
    assert [end.how for end in made.of(KeysTyped)] == ["none"]


def test_the_agent_who_asks_is_not_interrupted_and_keys_are_kept_meanwhile():
    made, (ended,) = asked(
        "pause 0.4\nkey 4711#\nuntil quiet", KeyRequest("a"), greeting="Please type your number now."
    )
    assert ended.keys == Keys("4711#")
    assert made.of(Interrupt) == []


def test_keys_typed_ahead_belong_to_the_request():
    made, (ended,) = asked("key 11#\npause 0.1", KeyRequest("a", secret=True), after="pause 0.3\nkey 47")
    assert ended.keys is not None
    assert ended.keys.digits == PIN
    assert PIN not in everything_told(made)


def test_what_a_tool_asks_for_secretly_is_told_to_it_alone():
    made, (ended,) = asked(f"key {PIN}#\npause 0.1\nsay Thank you\nuntil quiet", KeyRequest("a", secret=True))
    assert ended.keys is not None
    assert ended.keys.digits == PIN
    assert PIN not in everything_told(made)
    assert str(ended.keys) == "**** (4 digits)"
    assert not made.conversation.keys_are_secret, "the next input is an ordinary one"


def test_a_key_that_is_a_set_phrase_acts_whatever_waits():
    made, (ended,) = asked("key 0\npause 20", KeyRequest("a"), set_answers=OPERATOR)
    assert ended.how == "set_phrase"
    assert made.hung_up == "person"


def test_a_number_that_begins_with_that_key_is_the_tools():
    _, (ended,) = asked("key 0171#\npause 0.1", KeyRequest("a"), set_answers=OPERATOR)
    assert ended.keys == Keys("0171#")


def test_a_later_request_takes_the_place_of_an_earlier_one():
    made = VirtualCall("pause 0.3").run()
    for name in "ab":
        made.conversation.request_keys(KeyRequest(name), made.now)
    made._step("key 1#", 10)
    made.advance(0.1)
    assert [(end.request_id, end.how) for end in made.of(KeysTyped)] == [("a", "replaced"), ("b", "complete")]


def test_a_request_that_is_called_off_leaves_nothing_behind():
    made = VirtualCall("pause 0.3").run()
    made.conversation.request_keys(KeyRequest("a", secret=True), made.now)
    made._step("key 12", 10)
    made.conversation.call_off_keys("b")
    assert made.conversation.keys_are_secret
    made.conversation.call_off_keys("a")
    made.advance(5.0)
    assert made.of(KeysTyped) == []
    assert made.history() == []
    assert not made.conversation.keys_are_secret


def test_secret_digits_are_given_away_once():
    made = call(f"key {PIN}#\nuntil quiet", secret=True)
    assert made.conversation.take_secret_keys() == PIN
    assert made.conversation.take_secret_keys() == ""
    made.conversation.end(made.now)
    made.conversation.let_go()
    assert made.conversation.take_secret_keys() == ""
    assert not made.conversation.keys_are_secret
    made.conversation.request_keys(KeyRequest("a"), made.now)
    made.conversation.call_off_keys("a")
    assert made.conversation.decisions == []


def test_silence_is_not_counted_while_keys_are_typed():
    settings = ConversationSettings(ask_after_s=3.0, ask_times=1, give_up_after_s=0)
    made = call(
        "key 4\npause 1.5\nkey 7\npause 1.5\nkey 1#\nuntil quiet",
        settings=settings,
        phrases=Phrases(are_you_there="Are you there?", filler=""),
    )
    assert not any("Are you there?" in line for line in made.history())
