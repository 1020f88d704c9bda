import pytest

from ai_engine.conversation.fact_guard import (
    COURTEOUS_LINE,
    FACT_LEAD_IN,
    FactGuard,
    GuardedReply,
    fallback_line,
)
from ai_engine.conversation.known_answers import KnownAnswer
from ai_engine.conversation.small_talk import HONEST_LINE

FACT = (
    "We're open Monday to Friday from nine until six. A tune-up is sixty-five dollars. Write to hello at shop dot com."
)
PERSONA = "You are Joe at Harbour Street Bicycle Repair. The owner is Maria Lopez."


def guard(question: str = "", *, facts: tuple[str, ...] = (FACT,), strict: bool = False) -> FactGuard:
    return FactGuard(facts=facts, persona=[PERSONA], caller=["My name is Daniel."], question=question, strict=strict)


@pytest.mark.parametrize(
    "phrase",
    [
        "A tune-up is sixty-five dollars.",
        "A tune-up is $65.",
        "We open at nine,",
        "We're open on Wednesday.",
        "Nice to meet you, Daniel!",
        "The owner is Maria Lopez.",
        "How can I help you today?",
        "I'm sorry, I don't know.",
        "You said seven, is that right?",
        "You can write to shop dot com.",
        "",
    ],
)
def test_what_the_sources_hold_may_be_said(phrase: str) -> None:
    assert guard("Do you open at seven?").objection(phrase) is None


@pytest.mark.parametrize(
    ("phrase", "kind"),
    [
        ("That's eighty dollars.", "number"),
        ("It costs $65.50.", "number"),
        ("Yes, we open at seven.", "number"),
        ("We're closed at noon.", "date"),
        ("We're open on Sunday.", "date"),
        ("We're closed today.", "date"),
        ("Please ask for Susan.", "name"),
        ("Susan owns the shop.", "name"),
        ("Peter Smith will call you.", "name"),
        ("We're on Market Street.", "name"),
        ("Write to info@other.org.", "contact"),
        ("See bikes dot com.", "contact"),
        ("The first one is free.", "money"),
        ("It's fifty percent.", "number"),
        ("We open at 9 p.m.", "number"),
    ],
)
def test_what_the_sources_do_not_hold_is_stopped(phrase: str, kind: str) -> None:
    objection = guard("Do you open at seven?").objection(phrase)
    assert objection is not None
    assert objection.kind == kind


@pytest.mark.parametrize(
    ("question", "facts", "phrase", "allowed"),
    [
        ("Do you sell boats?", (), "Yes, we do.", False),
        ("Do you sell boats?", (), "Yes, of course.", False),
        ("Do you sell boats?", (), HONEST_LINE, True),
        ("Do you sell boats?", (), "No, no, no, no.", False),
        ("When are you open?", (FACT,), "We're open Monday to Friday", True),
        ("When are you open?", (FACT,), "We're open Friday to Monday", False),
        ("When are you open?", (FACT,), "I'm sorry, I'm not sure.", False),
        ("When are you open?", (FACT,), "Yes.", False),
        ("How are you?", (), "I'm fine, thank you!", True),
        ("How are you?", (), "We have a big selection of boats.", False),
        ("How are you?", (), "I just came back from the mountains.", False),
        ("My name is Daniel.", (), "Nice to meet you, Daniel!", True),
        ("I am tired.", (), "I'm sorry to hear that. How can I help you?", True),
    ],
)
def test_strict_allows_quotes_refusals_and_courtesy(
    question: str, facts: tuple[str, ...], phrase: str, allowed: bool
) -> None:
    assert (guard(question, facts=facts, strict=True).objection(phrase) is None) == allowed


def test_a_refusal_cut_into_phrases_passes_whole() -> None:
    reply = GuardedReply(guard("Do you sell boats?", facts=(), strict=True))
    phrases = ["I'm sorry,", "I don't have that information,", "but I can take", "a message for you."]
    assert [reply.offer(phrase) for phrase in phrases] == phrases
    assert reply.finish() is None


def test_an_invention_is_replaced_once_and_ends_the_reply() -> None:
    reply = GuardedReply(guard("How much is it?"), fallback="Let me see.")
    assert reply.offer("Of course.") == "Of course."
    assert reply.offer("It is eighty dollars.") == "Let me see."
    assert reply.closed
    assert reply.objection is not None
    assert reply.offer("More.") is None
    assert reply.finish() is None


def test_after_a_courteous_answer_to_a_remark_an_invention_is_just_dropped() -> None:
    reply = GuardedReply(guard("I am tired."), asked=False)
    assert reply.offer("I'm sorry to hear that.") == "I'm sorry to hear that."
    assert reply.offer("Come at eight.") is None
    assert reply.closed


def test_silence_becomes_the_fallback() -> None:
    reply = GuardedReply(guard())
    assert reply.offer("  ") is None
    assert reply.finish() == HONEST_LINE


def test_the_fallback_speaks_the_near_facts() -> None:
    facts = [KnownAnswer("a", ("?",), "We open at nine."), KnownAnswer("b", ("?",), "Cards are fine.")]
    assert fallback_line(facts) == f"{FACT_LEAD_IN} We open at nine. Cards are fine."
    assert fallback_line([]) == HONEST_LINE
    assert fallback_line([], asked=False) == COURTEOUS_LINE
