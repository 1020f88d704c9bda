"""The pipeline's turns on scripted components: order, speculation, failure, and nothing after a cancellation."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime

import pytest
from fake_components import CALL, Rig, my_tasks

from ai_engine.contexts import Context
from ai_engine.conversation.known_answers import KnownAnswer, Match
from ai_engine.conversation.rendered import RenderedSpeech
from ai_engine.providers.answering import LARGER_MODEL_SAMPLING, SMALL_MODEL_SAMPLING, AnsweringSettings, stock_phrases
from ai_engine.providers.components.component import ComponentFailed, SttTraits
from ai_engine.providers.provider import (
    AgentAudio,
    AgentAudioDone,
    AgentText,
    BackendChanged,
    CallerSpeech,
    CallInfo,
    ProviderError,
    ProviderFailed,
    StageReached,
    WordsRead,
)
from model_worker.errors import WorkerDied
from voice_core.history import Message
from voice_wire.audio import MULAW_8K

ANSWER = "I like bicycles very much. They are quick, and they are fun."
HOURS = KnownAnswer("hours", ("When are you open?",), "We are open from nine to six.")
GONE = ComponentFailed("connection", "the server went away", retryable=True)


def kinds(events: list) -> list[str]:
    return [type(event).__name__ for event in events if not isinstance(event, StageReached)]


def stages(rig: Rig, turn: int) -> list[str]:
    return [event.stage for event in rig.of(StageReached) if event.turn == turn]


async def test_start_tells_the_backend_and_primes_the_prompt_cache():
    async with Rig() as rig:
        await rig.idle()
        assert rig.events == [BackendChanged("fake_whisper", True)]
        assert rig.llm.warmed == [[Message("system", "You are Joe.")]]
        assert rig.provider.capabilities.needs_gating
        rig.stt.traits = SttTraits("sherpa", False)
        rig.stt.listeners[0](rig.stt.traits)
        await rig.idle(5)
        assert rig.events[-1] == BackendChanged("sherpa", False)
        assert not rig.provider.capabilities.needs_gating


async def test_a_streaming_backends_words_are_told_while_the_turn_lasts():
    async with Rig() as rig:
        rig.provider.send_audio(1, b"ab")
        rig.stt.utterances[0].tell("no", "vosk")
        rig.stt.utterances[0].tell("no wait", "vosk")
        await rig.idle()
        words = [event for event in rig.events if isinstance(event, CallerSpeech)]
        assert words == [CallerSpeech(1, 0, text, final=False, stt_backend="vosk") for text in ("no", "no wait")]
        rig.provider.forget(1)
        rig.stt.utterances[0].tell("no wait a moment", "vosk")
        await rig.idle()
        assert len([event for event in rig.events if isinstance(event, CallerSpeech)]) == 2


async def test_what_the_agent_says_unasked_is_primed_too():
    async with Rig() as rig:
        rig.provider.say(1, 1, "Hello, this is Joe.")
        await rig.finished(1)
        await rig.idle()
        assert rig.llm.warmed[-1] == [Message("system", "You are Joe."), Message("assistant", "Hello, this is Joe.")]


async def test_a_component_that_cannot_start_is_a_provider_error_and_leaves_nothing():
    rig = Rig()
    rig.stt.start_error = ComponentFailed("connection", "no local_ai_server here; start it", retryable=True)
    with pytest.raises(ProviderError, match="start it") as error:
        await rig.provider.start(CALL)
    assert error.value.retryable
    assert not rig.world.open
    assert not my_tasks()


async def test_a_speculation_that_is_adopted_is_not_repeated():
    async with Rig(texts=["how are you"]) as rig:
        rig.hear(1)
        rig.provider.speculate(1, 1, ())
        await rig.finished(1)
        assert not [event for event in rig.of(CallerSpeech) if event.final]
        rig.provider.adopt(1, 1)
        await rig.idle()
        assert rig.world.log.count("decode 1 320 speculative") == 1
        assert sum(line.startswith("decode") for line in rig.world.log) == 1
        assert sum(line.startswith("reply") for line in rig.world.log) == 1
        assert rig.spoken(1) == ANSWER
        heard = rig.of(CallerSpeech)
        assert [(e.text, e.final, e.stt_backend, e.confidence) for e in heard] == [
            ("how are you", False, "fake_whisper", 0.9),
            ("how are you", True, "fake_whisper", 0.9),
        ]
        assert rig.llm.prompts == [[Message("system", "You are Joe."), Message("user", "how are you")]]


async def test_the_events_of_a_turn_come_in_their_order():
    async with Rig() as rig:
        rig.hear(1)
        rig.provider.speculate(1, 1, ())
        rig.provider.adopt(1, 1)
        await rig.finished(1)
        assert stages(rig, 1) == ["stt_done", "llm_first_token", "first_phrase", "tts_first_audio"]
        order = kinds([event for event in rig.events if not isinstance(event, BackendChanged | AgentText)])
        assert order[0] == "CallerSpeech"
        assert order[-1] == "AgentAudioDone"
        assert set(order[1:-1]) == {"AgentAudio"}
        assert b" ".join(event.audio for event in rig.of(AgentAudio)).decode() == ANSWER
        assert {event.format for event in rig.of(AgentAudio)} == {MULAW_8K}
        assert " ".join(event.text for event in rig.of(AgentText)) == ANSWER
        source = next(event.detail for event in rig.of(StageReached) if event.stage == "first_phrase")
        assert source == "llm"


async def test_the_first_phrase_is_spoken_while_the_rest_is_still_made():
    long = "I like bicycles very much. " + "And there is more of it to say here. " * 4
    async with Rig(reply=long, max_words=500) as rig:
        rig.hear(1)
        seen: list[set[str]] = []
        rig.world.at_step = lambda _: seen.append(set(rig.world.open))
        rig.provider.speculate(1, 1, ())
        await rig.finished(1)
        assert any("reply" in now and "speak I like bicycles very much." in now for now in seen)
        assert rig.tts.most_at_once == 2, "the next phrase is synthesised while this one is delivered"


async def test_adopting_while_work_is_under_way_puts_it_before_speculation():
    for stage in ("stt", "llm", "tts"):
        async with Rig() as rig:
            rig.world.hold[stage] = asyncio.Event()
            rig.hear(1)
            rig.provider.speculate(1, 1, ())
            await rig.idle(50)
            rig.provider.adopt(1, 1)
            rig.world.hold[stage].set()
            await rig.finished(1)
            if stage == "stt":
                assert rig.stt.utterances[0].adopted == 1
                assert [event.final for event in rig.of(CallerSpeech)] == [True]
                assert "reply final" in rig.world.log
            else:
                assert f"adopt {stage}" in rig.world.log
            assert rig.spoken(1) == ANSWER


@pytest.mark.parametrize("stage", ["stt", "llm", "tts"])
async def test_a_discarded_speculation_ends_its_work_and_the_next_begins_with_all_audio(stage):
    async with Rig(texts=["when are"] if stage != "stt" else None) as rig:
        rig.world.hold[stage] = asyncio.Event()
        rig.hear(1)
        rig.provider.speculate(1, 1, ())
        await rig.idle(50)
        rig.provider.discard(1, 1)
        await rig.idle(20)
        assert rig.world.open == {"stt", "llm", "tts", "utterance 1"}
        del rig.world.hold[stage]
        rig.hear(1)
        rig.provider.speculate(1, 2, ())
        rig.provider.adopt(1, 2)
        await rig.finished(1)
        assert any(line.startswith("decode 1 640") for line in rig.world.log)
        assert {event.revision for event in rig.of(AgentAudio) + rig.of(AgentAudioDone)} == {2}


async def test_a_new_speculation_takes_the_place_of_one_nobody_waits_for():
    async with Rig() as rig:
        rig.world.hold["llm"] = asyncio.Event()
        rig.hear(1)
        rig.provider.speculate(1, 1, ())
        await rig.idle(50)
        rig.hear(1)
        rig.provider.speculate(1, 2, ())
        await rig.idle(50)
        rig.world.hold["llm"].set()
        await rig.idle()
        assert {event.revision for event in rig.of(AgentAudio)} == {2}


async def test_a_transcript_alone_is_decoded_once_and_used_again():
    async with Rig(texts=["stop"]) as rig:
        rig.hear(2)
        rig.provider.transcribe(2, 1)
        await rig.idle()
        assert [(e.text, e.final) for e in rig.of(CallerSpeech)] == [("stop", False)]
        assert not rig.of(AgentAudioDone)
        rig.provider.speculate(2, 2, ())
        await rig.finished(2)
        assert sum(line.startswith("decode") for line in rig.world.log) == 1


async def test_two_revisions_share_one_running_decode():
    async with Rig() as rig:
        rig.world.hold["stt"] = asyncio.Event()
        rig.hear(2)
        rig.provider.transcribe(2, 1)
        await rig.idle(20)
        rig.provider.speculate(2, 2, ())
        await rig.idle(20)
        rig.provider.discard(2, 1)
        await rig.idle(20)
        rig.world.hold["stt"].set()
        rig.provider.adopt(2, 2)
        await rig.finished(2)
        assert sum(line.startswith("decode") for line in rig.world.log) == 1
        assert rig.spoken(2) == ANSWER


async def test_nothing_understood_is_answered_with_nothing():
    async with Rig(texts=[""]) as rig:
        rig.stt.texts = [""]
        rig.hear(1)
        rig.provider.speculate(1, 1, ())
        rig.provider.adopt(1, 1)
        await rig.finished(1)
        assert kinds(rig.events) == ["BackendChanged", "CallerSpeech", "AgentAudioDone"]
        assert not rig.llm.prompts


async def test_a_known_answer_is_spoken_without_the_language_model():
    async with Rig(match=Match("answer", HOURS, 0.9, 0.3)) as rig:
        rig.hear(1)
        rig.provider.speculate(1, 1, ())
        rig.provider.adopt(1, 1)
        await rig.finished(1)
        await rig.idle()
        assert not rig.llm.prompts
        assert rig.spoken(1) == HOURS.answer
        assert [e.detail for e in rig.of(StageReached) if e.stage == "first_phrase"] == ["known:hours"]
        assert rig.llm.warmed[-1][1:] == [Message("user", "hello there"), Message("assistant", HOURS.answer)]


@pytest.mark.parametrize("settled", [True, False, None])
async def test_whether_the_caller_may_go_on_is_told_before_the_sound(settled):
    async with Rig(match=Match("answer", HOURS, 0.9, 0.3, settled=settled)) as rig:
        rig.hear(1)
        rig.provider.speculate(1, 1, ())
        await rig.finished(1)
        told = [event.settled for event in rig.of(WordsRead)]
        assert told == ([] if settled is None else [settled])
        order = [kind for kind in kinds(rig.events) if kind in ("CallerSpeech", "WordsRead", "AgentAudio")]
        assert order[: len(told) + 2] == ["CallerSpeech", *["WordsRead"] * len(told), "AgentAudio"]


async def test_known_answers_that_cannot_be_had_leave_the_language_model():
    async with Rig(match=WorkerDied("it crashed")) as rig:
        rig.hear(1)
        rig.provider.speculate(1, 1, ())
        await rig.finished(1)
        assert rig.spoken(1) == ANSWER


@pytest.mark.parametrize(("small_model", "sampling"), [(True, SMALL_MODEL_SAMPLING), (False, LARGER_MODEL_SAMPLING)])
async def test_a_small_model_is_shown_examples_and_sampled_as_it_was_measured(small_model, sampling):
    match = Match("none", None, 0.0, 0.0, examples=(("How are you?", "Fine, thank you!"),))
    async with Rig(match=match, small_model=small_model) as rig:
        rig.hear(1)
        rig.provider.speculate(1, 1, ())
        await rig.finished(1)
        shown = [message.content for message in rig.llm.prompts[0]]
        assert ("Fine, thank you!" in shown) == small_model
        assert rig.llm.samplings == [sampling]


async def test_a_phrase_known_by_heart_is_played_where_the_model_says_it(tmp_path):
    store = RenderedSpeech(tmp_path)
    await store.put("I'm sorry to hear that.", "joe", MULAW_8K, b"by heart")
    async with Rig(reply="I'm sorry to hear that. We will look after it.", rendered=store) as rig:
        rig.hear(1)
        rig.provider.speculate(1, 1, ())
        rig.provider.adopt(1, 1)
        await rig.finished(1)
        first, *rest = rig.of(AgentAudio)
        assert (first.audio, first.text) == (b"by heart", "I'm sorry to hear that.")
        assert "".join(e.text for e in rest) == "We will look after it."
        assert not any("sorry" in line for line in rig.world.log if line.startswith("speak"))


async def test_the_voice_is_given_the_spoken_form_and_the_transcript_keeps_the_written_one():
    written = ["It is $5.50 at 9 am.", "Call 555 0134."]
    async with Rig() as rig:
        rig.provider.say(1, 1, " ".join(written))
        await rig.finished(1)
        assert [e.text for e in rig.of(AgentText)] == written
        assert [e.text for e in rig.of(AgentAudio) if e.text] == written
        assert [line for line in rig.world.log if line.startswith("speak")] == [
            "speak It is five dollars and fifty cents at nine a.m. final",
            "speak Call five five five, zero one three four. final",
        ]


async def test_what_is_said_alike_is_known_by_heart_however_it_is_written(tmp_path):
    store = RenderedSpeech(tmp_path)
    await store.put("We close at five thirty p.m.", "joe", MULAW_8K, b"by heart")
    async with Rig(rendered=store) as rig:
        for turn, text in enumerate(("We close at 5:30 pm.", "We close at 17:30."), start=1):
            rig.provider.say(turn, 1, text)
            await rig.finished(turn)
        assert [(e.audio, e.text) for e in rig.of(AgentAudio)] == [
            (b"by heart", "We close at 5:30 pm."),
            (b"by heart", "We close at 17:30."),
        ]


def test_stock_phrases_are_what_a_small_model_and_its_guard_say():
    small = stock_phrases("I cannot say that.", AnsweringSettings())
    assert {"I cannot say that.", "What I can tell you is this.", "How can I help you?"} <= set(small)
    assert "{" not in "".join(stock_phrases("Sorry, {caller_name}.", AnsweringSettings()))
    assert stock_phrases("I cannot say that.", AnsweringSettings(small_model=False)) == []


async def test_what_is_rendered_already_needs_no_synthesis(tmp_path):
    store = RenderedSpeech(tmp_path)
    await store.put(HOURS.answer, "joe", MULAW_8K, b"rendered")
    await store.put("Welcome.", "joe", MULAW_8K, b"hello")
    async with Rig(match=Match("answer", HOURS, 0.9, 0.3), rendered=store) as rig:
        rig.provider.say(1, 1, "Welcome.")
        await rig.finished(1)
        rig.hear(2)
        rig.provider.speculate(2, 1, ())
        await rig.finished(2)
        assert [(e.audio, e.text) for e in rig.of(AgentAudio)] == [(b"hello", "Welcome."), (b"rendered", HOURS.answer)]
        assert not [line for line in rig.world.log if line.startswith("speak")]


async def test_a_near_fact_stands_beside_the_question_but_not_in_what_is_primed():
    near = Match("near", HOURS, 0.6, 0.1, facts=(HOURS,))
    async with Rig(match=near) as rig:
        rig.hear(1)
        rig.provider.speculate(1, 1, (Message("assistant", "Hi."),))
        rig.provider.adopt(1, 1)
        await rig.finished(1)
        await rig.idle()
        assert HOURS.answer in rig.llm.prompts[0][-1].content
        assert [e.detail for e in rig.of(StageReached) if e.stage == "first_phrase"] == ["near:hours"]
        assert not [m for m in rig.llm.warmed[-1] if HOURS.answer in m.content]


async def test_a_long_answer_ends_at_a_phrase_and_ends_the_models_work():
    async with Rig(reply="This is a sentence of some words. " * 50, max_words=20) as rig:
        rig.hear(1)
        rig.provider.speculate(1, 1, ())
        rig.provider.adopt(1, 1)
        await rig.finished(1)
        assert 1 <= len(rig.spoken(1).split()) <= 20
        assert rig.spoken(1).endswith(".")
        assert "reply" not in rig.world.open


async def test_a_model_that_says_nothing_does_not_leave_the_caller_in_silence():
    async with Rig(reply="", texts=["How much is a piano?"]) as rig:
        rig.hear(1)
        rig.provider.speculate(1, 1, ())
        await rig.finished(1)
        assert rig.spoken(1) == "I do not know that."


@pytest.mark.parametrize("component", ["stt", "llm", "tts"])
@pytest.mark.parametrize("retryable", [True, False])
async def test_a_failed_speculation_is_told_when_it_is_adopted(component, retryable):
    async with Rig() as rig:
        break_component(rig, component, ComponentFailed(component, "broken", retryable=retryable))
        rig.hear(1)
        rig.provider.speculate(1, 1, ())
        await rig.idle()
        assert not rig.of(ProviderFailed), "nobody waits yet"
        rig.provider.adopt(1, 1)
        await rig.finished(1)
        await rig.idle()
        assert rig.of(ProviderFailed) == [ProviderFailed(1, 1, component, "broken", retryable)]
        assert not rig.of(AgentAudioDone)
        assert rig.world.open == {"stt", "llm", "tts", "utterance 1"}


def break_component(rig: Rig, component: str, failure: Exception, *, after: int = 0) -> None:
    if component == "stt":
        rig.stt.fail = [failure]
    else:
        {"llm": rig.llm, "tts": rig.tts}[component].fail_after = {after: failure}


@pytest.mark.parametrize("component", ["stt", "llm", "tts"])
async def test_a_failed_turn_can_be_tried_again_with_the_same_audio(component):
    async with Rig() as rig:
        break_component(rig, component, ComponentFailed(component, "restarting", retryable=True))
        rig.hear(1)
        rig.provider.speculate(1, 1, ())
        rig.provider.adopt(1, 1)
        await rig.finished(1)
        rig.provider.discard(1, 1)
        rig.provider.speculate(1, 2, ())
        rig.provider.adopt(1, 2)
        await rig.idle()
        assert rig.of(ProviderFailed) == [ProviderFailed(1, 1, component, "restarting", True)]
        assert {event.revision for event in rig.of(AgentAudio)} == {2}
        assert rig.spoken(1) == ANSWER
        decodes = [line for line in rig.world.log if line.startswith("decode")]
        assert len(decodes) == (2 if component == "stt" else 1)


async def test_a_failed_transcript_is_told_at_once():
    async with Rig() as rig:
        rig.stt.fail = [GONE]
        rig.hear(2)
        rig.provider.transcribe(2, 1)
        await rig.idle()
        assert [(event.turn, event.revision) for event in rig.of(ProviderFailed)] == [(2, 1)]


async def test_a_failure_in_the_middle_comes_after_what_was_delivered():
    async with Rig() as rig:
        break_component(rig, "tts", GONE, after=2)
        rig.hear(1)
        rig.provider.speculate(1, 1, ())
        rig.provider.adopt(1, 1)
        await rig.finished(1)
        assert rig.spoken(1) == "I like bicycles very much."
        assert isinstance(rig.events[-1], ProviderFailed)


async def test_a_turn_that_is_taken_back_goes_on_with_its_audio():
    async with Rig(texts=["I would like", "I would like to know your hours"]) as rig:
        rig.hear(1)
        rig.provider.speculate(1, 1, ())
        rig.provider.adopt(1, 1)
        await rig.idle(20)
        rig.provider.discard(1, 1)
        rig.events.clear()
        rig.hear(1)
        rig.provider.speculate(1, 2, ())
        await rig.idle()
        rig.provider.adopt(1, 2)
        await rig.idle()
        assert [line for line in rig.world.log if line.startswith("decode")][-1] == "decode 1 640 speculative"
        assert rig.of(CallerSpeech)[-1].text == "I would like to know your hours"
        assert {event.revision for event in rig.of(AgentAudio)} == {2}


async def test_words_that_did_not_come_as_sound_need_no_transcript():
    async with Rig() as rig:
        rig.provider.speculate(1, 1, (), "[keypad] 4")
        rig.provider.adopt(1, 1)
        await rig.finished(1)
        assert not [line for line in rig.world.log if line.startswith("decode")]
        assert rig.llm.prompts[0][-1].content == "[keypad] 4"
        assert [(event.text, event.final) for event in rig.of(CallerSpeech)] == [("[keypad] 4", True)]
        assert rig.spoken(1) == ANSWER


async def test_what_the_model_made_up_is_not_spoken_and_the_model_is_stopped():
    async with Rig(reply="It costs 47 euros. And there is more to it than that.", small_model=True) as rig:
        rig.stt.texts = ["How much is a new bicycle?"]
        rig.hear(1)
        rig.provider.speculate(1, 1, ())
        rig.provider.adopt(1, 1)
        await rig.finished(1)
        assert rig.spoken(1) == "I do not know that."
        assert "reply" not in rig.world.open


async def test_a_fact_stands_in_for_what_was_made_up_when_one_is_near():
    async with Rig(reply="We are open from 3 to 4.", match=Match("near", HOURS, 0.6, 0.1, facts=(HOURS,))) as rig:
        rig.stt.texts = ["Are you there at lunch time?"]
        rig.hear(1)
        rig.provider.speculate(1, 1, ())
        await rig.finished(1)
        assert HOURS.answer in rig.spoken(1)


async def test_the_turn_after_a_failure_is_answered():
    async with Rig() as rig:
        rig.stt.fail = [ComponentFailed("stt", "no")]
        rig.hear(1)
        rig.provider.speculate(1, 1, ())
        rig.provider.adopt(1, 1)
        await rig.finished(1)
        rig.hear(2)
        rig.provider.speculate(2, 1, ())
        rig.provider.adopt(2, 1)
        await rig.finished(2)
        assert rig.spoken(2) == ANSWER


async def test_adopting_what_was_never_prepared_is_a_failure_and_not_silence():
    async with Rig() as rig:
        rig.provider.adopt(3, 1)
        await rig.idle(5)
        assert [event.turn for event in rig.of(ProviderFailed)] == [3]


async def test_a_bug_in_a_component_is_a_failure_and_not_silence():
    async with Rig() as rig:
        rig.llm.fail_after = {0: ZeroDivisionError()}
        rig.hear(1)
        rig.provider.speculate(1, 1, ())
        rig.provider.adopt(1, 1)
        await rig.finished(1)
        assert rig.of(ProviderFailed)[0].message == "internal error: ZeroDivisionError"


async def test_a_forgotten_utterance_is_gone_and_stays_gone():
    async with Rig() as rig:
        rig.hear(1)
        rig.provider.transcribe(1, 1)
        rig.provider.forget(1)
        rig.hear(1)
        await rig.idle()
        assert kinds(rig.events) == ["BackendChanged"]
        assert rig.world.open == {"stt", "llm", "tts"}


async def test_a_long_answer_goes_on_however_often_the_caller_coughs():
    async with Rig() as rig:
        rig.world.hold["tts"] = asyncio.Event()
        rig.provider.say(1, 1, ANSWER)
        for turn in (2, 3, 4, 5):
            rig.hear(turn)
            rig.provider.transcribe(turn, 1)
            await rig.idle(20)
            rig.provider.forget(turn)
        rig.world.hold["tts"].set()
        await rig.finished(1)
        assert rig.spoken(1) == ANSWER


async def test_audio_of_old_turns_is_not_kept():
    async with Rig() as rig:
        for turn in (1, 2, 3, 4, 5):
            rig.hear(turn)
        rig.hear(2)
        assert rig.world.open == {"stt", "llm", "tts", "utterance 4", "utterance 5"}


def end(rig: Rig, how: str, events_at_end: list[int]) -> None:
    async def stop() -> None:
        events_at_end.append(len(rig.events))
        await rig.provider.stop()

    if how == "stop":
        rig.stopping = asyncio.ensure_future(stop())
        return
    {
        "interrupt": lambda: rig.provider.interrupt(1, "I like"),
        "discard": lambda: rig.provider.discard(1, 1),
        "forget": lambda: rig.provider.forget(1),
    }[how]()
    events_at_end.append(len(rig.events))


@pytest.mark.parametrize("how", ["interrupt", "discard", "forget", "stop"])
@pytest.mark.parametrize("adopted", [False, True])
async def test_ended_at_any_await_point_nothing_is_left_and_nothing_follows(how, adopted):
    """Every await point of every component, one run each."""
    point = 0
    while True:
        point += 1
        rig = Rig()
        rig.stopping = None
        async with rig:
            await rig.idle(30)
            already = len(rig.events)
            start = rig.world.steps
            stopped_at: list[int] = []

            def at_step(step, rig=rig, start=start, point=point, stopped_at=stopped_at):
                if step - start == point:
                    end(rig, how, stopped_at)

            rig.hear(1)
            rig.provider.speculate(1, 1, ())
            if adopted:
                rig.provider.adopt(1, 1)
            rig.world.at_step = at_step
            await rig.idle(400)
            if not stopped_at:
                assert point > 30, "the answer has more await points than this"
                assert len(rig.events) > already
                break
            assert len(rig.events) == stopped_at[0], f"an event followed the {how} at point {point}"
            if rig.stopping is not None:
                await rig.stopping
            allowed = set() if how == "stop" else {"stt", "llm", "tts"}
            assert rig.world.open - ({"utterance 1"} if how == "discard" else set()) <= allowed, (
                f"left open after the {how} at point {point}"
            )
            assert len(my_tasks()) <= 1, f"a task is left after the {how} at point {point}"
        assert not rig.world.open
        assert not my_tasks()


async def test_stop_is_idempotent_and_ends_the_events():
    async with Rig() as rig:
        await rig.provider.stop()
        await rig.provider.stop()
        rig.provider.say(1, 1, "Hello")
        await rig.idle(20)
    assert not my_tasks()


async def test_many_interleaved_calls_never_show_one_anothers_data(tmp_path):
    """A18: what belongs to one call (its variables, words and history) is seen at its own model's door only."""
    context = Context(
        greeting="Hello {caller_name}.", prompt="Caller {caller_name}, account {ai_account}.", farewell="Bye {call_id}."
    )
    store = RenderedSpeech(tmp_path)
    rigs = [Rig(rendered=store) for _ in range(200)]

    async def call(number: int, rig: Rig) -> None:
        texts = context.for_call(
            call_id=f"id-{number}-",
            now=datetime.now(UTC),
            caller_name=f"name-{number}-",
            dialplan={"AI_ACCOUNT": f"account-{number}-"},
        )
        info = CallInfo(f"id-{number}-", "default", texts.system_prompt, "en", None, MULAW_8K, texts.variables)
        await rig.provider.start(info)
        reader = asyncio.create_task(rig._read())
        rig.provider.say(1, 1, texts.greeting)
        await rig.finished(1)
        history = (Message("assistant", texts.greeting),)
        for turn in (2, 3):
            rig.stt.texts = [f"my code is code-{number}-"]
            rig.hear(turn)
            rig.provider.speculate(turn, 1, history)
            await asyncio.sleep(0)
            rig.provider.adopt(turn, 1)
            await rig.finished(turn)
        await rig.idle(20)
        await rig.provider.stop()
        await reader

    await asyncio.gather(*(call(number, rig) for number, rig in enumerate(rigs)))
    for number, rig in enumerate(rigs):
        seen = repr(rig.llm.prompts + rig.llm.warmed)
        for kind in ("name", "account", "code"):
            assert f"{kind}-{number}-" in seen
        for kind in ("name", "account", "code", "id"):
            assert set(re.findall(rf"{kind}-(\d+)-", seen)) <= {str(number)}
