"""Chains of components: who is asked, when the next is, and what of an answer that broke off is heard."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from ai_engine.config_file import ConfigError
from ai_engine.providers.circuit_breaker import BreakerLimits, CircuitBreaker
from ai_engine.providers.components.chain import Chain, Member
from ai_engine.providers.components.component import ComponentFailed, SttTraits, Transcript
from ai_engine.providers.components.llm.chain import GO_ON, ChainedLanguageModel, Repeated
from ai_engine.providers.components.stt.chain import ChainedSpeechToText
from ai_engine.providers.components.tts.chain import ChainedTextToSpeech, rest_of
from voice_core.history import Message
from voice_wire.audio import PCM_8K, PCM_16K
from voice_wire.messages import Sampling

QUESTION = (Message("system", "You are Joe."), Message("user", "Are you open?"))
HANG = object()


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


class Output:
    def __init__(self, owner, script):
        self.owner = owner
        self.script = script

    def adopt(self):
        self.owner.adopted += 1

    async def __aiter__(self):
        for step in self.script:
            await asyncio.sleep(0)
            if step is HANG:
                await asyncio.Event().wait()
            if isinstance(step, Exception):
                raise step
            yield step


class Fake:
    """An LLM, a TTS and an STT in one: `scripts` are its answers in order, the last one for ever."""

    input_format = PCM_8K

    def __init__(self, name, *scripts):
        self.name = name
        self.scripts = list(scripts)
        self.asked = []
        self.speculative = []
        self.adopted = 0
        self.running = 0
        self.started = self.stopped = 0
        self.start_error = None
        self.hangs = False
        self.connecting = 0
        self.connected = None
        self.warmed = 0
        self.voice = f"voice of {name}"
        self.traits = SttTraits(name, needs_gating=name == "gated")
        self.listeners = []

    async def start(self):
        self.started += 1
        if self.start_error:
            raise self.start_error
        if self.hangs:
            await asyncio.Event().wait()

    async def stop(self):
        self.stopped += 1

    def script(self):
        return self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]

    @asynccontextmanager
    async def _run(self, asked):
        self.connecting += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.connected is not None:
            await self.connected.wait()
        self.asked.append(asked)
        self.running += 1
        try:
            yield Output(self, self.script())
        finally:
            self.running -= 1

    def reply(self, messages, *, sampling, speculative):
        return self._run(list(messages))

    async def warm(self, messages):
        self.warmed += 1

    def speak(self, text, *, audio_format, speculative):
        return self._run(text)

    def on_change(self, listener):
        self.listeners.append(listener)

    def stream(self, turn, on_partial):
        return FakeUtterance(self)


class FakeUtterance:
    def __init__(self, owner):
        self.owner = owner
        self.audio = b""
        self.owner.running += 1

    def send(self, audio):
        self.audio += audio

    async def decode(self, *, speculative):
        self.owner.asked.append(self.audio)
        self.owner.speculative.append(speculative)
        (step,) = self.owner.script()
        if step is HANG:
            await asyncio.Event().wait()
        if isinstance(step, Exception):
            raise step
        return Transcript(step, self.owner.name)

    def adopt(self):
        self.owner.adopted += 1

    def drop(self):
        self.owner.running -= 1


def broken(component="llm", *, retryable=True):
    return ComponentFailed(component, "it crashed", retryable=retryable)


def chain(component, *fakes, patience_s=30.0, failures=2):
    """The chain, its clock, and what it told of."""
    clock, told = Clock(), []
    members = [Member(fake.name, fake, CircuitBreaker(BreakerLimits(failures=failures)), patience_s) for fake in fakes]
    made = Chain(component, members, clock=clock, on_fallback=lambda part, name: told.append((part, name)))
    return made, clock, told


async def say(model, messages=QUESTION):
    async with model.reply(messages, sampling=Sampling(), speculative=False) as output:
        return "".join([piece async for piece in output])


async def sound(tts, text="one two three four five six seven eight nine ten"):
    async with tts.speak(text, audio_format=PCM_8K, speculative=False) as output:
        return b"".join([piece async for piece in output])


# --- who is asked -----------------------------------------------------------------------------------------------------


async def test_the_first_is_asked_as_long_as_it_works():
    first, second = Fake("first", ["Yes."]), Fake("second", ["No."])
    made, _, told = chain("llm", first, second)
    model = ChainedLanguageModel(made)
    await model.start()
    assert [await say(model) for _ in range(3)] == ["Yes."] * 3
    await model.warm(QUESTION)
    await model.stop()
    assert (first.started, first.stopped, second.started, second.stopped) == (1, 1, 1, 1)
    assert (second.asked, second.warmed, first.warmed, told) == ([], 0, 1, [])


async def test_who_failed_twice_is_left_alone_and_tried_again_later():
    first, second = Fake("first", [broken()], [broken()], ["Back."]), Fake("second", ["Yes."])
    made, clock, told = chain("llm", first, second)
    model = ChainedLanguageModel(made)
    assert [await say(model) for _ in range(5)] == ["Yes."] * 5
    assert len(first.asked) == 2
    assert told == [("llm", "first")] * 2
    await model.warm(QUESTION)
    assert second.warmed == 1
    clock.now += 5.0
    assert [await say(model) for _ in range(2)] == ["Back."] * 2
    assert made.likely.component is first


async def test_all_are_asked_when_all_are_out():
    first, second = Fake("first", [broken()]), Fake("second", [broken()], [broken()], ["Yes."])
    made, _, _ = chain("llm", first, second)
    model = ChainedLanguageModel(made)
    for _ in range(2):
        with pytest.raises(ComponentFailed, match="it crashed"):
            await say(model)
    assert await say(model) == "Yes."


async def test_one_that_keeps_the_caller_waiting_has_failed_and_the_last_is_waited_for():
    first, second = Fake("first", [HANG]), Fake("second", ["Yes."])
    made, _, told = chain("llm", first, second, patience_s=0.02)
    assert await say(ChainedLanguageModel(made)) == "Yes."
    assert told == [("llm", "first")]
    assert first.running == 0
    only, _, _ = chain("llm", Fake("first", [HANG]), patience_s=0.01)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await say(ChainedLanguageModel(only))


async def test_a_trial_is_spent_only_on_who_is_asked():
    first, second = Fake("first", ["Yes."]), Fake("second", ["No."])
    made, clock, _ = chain("llm", first, second)
    breaker = made.members[1].breaker
    breaker.failed(clock.now)
    breaker.failed(clock.now)
    clock.now += 6.0
    assert await say(ChainedLanguageModel(made)) == "Yes."
    assert breaker.would_allow(clock.now)


@pytest.mark.parametrize("kind", ["llm", "tts"])
async def test_an_answer_that_is_left_after_a_good_beginning_was_a_success(kind):
    part = "Yes, " if kind == "llm" else b"yes"
    first = Fake("first", [broken(kind)], [broken(kind)], [part, part, HANG])
    second = Fake("second", [part])
    made, clock, _ = chain(kind, first, second)
    component = ChainedLanguageModel(made) if kind == "llm" else ChainedTextToSpeech(made)

    async def begin():
        if kind == "llm":
            asked = component.reply(QUESTION, sampling=Sampling(), speculative=False)
        else:
            asked = component.speak("one two three", audio_format=PCM_8K, speculative=False)
        async with asked as output:
            async for _ in output:
                break

    for _ in range(2):
        await begin()
    assert not made.members[0].breaker.closed
    clock.now += 5.0
    await begin()
    assert made.members[0].breaker.closed


@pytest.mark.parametrize("kind", ["llm", "tts", "stt"])
async def test_a_trial_that_nobody_wants_any_more_is_free_for_the_next(kind):
    first, second = Fake("first", [HANG]), Fake("second", ["Yes."])
    made, clock, _ = chain(kind, first, second)
    breaker = made.members[0].breaker
    breaker.failed(clock.now)
    breaker.failed(clock.now)
    clock.now += 5.0
    if kind == "stt":
        asking = asyncio.create_task(
            ChainedSpeechToText(made).stream(1, lambda text, backend: None).decode(speculative=True)
        )
    else:
        asking = asyncio.create_task(
            say(ChainedLanguageModel(made)) if kind == "llm" else sound(ChainedTextToSpeech(made))
        )
    while not first.asked:
        await asyncio.sleep(0)
    assert not breaker.would_allow(clock.now)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert breaker.would_allow(clock.now)


async def test_a_request_that_is_refused_for_itself_goes_to_the_next_but_is_no_ones_fault():
    refusal = ComponentFailed("llm", "it is too long", refused=True)
    first, second = Fake("first", [refusal]), Fake("second", ["Yes."])
    made, _, told = chain("llm", first, second)
    assert [await say(ChainedLanguageModel(made)) for _ in range(4)] == ["Yes."] * 4
    assert len(first.asked) == 4
    assert told == [("llm", "first")] * 4
    assert made.members[0].breaker.closed


async def test_a_member_that_hangs_while_it_starts_or_connects_is_not_waited_for():
    first, second = Fake("first", ["No."]), Fake("second", ["Yes."])
    first.hangs = True
    made, _, told = chain("llm", first, second, patience_s=0.02, failures=3)
    model = ChainedLanguageModel(made)
    await model.start()
    assert told == [("llm", "first")]
    assert await say(model) == "Yes."
    assert await sound(ChainedTextToSpeech(chain("tts", first, Fake("second", [b"yes"]), patience_s=0.02)[0])) == b"yes"
    assert (first.running, first.asked) == (0, [])


async def test_who_is_left_alone_is_not_started_either():
    first, second = Fake("first", ["No."]), Fake("second", ["Yes."])
    made, clock, _ = chain("llm", first, second)
    for _ in range(2):
        made.members[0].breaker.failed(clock.now)
    await ChainedLanguageModel(made).start()
    assert (first.started, second.started) == (0, 1)


@pytest.mark.parametrize("kind", ["llm", "tts"])
async def test_adopting_while_the_request_goes_out_reaches_whoever_answers(kind):
    first = Fake("first", ["Yes." if kind == "llm" else b"yes"])
    first.connected = asyncio.Event()
    made, _, _ = chain(kind, first, Fake("second", ["No."]))
    if kind == "llm":
        asked = ChainedLanguageModel(made).reply(QUESTION, sampling=Sampling(), speculative=True)
    else:
        asked = ChainedTextToSpeech(made).speak("yes", audio_format=PCM_8K, speculative=True)
    async with asked as output:
        reading = asyncio.create_task(anext(aiter(output)))
        while not first.connecting:
            await asyncio.sleep(0)
        output.adopt()
        first.connected.set()
        await reading
    assert first.adopted == 1


async def test_it_starts_when_one_of_them_does():
    first, second = Fake("first", ["Yes."]), Fake("second", ["No."])
    first.start_error = broken()
    made, _, told = chain("llm", first, second)
    await ChainedLanguageModel(made).start()
    assert told == [("llm", "first")]
    second.start_error = broken()
    with pytest.raises(ComponentFailed):
        await ChainedLanguageModel(made).start()


async def test_adopting_reaches_whoever_answers():
    first, second = Fake("first", [broken()]), Fake("second", ["Yes.", " Indeed."])
    made, _, _ = chain("llm", first, second)
    async with ChainedLanguageModel(made).reply(QUESTION, sampling=Sampling(), speculative=True) as output:
        async for _ in output:
            output.adopt()
    assert (first.adopted, second.adopted) == (0, 2)


@pytest.mark.parametrize("kind", ["llm", "tts"])
async def test_leaving_ends_the_work_of_whoever_does_it(kind):
    first, second = Fake("first", [broken(kind)]), Fake("second", ["Yes" if kind == "llm" else b"xx", HANG])
    made, _, _ = chain(kind, first, second)
    asking = asyncio.create_task(say(ChainedLanguageModel(made)) if kind == "llm" else sound(ChainedTextToSpeech(made)))
    while not second.running:
        await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert (first.running, second.running) == (0, 0)


# --- answers that break off -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("goes_on", "whole"),
    [
        (["six until", " nine."], "We are open from six until nine."),
        (["We are open", " from six", " until nine."], "We are open from six until nine."),
        (["We are open from six."], "We are open from six."),
        (["We are open from", " ", "seven."], "We are open from seven."),
        ([" six, and on Sundays."], "We are open from six, and on Sundays."),
    ],
)
async def test_an_answer_that_breaks_off_is_gone_on_with_by_whole_words(goes_on, whole):
    first, second = Fake("first", ["We are open", " from si", broken()]), Fake("second", goes_on)
    made, _, told = chain("llm", first, second)
    assert await say(ChainedLanguageModel(made)) == whole
    assert second.asked == [[*QUESTION, Message("assistant", "We are open from"), Message("user", GO_ON)]]
    assert told == [("llm", "first")]


@pytest.mark.parametrize("size", range(1, 12))
@pytest.mark.parametrize(
    "text", ["We open at six.", "Ab sechs, für alle", "六時から開いています", "Ναι, ανοιχτά", "  ", ""]
)
async def test_an_answer_that_does_not_break_off_is_what_the_model_said(text, size):
    first = Fake("first", [text[at : at + size] for at in range(0, len(text), size)])
    made, _, _ = chain("llm", first, Fake("second", ["No."]))
    assert await say(ChainedLanguageModel(made)) == text


async def test_of_words_that_are_not_parted_by_spaces_none_is_held_back():
    first = Fake("first", ["六時から", "開いて", HANG])
    made, _, _ = chain("llm", first, Fake("second", ["No."]))
    async with ChainedLanguageModel(made).reply(QUESTION, sampling=Sampling(), speculative=False) as output:
        pieces = aiter(output)
        assert [await anext(pieces), await anext(pieces)] == ["六時から", "開いて"]


@pytest.mark.parametrize(
    ("said", "says", "new"),
    [
        ("We are open from six", ["until", " nine."], " until nine."),
        ("We are open from six", ["We are open from seven."], " seven."),
        ("We are open from six", [", and on Sundays."], ", and on Sundays."),
        ("We are open ", ["from six."], "from six."),
        ("We are open ", ["We are open from six."], "from six."),
    ],
)
def test_what_is_new_of_a_second_beginning(said, says, new):
    repeated = Repeated(said)
    assert "".join(map(repeated.without, says)) + repeated.rest() == new


def test_what_was_said_already_is_known_however_it_is_cut():
    for size in range(1, 20):
        repeated = Repeated("We are open from six")
        text = " We are open from six until nine."
        pieces = [repeated.without(text[at : at + size]) for at in range(0, len(text), size)]
        assert "".join(pieces) + repeated.rest() == " until nine."


async def test_a_phrase_that_breaks_off_is_gone_on_with_about_where_it_stopped():
    second_of_sound = bytes(PCM_8K.bytes_per_second)
    first, second = Fake("first", [second_of_sound, broken("tts")]), Fake("second", [b"rest"])
    made, _, _ = chain("tts", first, second)
    assert await sound(ChainedTextToSpeech(made)) == second_of_sound + b"rest"
    assert second.asked == ["four five six seven eight nine ten"]


@pytest.mark.parametrize(
    ("spoken_s", "rest"),
    [(0.0, "one two three"), (0.3, "one two three"), (0.5, "two three"), (0.9, "three"), (1.0, ""), (9.0, "")],
)
def test_what_is_left_of_a_phrase(spoken_s, rest):
    assert rest_of("one two three", spoken_s) == rest


async def test_while_another_voice_speaks_nothing_rendered_in_the_first_is_mixed_in():
    first, second = Fake("first", [broken("tts")]), Fake("second", [b"sound"])
    made, _, _ = chain("tts", first, second)
    tts = ChainedTextToSpeech(made)
    assert tts.voice == "voice of first"
    for _ in range(2):
        assert await sound(tts) == b"sound"
    assert tts.voice == "voice of second"


# --- hearing ----------------------------------------------------------------------------------------------------------


async def test_a_turn_that_one_cannot_decode_is_given_to_the_next_whole():
    first, second = Fake("gated", [broken("stt")]), Fake("streams", ["Are you open?"])
    made, _, told = chain("stt", first, second)
    stt = ChainedSpeechToText(made)
    heard = []
    stt.on_change(heard.append)
    assert (stt.traits.backend, stt.input_format) == ("gated", PCM_8K)
    utterance = stt.stream(1, lambda text, backend: None)
    utterance.send(b"one")
    utterance.send(b"two")
    transcript = await utterance.decode(speculative=True)
    assert transcript == Transcript("Are you open?", "streams")
    utterance.send(b"three")
    assert (await utterance.decode(speculative=False)).text == "Are you open?"
    utterance.adopt()
    utterance.drop()
    assert (first.asked, second.asked) == ([b"onetwo", b"onetwothree"], [b"onetwo", b"onetwothree"])
    assert (first.running, second.running, second.adopted) == (0, 0, 1)
    assert told == [("stt", "gated")] * 2
    assert heard[-1] == SttTraits("streams", needs_gating=False)
    assert stt.stream(2, lambda text, backend: None)
    assert (second.running, stt.traits.backend) == (1, "streams")


async def test_a_decode_that_was_adopted_is_adopted_at_the_next_as_well():
    first, second = Fake("first", [HANG]), Fake("second", ["Yes."])
    made, _, _ = chain("stt", first, second, patience_s=1.0)
    utterance = ChainedSpeechToText(made).stream(1, lambda text, backend: None)
    decoding = asyncio.create_task(utterance.decode(speculative=True))
    while not first.asked:
        await asyncio.sleep(0)
    utterance.adopt()
    assert (await decoding).text == "Yes."
    assert (first.speculative, second.speculative) == ([True], [False])
    utterance.drop()


async def test_the_sound_kept_for_the_next_has_an_end():
    first, second = Fake("first", [broken("stt")]), Fake("second", ["Yes."])
    utterance = ChainedSpeechToText(chain("stt", first, second)[0]).stream(1, lambda text, backend: None)
    for _ in range(70):
        utterance.send(bytes(PCM_8K.bytes_per_second))
    await utterance.decode(speculative=False)
    assert len(second.asked[0]) == 60 * PCM_8K.bytes_per_second


async def test_a_change_of_one_that_does_not_serve_is_not_told():
    first, second = Fake("gated", ["Yes."]), Fake("streams", ["No."])
    stt = ChainedSpeechToText(chain("stt", first, second)[0])
    heard = []
    stt.on_change(heard.append)
    second.listeners[0](second.traits)
    assert heard == []
    first.listeners[0](first.traits)
    assert heard == [first.traits]


def test_all_of_a_chain_take_the_same_sound():
    wide = Fake("wide", ["Yes."])
    wide.input_format = PCM_16K
    with pytest.raises(ConfigError, match="the same format"):
        ChainedSpeechToText(chain("stt", Fake("gated", ["Yes."]), wide)[0])
