"""Callers who pause long and callers who pause little: on virtual time the wait becomes theirs, within its limits."""

from __future__ import annotations

import pytest

from ai_engine.conversation.conversation import Conversation
from ai_engine.conversation.decisions import Adopt
from tests.ai_engine.conversation.virtual_call import ScriptedProvider, VirtualCall
from voice_core.turn_words_by_language import turn_words

LAST = "say I need a new table\npause 1.5\nuntil quiet"
"""A turn that is neither a question nor open: its end is waited for by habit."""


def calling(script: str, **latencies: float) -> VirtualCall:
    return VirtualCall("pause 0.3\n" + script, provider=ScriptedProvider(stt_s=0.1, **latencies)).run()


def last_wait_s(call: VirtualCall) -> float:
    return call.time_of(Adopt, -1) - call.sounds[-1][1]


def turn_with_pauses(*pauses_s: float) -> str:
    parts = ["say We talked about it"]
    for pause_s in pauses_s:
        parts += [f"pause {pause_s}", "say last week"]
    return "\n".join([*parts, "until agent", "until quiet", ""])


def said(call: VirtualCall) -> list[str]:
    return [line.removeprefix("user: ") for line in call.history() if line.startswith("user: ")]


def test_a_callers_wait_follows_his_own_pauses():
    plain = last_wait_s(calling(LAST))
    slow = last_wait_s(calling(turn_with_pauses(0.45, 0.46, 0.47, 0.48) * 2 + LAST))
    quick = last_wait_s(calling(turn_with_pauses(0.2, 0.21, 0.2) * 2 + LAST))
    assert quick < plain < slow
    assert plain == pytest.approx(0.5, abs=0.05)
    assert quick >= 0.4, "nobody is cut off for being quick"
    assert slow <= 0.85 + 0.05


def test_one_odd_pause_changes_nothing():
    quick = turn_with_pauses(0.2, 0.21, 0.2)
    odd = "say We talked about it and\npause 0.9\nsay last week\nuntil agent\nuntil quiet\n"
    assert last_wait_s(calling(odd + LAST)) == last_wait_s(calling(LAST))
    assert last_wait_s(calling(quick + odd + quick + LAST)) == last_wait_s(calling(quick * 2 + LAST))


def test_a_slow_caller_is_cut_off_once_and_then_no_more():
    turn = "say We talked about it\npause 0.7\nsay last week\nuntil agent\nuntil quiet\n"
    call = calling(turn * 3, first_audio_s=1.0)
    assert call.states().count("took_back") == 1
    assert said(call) == ["We talked about it last week"] * 3


def test_a_caller_who_dictates_slowly_is_waited_for_when_that_is_known():
    number = "say My number is 030\npause 1.9\nsay 12\npause 1.9\nsay 345 67 89\nuntil agent\nuntil quiet\n"
    call = calling(number * 2, first_audio_s=2.5)
    whole = "My number is 030 12 345 67 89"
    assert said(call) == [whole, whole]
    assert call.states().count("took_back") == 1, "the first group teaches it"


def test_digits_over_an_answer_that_came_too_early_go_on_with_the_number():
    dictated = "say My number is 030\npause {}\nsay 12 34 567 8\npause 1\nuntil quiet"
    begun = calling(dictated.format(1.75), first_audio_s=0.2)
    assert said(begun) == ["My number is 030 12 34 567 8"], "in its first moment they are the same turn"
    heard = calling(dictated.format(1.88), first_audio_s=0.2)
    assert "barge_in" in heard.states()
    assert said(heard) == ["My number is 030", "12 34 567 8"]
    assert not any(state in call.states() for call in (begun, heard) for state in ("kept", "resumed"))


def test_a_number_is_answered_promptly_when_it_is_whole():
    half = calling("say My number is 030 12\npause 2\nuntil quiet")
    whole = calling("say My number is 030 1234567\npause 2\nuntil quiet")
    assert last_wait_s(half) == pytest.approx(1.4, abs=0.05)
    assert last_wait_s(whole) == pytest.approx(0.32, abs=0.05)


class SpeakingCall(VirtualCall):
    """A caller of another language."""

    def __init__(self, script: str, language: str) -> None:
        super().__init__(script, provider=ScriptedProvider(stt_s=0.1))
        self.conversation = Conversation(self.transport, words=turn_words(language))


@pytest.mark.parametrize(
    ("language", "opened", "rest", "noise"),
    [
        ("de", "Ich möchte einen Termin für", "meine Tochter", "mhm"),
        ("es", "Quiero una cita para", "mi hija", "ya veo"),
        ("fr", "Je voudrais un rendez-vous pour", "ma fille", "d'accord"),
        ("it", "Vorrei un appuntamento per", "mia figlia", "ho capito"),
        ("nl", "Ik wil graag een afspraak voor", "mijn dochter", "ik begrijp het"),
        ("pt", "Queria marcar uma consulta para", "minha filha", "entendi"),
    ],
)
def test_a_call_goes_by_the_words_of_its_language(language, opened, rest, noise):
    script = f"pause 0.3\nsay {opened}\npause 0.95\nsay {rest}\nuntil agent\npause 0.6\nsay {noise}\nuntil quiet"
    call = SpeakingCall(script, language).run()
    assert said(call) == [f"{opened} {rest}"]
    assert len(call.of(Adopt)) == 1
    assert "barge_in" not in call.states(), "a listening noise does not take the turn"
    english = SpeakingCall(script, "en").run()
    assert len(english.of(Adopt)) > 1
