"""The server's parts without I/O: admission, prompt fitting, decoding guards, phrase audio, utterances, settings."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_ai_server.admission import Admission, AtCapacity
from local_ai_server.backends.llm.choose_prompt_form import choose_prompt_form, has_chat_template
from local_ai_server.backends.llm.speakable import speakable
from local_ai_server.backends.stt.decoding_guards import (
    is_invented,
    loops,
    loudest_dbfs,
    quietest_split,
    token_limit,
)
from local_ai_server.backends.tts.phrase_audio import active_level_dbfs, set_level, trailing_ms, trim
from local_ai_server.prompts import MIN_ANSWER_TOKENS, PromptFitter, PromptTooLong
from local_ai_server.utterances import UtteranceSplitter
from model_worker.spec import Priority

FINAL, LIVE, GUESS = Priority.FINAL, Priority.LIVE, Priority.SPECULATIVE

# --- admission


def test_waiting_work_goes_by_priority_then_by_arrival():
    queue = Admission(slots=1, max_waiting=9)
    running, _ = queue.enter(LIVE)
    names = {}
    for name, priority in (("guess", GUESS), ("live", LIVE), ("final", FINAL), ("final too", FINAL)):
        names[queue.enter(priority)[0]] = name
    order = []
    granted = queue.leave(running)
    while granted:
        order.append(names[granted[0]])
        granted = queue.leave(granted[0])
    assert order == ["final", "final too", "live", "guess"]


def test_one_speculation_at_a_time_until_it_is_adopted():
    queue = Admission(slots=3, max_waiting=9)
    first, _ = queue.enter(GUESS)
    second, granted = queue.enter(GUESS)
    assert first.granted
    assert not granted
    assert queue.promote(first, FINAL) == [second]


def test_work_that_nobody_waits_for_on_the_telephone_leaves_room_for_calls():
    queue = Admission(slots=4, max_waiting=9, reserved=2)
    first, _ = queue.enter(Priority.BATCH)
    second, _ = queue.enter(Priority.BATCH)
    third, granted = queue.enter(Priority.BATCH)
    call, at_once = queue.enter(GUESS)
    assert (first.granted, second.granted, granted, at_once) == (True, True, [], [call])
    assert queue.leave(call) == []
    assert queue.promote(third, FINAL) == [third]


def test_a_full_queue_refuses_with_figures():
    queue = Admission(slots=1, max_waiting=1)
    queue.enter(FINAL)
    queue.enter(FINAL)
    with pytest.raises(AtCapacity) as caught:
        queue.enter(FINAL)
    assert (caught.value.active, caught.value.limit) == (2, 2)


@given(
    st.lists(st.tuples(st.sampled_from(["enter", "leave", "promote"]), st.integers(0, 20), st.sampled_from(Priority)))
)
def test_slots_are_never_overrun_and_never_idle_while_somebody_could_run(steps):
    queue = Admission(slots=2, max_waiting=5)
    tickets = []
    for step, which, priority in steps:
        if step == "enter":
            try:
                tickets.append(queue.enter(priority)[0])
            except AtCapacity:
                assert queue.waiting == 5
        elif tickets:
            ticket = tickets[which % len(tickets)]
            queue.leave(ticket) if step == "leave" else queue.promote(ticket, priority)
        live = [ticket for ticket in tickets if not ticket.gone]
        running = [ticket for ticket in live if ticket.granted]
        waiting = [ticket for ticket in live if not ticket.granted]
        assert len(running) == queue.running <= 2
        assert sum(ticket.priority is GUESS for ticket in running) <= 1
        if len(running) < 2:
            assert all(ticket.priority is GUESS for ticket in waiting)


# --- prompts: a token is a word, and each message costs one more


def count(messages):
    return 2 + sum(1 + len(message["content"].split()) for message in messages)


def words(n, word="w"):
    return " ".join([word] * n)


def conversation(turns, system=10, size=8):
    history = [{"role": "system", "content": words(system, "s")}]
    for turn in range(turns):
        history.append({"role": "user", "content": f"q{turn} " + words(size)})
        history.append({"role": "assistant", "content": f"a{turn} " + words(size)})
    return [*history[:-1]]


def test_what_fits_is_left_alone():
    messages = conversation(3)
    fit = PromptFitter(context_tokens=300).fit(messages, max_tokens=100, count=count)
    assert list(fit.messages) == messages
    assert (fit.max_tokens, fit.dropped_messages, fit.cut) == (100, 0, False)


def test_the_answer_shrinks_before_a_turn_is_dropped():
    messages = conversation(3)
    fit = PromptFitter(context_tokens=count(messages) + MIN_ANSWER_TOKENS).fit(messages, max_tokens=500, count=count)
    assert (fit.max_tokens, fit.dropped_messages) == (MIN_ANSWER_TOKENS, 0)


def test_oldest_turns_go_to_sixty_percent_at_once_and_the_next_turns_only_append():
    fitter, starts = PromptFitter(context_tokens=400), []
    for turns in range(1, 60):
        fit = fitter.fit(conversation(turns), max_tokens=80, count=count)
        assert fit.prompt_tokens == count(fit.messages) <= 400 - MIN_ANSWER_TOKENS
        assert fit.messages[0]["role"] == "system"
        assert fit.messages[1]["role"] == "user"
        assert fit.messages[-1] == conversation(turns)[-1]
        starts.append(fit.messages[1]["content"])
    kept_for = [starts.count(start) for start in dict.fromkeys(starts)]
    assert min(kept_for[:-1]) >= 4  # turns between two losses of the prefix cache


def test_another_conversation_does_not_inherit_the_cut():
    fitter = PromptFitter(context_tokens=400)
    fitter.fit(conversation(40), max_tokens=80, count=count)
    other = [{"role": "system", "content": "x"}, {"role": "user", "content": "hello"}]
    assert list(fitter.fit(other, max_tokens=80, count=count).messages) == other


def test_facts_right_before_the_last_question_stay_with_it():
    messages = conversation(30)
    messages.insert(-1, {"role": "system", "content": "fact"})
    fit = PromptFitter(context_tokens=200).fit(messages, max_tokens=80, count=count)
    assert [m["content"] for m in fit.messages[-2:]] == ["fact", messages[-1]["content"]]


def test_a_system_prompt_too_long_loses_its_end():
    messages = conversation(1, system=500)
    fit = PromptFitter(context_tokens=200).fit(messages, max_tokens=80, count=count)
    assert fit.cut
    assert messages[0]["content"].startswith(fit.messages[0]["content"])
    assert fit.messages[-1] == messages[-1]


def test_a_question_too_long_loses_its_beginning():
    messages = [{"role": "user", "content": words(500) + " end"}]
    fit = PromptFitter(context_tokens=200).fit(messages, max_tokens=80, count=count)
    assert fit.messages[-1]["content"].endswith("end")
    assert fit.cut


def test_a_window_too_small_for_anything_is_said_so():
    with pytest.raises(PromptTooLong, match="LOCAL_LLM_CONTEXT"):
        PromptFitter(context_tokens=4).fit(conversation(1), max_tokens=80, count=count)


@given(
    st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), st.integers(0, 200)), min_size=1, max_size=20),
    st.integers(40, 400),
    st.integers(1, 600),
)
def test_every_prompt_fits_beside_its_answer(shape, context, max_tokens):
    messages = [{"role": role, "content": words(n)} for role, n in shape]
    fit = PromptFitter(context_tokens=context).fit(messages, max_tokens=max_tokens, count=count)
    assert fit.prompt_tokens + fit.max_tokens <= context
    assert fit.max_tokens >= 1
    assert fit.messages


# --- what Whisper does wrong


@pytest.mark.parametrize(
    ("tokens", "text", "is_loop"),
    [
        ([5] * 40, "Be " * 40, True),
        ([1, 2, 3] * 6, "the list, " * 6, True),
        ([7, 8], "Yes.", False),
        ([9, 9, 9, 9], "five five five five", False),
        (list(range(30)), "I'd like to cancel my booking because my car broke down and I can't get there.", False),
        ([], "", False),
    ],
)
def test_text_that_goes_round_is_known(tokens, text, is_loop):
    assert loops(tokens, text) is is_loop


@pytest.mark.parametrize(
    ("text", "no_speech", "log_probability", "invented"),
    [
        ("you", 0.99, -0.6, True),  # measured: silence, ringback, music, a cough
        ("You", 0.33, -1.37, True),
        ("Thank you.", 0.39, -1.05, True),
        ("BAM! BAM!", 0.44, -0.96, True),
        ("...", 0.1, -0.1, True),
        ("♪♪", 0.2, -0.3, True),
        ("Monday", 0.34, -0.46, False),  # measured: short answers, quiet or over noise
        ("John Miller.", 0.51, -0.13, False),
        ("Tomorrow.", 0.43, -0.32, False),
        ("2", 0.1, -1.35, False),
        ("Five", 0.09, -1.0, False),
    ],
)
def test_words_made_of_noise_are_known(text, no_speech, log_probability, invented):
    assert is_invented(text, no_speech, log_probability) is invented


def test_the_token_limit_grows_with_the_audio_and_ends_at_half_the_window():
    assert token_limit(0.5) < token_limit(5) < token_limit(60) == 224


def test_levels_are_those_of_the_loudest_moment():
    samples = np.zeros(16_000, np.float32)
    assert loudest_dbfs(samples, 16_000) == float("-inf")
    samples[8000:8320] = 0.1
    assert loudest_dbfs(samples, 16_000) == pytest.approx(-20, abs=0.1)
    assert loudest_dbfs(samples[:5], 16_000) == float("-inf")


def test_long_audio_is_split_where_it_is_quiet():
    samples = np.ones(40 * 100, np.float32)
    samples[2500:2540] = 0
    assert 2500 <= quietest_split(samples, 100, earliest_s=20, latest_s=29) <= 2540


# --- phrases


def tone(ms, rate_hz=8000, level=0.3):
    return (level * np.sin(np.arange(rate_hz * ms // 1000))).astype(np.float32)


@pytest.mark.parametrize("text", ["Yes.", "well,", "and then"])
def test_a_phrase_begins_within_twenty_milliseconds_and_ends_with_its_pause(text):
    samples = np.concatenate((np.zeros(4000, np.float32), tone(500), np.zeros(8000, np.float32)))
    trimmed = trim(samples, 8000, text)
    voiced = np.flatnonzero(np.abs(trimmed) > 0.01)
    assert voiced[0] <= 8000 * 0.020
    pause_ms = (trimmed.size - voiced[-1]) / 8
    assert pause_ms == pytest.approx(trailing_ms(text), abs=6)


def test_a_pause_that_is_missing_is_added_and_pure_silence_becomes_nothing():
    assert trim(tone(100), 8000, "Yes.").size == pytest.approx(800 + 8 * trailing_ms("Yes."), abs=40)
    assert trim(np.zeros(800, np.float32), 8000, "Yes.").size == 0


def test_marks_are_found_behind_quotes():
    assert trailing_ms('He said "no."') == trailing_ms("No.") > trailing_ms("no,") > trailing_ms("no")


def test_level_is_set_without_clipping():
    assert np.abs(set_level(tone(100), 100.0)).max() <= 0.892
    assert active_level_dbfs(set_level(tone(100), 0.5), 8000) == pytest.approx(
        active_level_dbfs(tone(100), 8000) - 6.02, abs=0.01
    )


# --- version 2's utterances


@pytest.mark.parametrize("chunk", [160, 333, 3200])
def test_utterances_end_in_silence_and_keep_their_first_sound(chunk):
    rng = np.random.default_rng(0)
    loud, quiet = (rng.normal(0, level, 8000).astype(np.int16) for level in (4000, 20))
    stream = np.concatenate((quiet, loud, quiet, quiet, loud, quiet, quiet))
    splitter = UtteranceSplitter(16_000, silence_ms=400, max_s=30)
    ended = [u for at in range(0, stream.size, chunk) for u in splitter.feed(stream[at : at + chunk])]
    assert len(ended) == 2
    for utterance in ended:
        assert 0.5 <= utterance.size / 16_000 <= 1.3
        assert np.abs(utterance[:160]).max() < 1000  # the pre-roll


def test_a_click_is_no_utterance_and_endless_speech_is_cut():
    rng = np.random.default_rng(0)
    click = np.concatenate((rng.normal(0, 8000, 320), np.zeros(32_000))).astype(np.int16)
    splitter = UtteranceSplitter(16_000, silence_ms=400, max_s=2)
    assert not splitter.feed(click)
    assert len(splitter.feed(rng.normal(0, 4000, 16_000 * 5).astype(np.int16))) == 2


def test_markup_and_pictures_are_not_spoken():
    assert speakable("**Sure** \U0001f600 it's `$12.50`,\n- ok") == "Sure  it's $12.50, - ok"


# --- base models


@pytest.mark.parametrize(("metadata", "has"), [(b"GGUF..tokenizer.chat_template..", True), (b"GGUF....", False)])
def test_a_model_without_a_template_of_its_own_is_known(tmp_path, metadata, has):
    (tmp_path / "m.gguf").write_bytes(metadata)
    assert has_chat_template(tmp_path / "m.gguf") is has
    assert choose_prompt_form(tmp_path / "m.gguf") == ("chat" if has else "transcript")


def test_the_catalogue_decides_for_its_own_models():
    assert choose_prompt_form(Path("anywhere/SmolLM2-135M-Instruct-Q8_0.gguf")) == "transcript"
