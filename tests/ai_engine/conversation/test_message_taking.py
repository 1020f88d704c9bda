"""A message that a caller leaves, on virtual time: when it ends, and what of it is kept and written down."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from ai_engine.conversation.conversation_settings import Phrases
from ai_engine.conversation.decisions import (
    AgentTurn,
    Announce,
    HangUp,
    MessageTaken,
    Say,
    Speculate,
    Transcribe,
    Transfer,
)
from ai_engine.conversation.key_input import KeyRules
from ai_engine.conversation.message_taking import MessageRequest
from ai_engine.conversation.set_answers import SetAnswer, SetAnswers
from tests.ai_engine.conversation.virtual_call import ScriptedProvider, VirtualCall
from voice_core.set_phrases import SetPhrase, SetPhrases
from voice_wire.audio import MULAW_8K

PROMPT = "Please speak after the tone."
ONCE_MORE = "I heard nothing."
REVIEW = "Press two to do it again."
TONE = MULAW_8K.silence(300)
TEN_WORDS = "this is Ann please call me back about the bicycle"


@dataclass
class Sound:
    """What a recording was told."""

    frames: int = 0
    ended: str = ""
    blanked: list[float] = field(default_factory=list)

    def tick(self, caller: bytes, agent: bytes | None, now: float) -> None:
        assert agent is None
        assert not self.ended, "recorded after its end"
        self.frames += 1

    def blank(self, now: float, seconds: float) -> None:
        self.blanked.append(now)

    def end(self, *, discard: bool = False) -> None:
        self.ended = "discarded" if discard else "kept"


class Leaving:
    """A call in which a message is taken from 0.3 s on, and the caller does as `script` says."""

    def __init__(self, script: str, *, request: dict[str, Any] | None = None, **call: Any) -> None:
        self.sounds: list[Sound] = []
        wanted = MessageRequest("m1", PROMPT, ONCE_MORE, TONE, self._record)
        self.call = VirtualCall("pause 0.3", **call).run()
        self.call.conversation.take_message(replace(wanted, **(request or {})), self.call.now)
        for step in script.strip().splitlines():
            if not self.call.ended:
                self.call._step(step.strip(), 60)

    def _record(self) -> Sound:
        self.sounds.append(Sound())
        return self.sounds[-1]

    @property
    def taken(self) -> MessageTaken:
        (taken,) = self.call.of(MessageTaken)
        return taken

    @property
    def said(self) -> list[str]:
        return [say.text for say in self.call.of(Say)]


LEFT = f"until agent\npause 3\nsay {TEN_WORDS}\n"


@pytest.mark.parametrize("streaming", [False, True])
def test_what_is_said_after_the_tone_is_recorded_written_down_and_not_answered(streaming: bool) -> None:
    left = Leaving(f"{LEFT}pause 6", provider=ScriptedProvider(streaming=streaming))
    assert left.taken == MessageTaken("m1", "silence", True, TEN_WORDS, True, left.taken.spoken_s)
    assert 2.5 < left.taken.spoken_s < 3.6
    (sound,) = left.sounds
    assert sound.ended == "kept"
    assert 4.5 < sound.frames * 0.02 < 9.5, "from the tone to the silence after it"
    assert left.call.of(Speculate) == []
    assert left.call.history() == [f"assistant: {PROMPT}"]
    assert "message" in left.call.states()


def test_pauses_within_it_are_no_end_and_each_stretch_is_transcribed_as_it_comes() -> None:
    left = Leaving(f"{LEFT}pause 2\nsay my number is one two three\npause 6")
    assert left.taken.text == f"{TEN_WORDS} my number is one two three"
    first, second = (at for at, decision in left.call.log if isinstance(decision, Transcribe))
    assert second - first > 2


def test_somebody_who_never_pauses_is_written_down_in_pieces() -> None:
    words = " ".join(f"w{n}" for n in range(110))
    left = Leaving(f"until agent\npause 3\nsay {words}\npause 6")
    assert len(left.call.of(Transcribe)) == 2
    assert len(left.taken.text.split()) >= 108, "a word may lie across the cut"


@pytest.mark.parametrize(
    ("script", "request_", "end", "kept"),
    [
        (f"{LEFT}key #\npause 1", {}, "key", True),
        (f"{LEFT}pause 2", {"max_s": 5.0}, "length", True),
        (f"{LEFT}hangup", {}, "hung_up", True),
        ("until agent\npause 3\nsay hello there\nhangup", {}, "hung_up", False),
        ("until agent\npause 3\nsay call me\npause 6", {}, "silence", True),
        ("until agent\nhangup", {}, "hung_up", False),
    ],
    ids=["#", "too long", "hangs up in the middle", "hangs up at once", "a short one", "hangs up over the prompt"],
)
def test_how_it_ends(script: str, request_: dict[str, Any], end: str, kept: bool) -> None:
    left = Leaving(script, request=request_)
    assert (left.taken.end, left.taken.kept) == (end, kept)
    assert [sound.ended for sound in left.sounds] in ([], ["kept" if kept else "discarded"])


def test_a_caller_of_whom_nothing_is_heard_is_asked_once_more_and_not_twice() -> None:
    left = Leaving("until agent\npause 25")
    assert left.said == [PROMPT, ONCE_MORE]
    assert [sound.ended for sound in left.sounds] == ["discarded", "discarded"]
    assert (left.taken.kept, left.taken.text) == (False, "")


def test_the_second_attempt_counts() -> None:
    left = Leaving(f"until agent\npause 9\nuntil agent\npause 2\nsay {TEN_WORDS}\npause 6")
    assert (left.taken.kept, left.taken.text) == (True, TEN_WORDS)
    assert [sound.ended for sound in left.sounds] == ["discarded", "kept"]


def test_what_is_said_over_the_prompt_does_not_stop_it_and_its_skip_key_does() -> None:
    spoken_over = Leaving("until agent\nsay hello hello hello\npause 2")
    assert all(not turn.interrupted for turn in spoken_over.call.of(AgentTurn))
    skipped = Leaving(f"until agent\npause 0.2\nkey #\npause 0.2\nsay {TEN_WORDS}\npause 6")
    assert skipped.call.of(AgentTurn)[0].interrupted
    assert skipped.taken.text == TEN_WORDS


@pytest.mark.parametrize(
    ("key", "texts"), [("1", [TEN_WORDS]), ("", [TEN_WORDS]), ("2", ["another one it is now please"])]
)
def test_a_message_may_be_kept_or_recorded_again(key: str, texts: list[str]) -> None:
    again = "pause 4\nsay another one it is now please\npause 5" if key == "2" else ""
    pressed = f"pause 1\nkey {key}" if key else "pause 1"
    left = Leaving(f"{LEFT}pause 4.5\n{pressed}\n{again}\npause 9".replace("\n\n", "\n"), request={"review": REVIEW})
    assert [taken.text for taken in left.call.of(MessageTaken)] == texts
    assert left.sounds[-1].ended == "kept"
    assert [sound.ended for sound in left.sounds[:-1]] == ["discarded"] * (len(left.sounds) - 1)
    assert len(left.sounds) == (2 if key == "2" else 1)


def test_keys_are_taken_out_of_the_recording() -> None:
    left = Leaving(f"{LEFT}key 5\npause 1\nkey #\npause 1")
    assert len(left.sounds[0].blanked) == 2
    assert left.taken.end == "key"


def operator() -> SetAnswers:
    phrases = SetPhrases([SetPhrase("person", (), "person", "0")], "en")
    return SetAnswers(phrases, {"person": SetAnswer("One moment.", Transfer("601"))})


def test_zero_gets_a_person_also_in_the_middle_of_a_message() -> None:
    left = Leaving(f"{LEFT}key 0\npause 4", set_answers=operator(), keys=KeyRules())
    assert (left.taken.end, left.taken.kept) == ("stopped", True)
    assert left.call.of(Transfer) == [Transfer("601")]


def test_the_words_for_a_person_are_part_of_a_message() -> None:
    left = Leaving("until agent\npause 3\nsay operator\npause 6", set_answers=operator())
    assert left.taken.text == "operator"
    assert left.call.of(Transfer) == []


@pytest.mark.parametrize("step", ["fail stt", "lost"])
def test_a_recogniser_that_fails_costs_the_words_and_not_the_message(step: str) -> None:
    left = Leaving(f"until agent\npause 3\n{step}\nsay {TEN_WORDS}\npause 8")
    assert (left.taken.kept, left.taken.text, left.taken.whole) == (True, "", False)
    assert left.sounds[0].ended == "kept"


def test_a_recogniser_that_never_answers_is_not_waited_for_for_ever() -> None:
    provider = ScriptedProvider()
    left = Leaving(f"{LEFT}pause 0.1", provider=provider)
    provider.silent = True
    left.call.advance(16)
    assert (left.taken.kept, left.taken.whole) == (True, False)


def test_a_prompt_that_cannot_be_spoken_still_is_followed_by_the_recording() -> None:
    left = Leaving(f"pause 3\nsay {TEN_WORDS}\npause 6", provider=ScriptedProvider(failing="tts"))
    assert left.taken.kept


def test_who_is_gone_is_waited_for_until_his_last_words_are_written_down() -> None:
    left = Leaving(LEFT)
    left.call.conversation.finish_message(left.call.now)
    left.call.advance(1)
    assert left.taken == MessageTaken("m1", "hung_up", True, TEN_WORDS, True, left.taken.spoken_s)


def test_the_engines_farewell_ends_it() -> None:
    left = Leaving(LEFT)
    left.call.conversation.say_farewell_and_hang_up("Goodbye.", left.call.now)
    left.call.advance(5)
    assert (left.taken.end, left.taken.kept, left.taken.text) == ("stopped", True, TEN_WORDS)
    assert left.call.of(HangUp) == [HangUp("farewell")]


def test_a_hold_is_no_silence() -> None:
    left = Leaving(f"{LEFT}hold\npause 20\nunhold\nsay and one more thing\npause 6")
    assert left.taken.text == f"{TEN_WORDS} and one more thing"


def test_turns_are_taken_again_afterwards_and_nobody_was_asked_whether_he_is_there() -> None:
    left = Leaving(
        f"{LEFT}pause 3\nsay yes and that is all\npause 6\nsay What are your opening hours?\nuntil agent\nuntil quiet",
        phrases=Phrases(filler=""),
    )
    assert left.call.history()[1] == "user: What are your opening hours?"
    assert [a.state for a in left.call.of(Announce)].count("message") == 1


def test_a_second_request_while_one_is_taken_is_refused() -> None:
    left = Leaving(LEFT)
    left.call.conversation.take_message(MessageRequest("m2", "x", "y", b"", left._record), left.call.now)
    left.call.advance(6)
    refused, taken = left.call.of(MessageTaken)
    assert (refused.request_id, refused.kept, taken.request_id, taken.kept) == ("m2", False, "m1", True)
