"""Who has the floor when the caller and the agent speak at once: cases as data, and onsets at every moment.

The steps of a script are explained in `tools/scenarios/virtual_call.py`, the expected steps in `test_conversation.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from ai_engine.conversation.conversation_settings import ConversationSettings, Phrases
from ai_engine.conversation.decisions import AgentTurn, Interrupt, SendAudio
from tests.ai_engine.conversation.virtual_call import DEFAULT_REPLY, ScriptedProvider, VirtualCall

QUESTION = "What are your opening hours?"
ASKED = f"user: {QUESTION}"
ANSWERED = f"assistant: {DEFAULT_REPLY}"
LONG = "We are open from nine to five on weekdays, and on Saturday we close at one in the afternoon."
GREETING = "Hello, this is Parley speaking. How can I help you today?"
TALKING = f"pause 0.3\nsay {QUESTION}\nuntil agent\npause 0.6\n"
SORTS = pytest.mark.parametrize("streaming", [False, True], ids=["gated", "streaming"])


@dataclass(frozen=True)
class Case:
    name: str
    script: str
    history: list[str]
    committed: int = 0
    """How often the caller took the floor by speaking over the agent."""
    call: dict[str, Any] = field(default_factory=dict)
    streaming: bool = True
    """Also true of a streaming STT."""


def cut(*texts: str) -> list[str]:
    """A history of the caller's and the agent's words in turn, beginning with the first question."""
    return [ASKED, *(f"{'assistant' if index % 2 == 0 else 'user'}: {text}" for index, text in enumerate(texts))]


CASES = [
    Case(
        "two words take the floor",
        TALKING + "say wait stop\nuntil agent\nuntil quiet",
        [*cut("We are open", "wait stop"), ANSWERED],
        committed=1,
    ),
    Case(
        "one real word too",
        TALKING + "say wait\nuntil agent\nuntil quiet",
        [*cut("We are open", "wait"), ANSWERED],
        committed=1,
    ),
    Case(
        "digits over a statement wait for their turn",
        TALKING + "say four two\nuntil quiet\nuntil quiet",
        [*cut(LONG, "four two"), ANSWERED],
    ),
    Case(
        "digits after a question are its answer",
        "pause 0.3\nsay Book a table.\nuntil agent\nuntil question\nsay seven\nuntil agent\nuntil quiet",
        ["user: Book a table.", "assistant: For how many? I", "user: seven", ANSWERED],
        committed=1,
        call={"provider": {"replies": {"Book a table.": "For how many? I can look for a table right away."}}},
    ),
    Case(
        "a kept yes outlives the noises after it",
        TALKING + "say yes\npause 1.0\ncough 0.2\npause 1.0\nsay uh-huh\nuntil quiet\nuntil quiet",
        [*cut(LONG, "yes uh-huh"), ANSWERED],
    ),
    Case(
        "what is said after a cough is heard from its first syllable",
        TALKING + "cough 0.2\npause 1.0\nsay no wait I mean Sunday\nuntil agent\nuntil quiet",
        [*cut("We are open from nine to", "no wait I mean Sunday"), ANSWERED],
        committed=1,
        streaming=False,
    ),
    Case(
        "an interruption, and one of the answer to it",
        TALKING
        + "say no wait I mean Sunday\nuntil agent\npause 0.6\nsay or Monday after all\nuntil agent\nuntil quiet",
        [*cut("We are open", "no wait I mean Sunday", "Certainly. We", "or Monday after all"), ANSWERED],
        committed=2,
    ),
    Case(
        "two sounds, the second before the first is decided",
        TALKING + "cough 0.12\npause 0.18\nsay no wait I mean Sunday\nuntil agent\nuntil quiet",
        [*cut("We are open", "no wait I mean Sunday"), ANSWERED],
        committed=1,
    ),
    Case(
        "a caller who speaks over the filler has not been answered yet",
        f"pause 0.3\nsay {QUESTION}\nuntil agent\npause 0.4\nsay on Sunday I mean?\npause 4\nuntil quiet",
        [f"{ASKED} on Sunday I mean?", ANSWERED],
        call={"provider": {"first_audio_s": 3.4}, "phrases": Phrases()},
    ),
    Case(
        "on hold nobody interrupts, and hold in the middle of a suspicion ends it",
        TALKING + "cough 0.3\nhold\nsay no wait I mean Sunday\npause 5\nunhold\nuntil quiet",
        [ASKED, f"assistant: {LONG}"],
    ),
    Case(
        "an interruption after hold",
        TALKING + "hold\npause 5\nunhold\npause 0.8\nsay no wait I mean Sunday\nuntil agent\nuntil quiet",
        [*cut("We are open from nine", "no wait I mean Sunday"), ANSWERED],
        committed=1,
    ),
    Case(
        "the STT is dead while a real interruption is suspected: length decides, and the words come later",
        TALKING + "fail stt\nsay one two three four five\nfail none\npause 0.2\nuntil agent\nuntil quiet",
        [*cut("We are open", "one two three four five"), ANSWERED],
        committed=1,
        streaming=False,
    ),
    Case(
        "the STT takes three seconds for a word: length decides, and the words come all the same",
        TALKING + "say one two three four five\nuntil agent\nuntil quiet",
        [*cut("We are open", "one two three four five"), ANSWERED],
        committed=1,
        call={"provider": {"stt_s": 3.0}},
    ),
    Case(
        "the provider is lost while an interruption is suspected: the agent's sound goes on",
        TALKING + "cough 0.25\npause 0.25\nlost\npause 1\nuntil quiet",
        [ASKED, f"assistant: {LONG}"],
    ),
    Case(
        "the backend becomes a streaming one while the agent speaks",
        TALKING + "backend streaming\nsay no wait I mean Sunday\nuntil agent\nuntil quiet",
        [*cut("We are open", "no wait I mean Sunday"), ANSWERED],
        committed=1,
        streaming=False,
    ),
    Case(
        "and a gated one",
        TALKING + "backend gated\nsay no wait I mean Sunday\nuntil agent\nuntil quiet",
        [*cut("We are open", "no wait I mean Sunday"), ANSWERED],
        committed=1,
    ),
    Case(
        "it becomes a streaming one in the middle of an interruption",
        TALKING + "say no wait\nbackend streaming\nsay I mean Sunday\nuntil agent\nuntil quiet",
        [*cut("We are open", "no wait I mean Sunday"), ANSWERED],
        committed=1,
        streaming=False,
    ),
    Case(
        "and a gated one",
        TALKING + "cough 0.1\nbackend gated\nsay no wait I mean Sunday\nuntil agent\nuntil quiet",
        [*cut("We are open", "no wait I mean Sunday"), ANSWERED],
        committed=1,
    ),
    Case(
        "it changes to and fro while the caller speaks",
        "pause 0.3\nsay What are\nbackend streaming\nsay your opening\nbackend gated\nsay hours?\n"
        "until agent\nuntil quiet",
        [ASKED, f"assistant: {LONG}"],
    ),
    Case(
        "what is said in two parts over what cannot be interrupted is heard from the first",
        "pause 0.5\nsay I have a question\npause 0.6\nsay about Sunday.\nuntil quiet\nuntil quiet",
        [f"assistant: {GREETING}", "user: I have a question about Sunday.", ANSWERED],
        call={"greeting": GREETING, "settings": ConversationSettings(greeting_interruptible=False)},
    ),
]


def run(case: Case, *, streaming: bool) -> VirtualCall:
    options = dict(case.call)
    knobs = {"replies": {QUESTION: LONG}} | options.pop("provider", {})
    return VirtualCall(case.script, provider=ScriptedProvider(streaming=streaming, **knobs), **options).run()


@SORTS
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case, streaming):
    if streaming and not case.streaming:
        pytest.skip("about a gated STT")
    call = run(case, streaming=streaming)
    assert call.history() == case.history
    assert call.states().count("barge_in") == case.committed


@SORTS
@pytest.mark.parametrize("before_end_ms", range(-600, 401, 40))
def test_words_said_around_the_end_of_an_answer_are_heard_once_and_whole(before_end_ms, streaming):
    """The sound of the answer lasts 2 s; the caller begins so long before (or after) its end is sent."""
    onset_s = 2.04 - before_end_ms / 1000
    words = "and when on Sunday please?"
    call = VirtualCall(
        f"pause 0.3\nsay {QUESTION}\nuntil agent\npause {onset_s:.2f}\nsay {words}\nuntil agent\nuntil quiet",
        provider=ScriptedProvider(streaming=streaming),
    ).run()
    history = call.history()
    assert history[0] == ASKED
    assert [line for line in history[1:] if line.startswith("user:")] == [f"user: {words}"]
    heard = history[1].removeprefix("assistant: ")
    assert DEFAULT_REPLY.startswith(heard)
    if before_end_ms <= 0:
        assert heard == DEFAULT_REPLY


@SORTS
@pytest.mark.parametrize("onset_ms", range(0, 1000, 70))
def test_what_reaches_the_stt_begins_150_ms_before_the_onset(onset_ms, streaming):
    call = VirtualCall(
        TALKING + f"pause {onset_ms / 1000:.2f}\nsay no wait I mean Sunday\nuntil agent",
        provider=ScriptedProvider(replies={QUESTION: LONG}, streaming=streaming),
    ).run()
    onset = next(word.begins for word in call.words if word.text == "no")
    turn = call.of(SendAudio)[-1].turn
    first = min(call.frame_times[number] for number in call.received[turn])
    assert first - 0.02 <= onset - 0.15


@SORTS
@pytest.mark.parametrize("gap_ms", [220, 300, 400, 600])
def test_a_cough_just_before_takes_nothing_from_the_first_syllable(gap_ms, streaming):
    call = VirtualCall(
        TALKING + f"cough 0.2\npause {gap_ms / 1000}\nsay no wait I mean Sunday\nuntil agent",
        provider=ScriptedProvider(replies={QUESTION: LONG}, streaming=streaming),
    ).run()
    onset = next(word.begins for word in call.words if word.text == "no")
    turn = call.of(SendAudio)[-1].turn
    first = min(call.frame_times[number] for number in call.received[turn])
    assert first - 0.02 <= onset - 0.15


class StarvedDetector(VirtualCall):
    """The voice-activity network is not served for a while; what it says then comes all at once."""

    starved = (0.0, 0.0)

    def confidence(self, text):
        return 0.3 if len(text.split()) < 2 else 0.9

    def _voice_activity(self, now):
        begins, ends = self.starved
        if not begins <= now - self.started_at < ends:
            super()._voice_activity(now)
            return
        waiting, self.vad_due = self.vad_due, []
        super()._voice_activity(now)
        self.vad_due = [*waiting, *self.vad_due]


@SORTS
@pytest.mark.parametrize("starved_s", [0.7, 0.9])
@pytest.mark.parametrize("stt_s", [0.15, 1.2, 2.5])
@pytest.mark.parametrize("begins_s", [1.3, 1.4, 1.5])
def test_a_word_whose_end_was_only_a_late_result_is_not_lost(begins_s, stt_s, starved_s, streaming):
    """The clock stands in for the results and ends the sound; its one word decides nothing, and the agent goes on."""
    call = StarvedDetector(
        f"until agent\npause 1.0\nsay {QUESTION}\nuntil agent\nuntil quiet",
        greeting=GREETING,
        provider=ScriptedProvider(streaming=streaming, stt_s=stt_s),
    )
    call.starved = (begins_s, begins_s + starved_s)
    call.run()
    assert [line for line in call.history() if line.startswith("user:")] == [ASKED]


@SORTS
def test_nothing_of_the_old_answer_sounds_after_the_decision(streaming):
    """Not even if the provider goes on delivering it."""
    call = VirtualCall(
        TALKING + "say no wait I mean Sunday\nuntil agent\nuntil quiet",
        provider=ScriptedProvider(
            replies={QUESTION: ". ".join(["And more of it"] * 12)},
            phrase_gap_s=0.4,
            keep_going=True,
            streaming=streaming,
        ),
    ).run()
    decided = call.time_of(Interrupt)
    (old, _) = call.adopted[0]
    octets = {octet for octet, (turn, _) in call.tags.items() if turn == old}
    late = [at for at, frame in call.transport.wire if at > decided and np.isin(list(frame), list(octets)).mean() > 0.5]
    assert late == []
    assert call.conversation.stale_events > 0
    assert [turn.interrupted for turn in call.of(AgentTurn)] == [True, False]


def test_an_end_that_overtakes_its_audio_does_not_silence_it():
    class Overtaking(VirtualCall):
        def _later(self, delay_s, turn, revision, then):
            def wrapped():
                event = then()
                if type(event).__name__ == "AgentAudio":
                    self.conversation.provider_event(type(DONE)(turn, revision), self.now)
                return event

            super()._later(delay_s, turn, revision, wrapped)

    from ai_engine.providers.provider import AgentAudioDone

    DONE = AgentAudioDone(1, 1)
    call = Overtaking(f"pause 0.3\nsay {QUESTION}\nuntil agent\nuntil quiet").run()
    assert call.history() == [ASKED, ANSWERED]
