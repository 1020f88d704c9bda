"""Who asks for a person gets one, whatever the model says: by words of every language that there are, and by 0."""

from __future__ import annotations

import pytest

from ai_engine.context_parts import SetPhraseRule, set_answers
from ai_engine.conversation.decisions import Transfer
from tests.ai_engine.conversation.virtual_call import ScriptedProvider, VirtualCall
from voice_core.set_phrases import Meaning

REFUSAL = "I am sorry, but I will put you through to nobody today. What else may I do for you?"
MEANING: Meaning = "person"


class Refuses(ScriptedProvider):
    """A model that puts nobody through."""

    def reply_to(self, understood: str) -> str:
        return REFUSAL


def calls(script: str, *, language: str = "en", streaming: bool = False) -> VirtualCall:
    rule = SetPhraseRule(
        id="person", meaning=MEANING, keys="0", act="transfer", extension="601", answer="One moment, please."
    )
    return VirtualCall(script, provider=Refuses(streaming=streaming), set_answers=set_answers([rule], language)).run(
        tail_s=4
    )


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", "operator"),
        ("en", "a human please"),
        ("en", "can I speak to a real person"),
        ("de", "ich möchte mit einem Menschen sprechen"),
        ("fr", "je veux parler à un humain"),
        ("es", "quiero hablar con una persona"),
    ],
)
def test_words_for_a_person(language: str, words: str, streaming: bool) -> None:
    call = calls(f"pause 0.3\nsay {words}", language=language, streaming=streaming)
    assert [transfer.extension for transfer in call.of(Transfer)] == ["601"]
    assert REFUSAL not in " ".join(call.history())


def test_the_same_after_any_number_of_refusals() -> None:
    call = calls("pause 0.3\nsay sell me a bicycle\nuntil agent\nuntil quiet\nsay operator")
    assert f"assistant: {REFUSAL}" in call.history()
    assert len(call.of(Transfer)) == 1


@pytest.mark.parametrize(
    "script",
    ["pause 0.3\nkey 0#", "pause 0.3\nkey 0", "pause 0.3\nsay sell me a bicycle\nuntil agent\npause 0.6\nkey 0#"],
    ids=["with #", "with a pause", "over the refusal"],
)
def test_zero(script: str) -> None:
    call = calls(script)
    assert len(call.of(Transfer)) == 1
    assert call.history()[-1] != f"assistant: {REFUSAL}"
