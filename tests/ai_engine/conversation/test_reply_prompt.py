from ai_engine.conversation.known_answers import KnownAnswer
from ai_engine.conversation.reply_prompt import build_messages
from voice_core.history import Message

FACT = KnownAnswer("hours", ("When?",), "We open at nine.")
HISTORY = [Message("user", "Hello."), Message("assistant", "Hello! How can I help you?")]


def test_what_belongs_to_the_turn_stands_after_the_cached_prefix() -> None:
    bare = build_messages("You are Joe.", HISTORY, "When?", [])
    full = build_messages(
        "You are Joe.", HISTORY, "When?", [FACT], notes=["It is noon."], examples=[("Hi.", "Hi! What can I do?")]
    )
    assert bare[:3] == full[:3]
    assert bare[0] == {"role": "system", "content": "You are Joe."}
    assert full[3:5] == [
        {"role": "user", "content": "Hi."},
        {"role": "assistant", "content": "Hi! What can I do?"},
    ]
    assert full[-1] == {"role": "user", "content": "(Known: It is noon. We open at nine.) When?"}


def test_without_facts_the_question_stands_alone() -> None:
    assert build_messages("S", [], "When?", [])[-1] == {"role": "user", "content": "When?"}


def test_the_prefix_only_grows() -> None:
    first = build_messages("S", [], "Hello.", [])
    second = build_messages("S", [Message("user", "Hello."), Message("assistant", "Hi!")], "When?", [FACT])
    assert second[: len(first)] == first
