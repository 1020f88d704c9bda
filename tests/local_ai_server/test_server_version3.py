"""Version 3: streams, cancels, adoption, and exactly one end for each request."""

import asyncio
import json

import pytest
from fake_services import FakeServices, ListClient, make_session, settle
from hypothesis import given, settings
from hypothesis import strategies as st

from local_ai_server.request import MAX_IN_FLIGHT
from model_worker.errors import CallFailed, CallTimedOut, WorkerDied, WorkerUnavailable
from voice_wire.messages import pack_frame, parse_frame

HELLO = [{"role": "user", "content": "hello"}]


class Talk:
    """A version-3 session over fake services."""

    def __init__(self, **options):
        self.services = FakeServices(**options)
        self.client = ListClient()
        self.session = make_session(self.services, self.client)
        self.send(type="auth", protocol_version=3)

    def send(self, **fields):
        self.session.receive(json.dumps(fields))

    def audio(self, stream_id, *pieces):
        for sequence, piece in enumerate(pieces):
            self.session.receive(pack_frame(stream_id, sequence, piece))


@pytest.fixture
async def talk():
    talk = Talk()
    yield talk
    await talk.session.close()


# --- language model


async def test_an_answer_streams_and_ends_with_its_usage(talk):
    talk.send(type="llm_request", request_id="a", messages=HELLO, stream=True)
    end = await talk.client.end_of("a")
    assert "".join(m.text for m in talk.client.of("llm_delta")) == "You said hello."
    assert (end.usage.prompt_tokens, end.usage.cached_tokens, end.usage.completion_tokens) == (9, 7, 3)
    assert end.usage.ttft_ms >= 0
    assert end.finish_reason == "stop"


async def test_unstreamed_the_whole_answer_comes_before_done(talk):
    talk.send(type="llm_request", request_id="a", messages=HELLO)
    await talk.client.end_of("a")
    assert [m.type for m in talk.client.sent[1:]] == ["llm_response", "done"]


async def test_only_the_sampling_that_was_asked_for_reaches_the_model(talk):
    talk.send(type="llm_request", request_id="a", messages=HELLO, sampling={"temperature": 0, "max_tokens": 9})
    await talk.client.end_of("a")
    args = talk.services.llm.calls[0].args
    assert args["sampling"] == {"temperature": 0.0, "max_tokens": 9}
    assert args["session"] == talk.session.key


TOOLS = [{"name": "transfer", "description": "Puts the caller through.", "parameters": {"type": "object"}}]


def decides(tool):
    """A model that names `tool` when it is asked for one, and says hello when it is not."""

    def answer(method, args, body):
        said = json.dumps(tool) if "response_format" in args else "Hello."
        return [({"text": said}, b"")], {"finish_reason": "stop", "prompt_tokens": 1, "completion_tokens": 1}

    return answer


async def test_an_answer_may_begin_with_a_tool_and_says_nothing_then(talk):
    talk.services.llm.answer = decides("transfer")
    talk.send(type="llm_request", request_id="a", messages=HELLO, stream=True, tools=TOOLS)
    end = await talk.client.end_of("a")
    (decision,) = talk.client.of("llm_tool_response")
    assert decision.tool_calls == [{"name": "transfer", "parameters": {}}]
    assert (decision.request_id, decision.protocol_version, end.finish_reason) == ("a", 3, "tool_calls")
    assert not talk.client.of("llm_delta")


async def test_an_answer_without_need_of_a_tool_streams(talk):
    talk.services.llm.answer = decides("none")
    talk.send(type="llm_request", request_id="a", messages=HELLO, stream=True, tools=TOOLS)
    await talk.client.end_of("a")
    assert not talk.client.of("llm_tool_response")
    assert [m.text for m in talk.client.of("llm_delta")] == ["Hello."]
    assert "tools" not in talk.services.llm.calls[-1].args


@pytest.mark.parametrize(("tool", "reason", "text"), [("transfer", "tool_calls", ""), ("none", "stop", "Hello.")])
async def test_a_decision_alone_is_answered_and_done(talk, tool, reason, text):
    talk.services.llm.answer = decides(tool)
    talk.send(type="llm_tool_request", request_id="a", text="Good morning.", tools=TOOLS)
    end = await talk.client.end_of("a")
    (decision,) = talk.client.of("llm_tool_response")
    assert (decision.finish_reason, decision.text, end.finish_reason) == (reason, text, reason)


async def test_tools_that_cannot_be_end_in_an_error(talk):
    talk.send(type="llm_request", request_id="a", messages=HELLO, tools=[{"description": "nameless"}])
    assert (await talk.client.end_of("a")).code == "invalid_message"


async def test_a_cancel_ends_the_request_at_once_and_nothing_of_it_follows(talk):
    talk.services.llm.held = True
    talk.send(type="llm_request", request_id="a", messages=HELLO, stream=True)
    await settle()
    talk.services.llm.calls[0].release(1)
    await talk.client.until(lambda: talk.client.of("llm_delta"))
    talk.send(type="cancel", request_id="a")
    assert talk.client.sent[-1].to_json() == '{"type":"done","request_id":"a","cancelled":true}'
    n = len(talk.client.sent)
    talk.services.llm.calls[0].release()
    await settle()
    assert len(talk.client.sent) == n
    assert talk.services.llm.calls[0].cancelled


async def test_a_cancel_of_what_has_ended_or_never_was_is_silent(talk):
    talk.send(type="llm_request", request_id="a", messages=HELLO)
    await talk.client.end_of("a")
    n = len(talk.client.sent)
    talk.send(type="cancel", request_id="a")
    talk.send(type="cancel", request_id="nobody")
    await settle()
    assert len(talk.client.sent) == n


async def test_a_cancel_without_a_name_ends_all_of_the_session(talk):
    for link in (talk.services.llm, talk.services.tts):
        link.held = True
    talk.send(type="llm_request", request_id="a", messages=HELLO)
    talk.send(type="tts_request", request_id="b", text="Hi.", stream=True)
    talk.session.receive("__CANCEL__")
    assert {m.request_id for m in talk.client.of("done") if m.cancelled} == {"a", "b"}


async def test_a_request_replaces_the_one_it_names(talk):
    talk.services.llm.held = True
    talk.send(type="llm_request", request_id="a", messages=HELLO)
    await settle()
    talk.services.llm.held = False
    talk.send(type="llm_request", request_id="b", messages=HELLO, replaces="a")
    await talk.client.end_of("b")
    assert [m.cancelled for m in talk.client.ends("a")] == [True]
    assert [m.cancelled for m in talk.client.ends("b")] == [None]


async def test_an_id_in_flight_cannot_be_used_again_but_afterwards_it_can(talk):
    talk.services.llm.held = True
    talk.send(type="llm_request", request_id="a", messages=HELLO)
    await settle()
    talk.send(type="llm_request", request_id="a", messages=HELLO)
    (refusal,) = talk.client.of("error")
    assert (refusal.code, refusal.request_id) == ("duplicate_request", None)
    talk.services.llm.calls[0].release()
    await talk.client.end_of("a")
    talk.services.llm.held = False
    talk.send(type="llm_request", request_id="a", messages=HELLO)
    await talk.client.until(lambda: len(talk.client.ends("a")) == 2)


async def test_warm_primes_and_reports(talk):
    talk.send(type="warm", request_id="w", messages=[{"role": "system", "content": "s"}])
    end = await talk.client.end_of("w")
    assert (end.usage.prompt_tokens, end.usage.completion_tokens) == (9, 0)
    assert talk.services.llm.calls[0].method == "warm"


FAILURES = [
    (WorkerDied("ended with signal 9", ("secret words of a caller",)), "worker_failed", True),
    (WorkerUnavailable("it is starting"), "llm_unavailable", True),
    (CallTimedOut("generate", 60), "timeout", True),
    (CallFailed("PromptTooLong", "no prompt fits"), "prompt_too_long", False),
    (CallFailed("KeyError", "bad"), "internal_error", False),
    (RuntimeError("a bug"), "internal_error", None),
]


@pytest.mark.parametrize(("error", "code", "retryable"), FAILURES, ids=lambda value: str(value)[:30])
async def test_a_failing_worker_ends_the_request_in_one_error_and_the_next_is_served(talk, error, code, retryable):
    talk.services.llm.error = error
    talk.send(type="llm_request", request_id="a", messages=HELLO, stream=True)
    end = await talk.client.end_of("a")
    assert (end.code, end.retryable) == (code, retryable)
    assert "secret words" not in end.message
    talk.services.llm.error = None
    talk.send(type="llm_request", request_id="b", messages=HELLO)
    assert (await talk.client.end_of("b")).type == "done"
    assert len(talk.client.ends("a")) == 1


async def test_a_full_queue_says_so_with_figures():
    talk = Talk(max_waiting=1)
    talk.services.tts.held = True
    for name in "abc":
        talk.send(type="tts_request", request_id=name, text="Hi.", stream=True)
    end = await talk.client.end_of("c")
    assert (end.code, end.at_capacity, end.active, end.max, end.available) == ("server_at_capacity", True, 2, 2, 0)
    await talk.session.close()


# --- speech to text


async def test_an_utterance_is_decoded_as_it_stands_and_then_as_it_ends(talk):
    talk.send(type="stt_start", stream_id=1, encoding="mulaw", sample_rate_hz=8000)
    started = talk.client.sent[-1]
    assert (started.stream_id, started.stt_backend, started.needs_gating) == (1, "faster_whisper", True)
    talk.audio(1, b"abc", b"de")
    talk.send(type="stt_finalize", stream_id=1, request_id="a", speculative=True)
    await talk.client.end_of("a")
    talk.session.receive(pack_frame(1, 2, b"f"))
    talk.send(type="stt_finalize", stream_id=1, request_id="b")
    await talk.client.end_of("b")
    first, last = talk.client.of("stt_result")
    assert (first.text, first.is_final, first.request_id) == ("5 bytes", False, "a")
    assert (last.text, last.is_final, last.request_id) == ("6 bytes", True, "b")
    assert {first.stt_backend, last.stt_backend} == {"faster_whisper"}
    assert talk.services.stt.calls[0].args == {"encoding": "mulaw", "sample_rate_hz": 8000, "language": None}
    assert not talk.client.of("error")


async def test_the_same_audio_is_decoded_once(talk):
    talk.services.stt.held = True
    talk.send(type="stt_start", stream_id=1)
    talk.audio(1, b"ab")
    talk.send(type="stt_finalize", stream_id=1, request_id="a", speculative=True)
    await settle()
    talk.send(type="stt_finalize", stream_id=1, request_id="b")
    await settle()
    talk.services.stt.calls[0].release()
    await talk.client.end_of("a")
    await talk.client.end_of("b")
    assert len(talk.services.stt.calls) == 1
    assert [m.is_final for m in talk.client.of("stt_result")] == [False, True]


async def test_a_cancelled_speculation_does_not_take_the_real_decode_with_it(talk):
    talk.services.stt.held = True
    talk.send(type="stt_start", stream_id=1)
    talk.audio(1, b"ab")
    talk.send(type="stt_finalize", stream_id=1, request_id="a", speculative=True)
    await settle()
    talk.send(type="stt_finalize", stream_id=1, request_id="b")
    await settle()
    talk.send(type="cancel", request_id="a")
    talk.services.stt.calls[0].release()
    assert (await talk.client.end_of("b")).cancelled is None


async def test_a_decode_that_nobody_waits_for_is_cancelled_and_can_be_asked_for_again(talk):
    talk.services.stt.held = True
    talk.send(type="stt_start", stream_id=1)
    talk.audio(1, b"ab")
    talk.send(type="stt_finalize", stream_id=1, request_id="a", speculative=True)
    await settle()
    talk.send(type="cancel", request_id="a")
    await settle()
    assert talk.services.stt.calls[0].cancelled
    talk.services.stt.held = False
    talk.send(type="stt_finalize", stream_id=1, request_id="b")
    assert (await talk.client.end_of("b")).cancelled is None


async def test_a_dropped_stream_ends_its_requests_and_swallows_its_late_audio(talk):
    talk.services.stt.held = True
    talk.send(type="stt_start", stream_id=1)
    talk.audio(1, b"ab")
    talk.send(type="stt_finalize", stream_id=1, request_id="a", speculative=True)
    await settle()
    talk.send(type="stt_drop", stream_id=1)
    assert [m.cancelled for m in talk.client.ends("a")] == [True]
    talk.session.receive(pack_frame(1, 1, b"late"))
    await settle()
    assert not talk.client.of("error")


async def test_audio_for_an_unknown_stream_is_named_once_not_once_a_frame(talk):
    talk.audio(7, *[b"x"] * 50)
    (error,) = talk.client.of("error")
    assert (error.code, error.stream_id) == ("unknown_stream", 7)


async def test_a_stream_number_is_used_once(talk):
    talk.send(type="stt_start", stream_id=1)
    talk.send(type="stt_drop", stream_id=1)
    talk.send(type="stt_start", stream_id=1)
    assert talk.client.sent[-1].code == "invalid_message"


async def test_a_gap_in_the_sequence_is_told_once(talk):
    talk.send(type="stt_start", stream_id=1)
    for sequence in (0, 2, 5):
        talk.session.receive(pack_frame(1, sequence, b"x"))
    (error,) = talk.client.of("error")
    assert "1 was due" in error.message


async def test_an_endless_utterance_is_kept_to_its_limit():
    services, client = FakeServices(), ListClient()
    session = make_session(services, client, LOCAL_MAX_UTTERANCE="0.01")
    session.receive('{"type": "auth", "protocol_version": 3}')
    session.receive('{"type": "stt_start", "stream_id": 1, "encoding": "mulaw", "sample_rate_hz": 8000}')
    for sequence in range(3):
        session.receive(pack_frame(1, sequence, b"x" * 50))
    session.receive('{"type": "stt_finalize", "stream_id": 1, "request_id": "a"}')
    await client.end_of("a")
    assert client.of("stt_result")[0].text == "80 bytes"
    assert [m.code for m in client.of("error")] == ["message_too_large"]
    await session.close()


async def test_without_stt_the_result_says_so_and_still_names_the_backend():
    talk = Talk(without=("stt",))
    talk.send(type="stt_start", stream_id=1)
    talk.send(type="stt_finalize", stream_id=1, request_id="a")
    end = await talk.client.end_of("a")
    (result,) = talk.client.of("stt_result")
    assert (result.error, result.stt_backend, result.is_final) == ("stt_unavailable", "faster_whisper", True)
    assert end.code == "stt_unavailable"
    await talk.session.close()


# --- text to speech


async def test_speech_streams_in_numbered_frames_under_an_announced_stream(talk):
    talk.send(type="tts_request", request_id="a", text="One. Two.", stream=True, encoding="alaw", sample_rate_hz=8000)
    end = await talk.client.end_of("a")
    (start,) = talk.client.of("tts_start")
    assert (start.encoding, start.sample_rate_hz) == ("alaw", 8000)
    frames = [parse_frame(data) for data in talk.client.audio()]
    assert frames == [(start.stream_id, 0, b"One"), (start.stream_id, 1, b"Two")]
    assert end.audio_ms == pytest.approx(6 / 8, abs=0.06)


async def test_each_speech_has_a_stream_number_of_its_own(talk):
    for name in "ab":
        talk.send(type="tts_request", request_id=name, text="Hi.", stream=True)
        await talk.client.end_of(name)
    first, second = talk.client.of("tts_start")
    assert first.stream_id != second.stream_id


async def test_text_may_arrive_in_pieces(talk):
    talk.send(type="tts_request", request_id="a", text="", stream=True, incremental=True)
    talk.send(type="tts_append", request_id="a", text="One.")
    await talk.client.until(talk.client.audio)
    talk.send(type="tts_append", request_id="a", text="Two.")
    talk.send(type="tts_flush", request_id="a")
    await talk.client.end_of("a")
    assert [parse_frame(data).audio for data in talk.client.audio()] == [b"One", b"Two"]
    talk.send(type="tts_append", request_id="a", text="Three.")
    assert talk.client.sent[-1].code == "unknown_request"


@pytest.mark.parametrize("how", ["cancel", "replaces"])
async def test_an_id_that_was_cancelled_is_whole_again_at_once(talk, how):
    talk.send(type="tts_request", request_id="d", text="", incremental=True, stream=True)
    await settle()
    if how == "cancel":
        talk.send(type="cancel", request_id="d")
    talk.send(type="tts_request", request_id="d", text="", incremental=True, stream=True, replaces="d")
    await settle()
    talk.send(type="tts_append", request_id="d", text="Hello.")
    talk.send(type="tts_flush", request_id="d")
    await talk.client.until(lambda: len(talk.client.ends("d")) == 2)
    assert [end.cancelled for end in talk.client.ends("d")] == [True, None]
    assert len(talk.client.audio()) == 1


async def test_a_finalize_under_a_used_id_goes_with_its_stream(talk):
    talk.services.stt.held = True
    talk.send(type="stt_start", stream_id=1)
    talk.audio(1, b"\0\0")
    for _ in range(2):
        talk.send(type="stt_finalize", request_id="a", stream_id=1, speculative=True, replaces="a")
    await settle()
    talk.send(type="stt_drop", stream_id=1)
    assert [end.cancelled for end in talk.client.ends("a")] == [True, True]


async def test_one_session_has_a_limited_number_of_requests_in_flight(talk):
    for number in range(MAX_IN_FLIGHT + 1):
        talk.send(type="tts_request", request_id=f"t{number}", incremental=True, stream=True)
    refused = await talk.client.end_of(f"t{MAX_IN_FLIGHT}")
    assert (refused.code, refused.max, refused.retryable) == ("server_at_capacity", MAX_IN_FLIGHT, True)
    assert talk.client.of("done", "error") == [refused]
    talk.send(type="cancel", request_id="t0")
    await settle()
    talk.send(type="tts_request", request_id="again", text="Hello.", stream=True)
    assert (await talk.client.end_of("again")).type == "done"


async def test_an_unknown_voice_is_refused_with_those_there_are(talk):
    talk.send(type="tts_request", request_id="a", text="Hi.", stream=True, voice="ann")
    end = await talk.client.end_of("a")
    assert "joe" in end.message


async def test_nothing_to_say_is_done_at_once(talk):
    talk.send(type="tts_request", request_id="a", text=" ", stream=True)
    assert (await talk.client.end_of("a")).audio_ms == 0
    assert not talk.services.tts.calls


# --- order of work


async def test_final_work_goes_before_speculation_and_an_adopted_one_is_final(talk):
    talk.services.tts.held = True
    talk.send(type="tts_request", request_id="running", text="Hi.", stream=True)
    talk.send(type="tts_request", request_id="guess", text="Guess.", stream=True, speculative=True)
    talk.send(type="tts_request", request_id="adopted", text="Adopted.", stream=True, speculative=True)
    talk.send(type="tts_request", request_id="final", text="Final.", stream=True)
    await settle()
    talk.send(type="adopt", request_id="adopted")
    for _ in range(4):
        await settle()
        talk.services.tts.calls[-1].release()
    await talk.client.end_of("guess")
    assert [call.args["text"] for call in talk.services.tts.calls] == ["Hi.", "Adopted.", "Final.", "Guess."]


async def test_two_sessions_share_a_backend_in_turn():
    services = FakeServices()
    clients = [ListClient(), ListClient()]
    sessions = [make_session(services, client) for client in clients]
    for session in sessions:
        session.receive('{"type": "auth", "protocol_version": 3}')
        session.receive('{"type": "tts_request", "request_id": "a", "text": "Hi.", "stream": true}')
    for client in clients:
        assert (await client.end_of("a")).type == "done"
    await asyncio.gather(*(session.close() for session in sessions))


async def test_one_callers_guesses_wait_for_the_other_callers_turn():
    services = FakeServices()
    services.tts.held = True
    clients = {name: ListClient() for name in ("guesser", "other")}
    sessions = {name: make_session(services, client) for name, client in clients.items()}

    def ask(name, request_id, **more):
        request = {"type": "tts_request", "request_id": request_id, "text": f"{request_id}.", "stream": True}
        sessions[name].receive(json.dumps(request | more))

    for session in sessions.values():
        session.receive('{"type": "auth", "protocol_version": 3}')
    for number in range(3):
        ask("guesser", f"Guess {number}", speculative=True)
    await settle()
    ask("other", "Turn")
    await settle()
    sessions["guesser"].receive('{"type": "cancel", "request_id": "Guess 0"}')  # its caller goes on
    for _ in range(3):
        await settle()
        services.tts.calls[-1].release()
    await clients["guesser"].end_of("Guess 2")
    assert not (await clients["other"].end_of("Turn")).cancelled
    assert [call.args["text"] for call in services.tts.calls] == ["Guess 0.", "Turn.", "Guess 1.", "Guess 2."]
    await asyncio.gather(*(session.close() for session in sessions.values()))


async def test_a_client_that_leaves_takes_its_work_with_it():
    talk = Talk()
    talk.services.llm.held = talk.services.tts.held = True
    talk.send(type="llm_request", request_id="a", messages=HELLO)
    talk.send(type="tts_request", request_id="b", text="Hi.", stream=True)
    await settle()
    calls = talk.services.llm.calls + talk.services.tts.calls
    talk.services.llm.held = False
    await talk.session.close()
    assert all(call.cancelled for call in calls)
    assert talk.services.switchboard.service("tts").running == 0


# --- whatever happens, one end


WORDS = ("llm", "guess", "tts", "piecewise", "flush", "stt", "peek", "drop", "warm", "release", "cancel", "cancel_all")
MISHAPS = ("adopt", "break", "mend", "turn")
STEPS = st.lists(st.sampled_from(WORDS + MISHAPS), max_size=30)


@settings(deadline=None)
@given(STEPS)
def test_every_request_ends_exactly_once_however_things_interleave(steps):
    asyncio.run(_every_request_ends_once(steps))


async def _every_request_ends_once(steps):
    talk = Talk(max_waiting=3)
    links = (talk.services.stt, talk.services.llm, talk.services.tts)
    for link in links:
        link.held = True
    asked = []

    def new(**fields):
        asked.append(f"r{len(asked)}")
        talk.send(request_id=asked[-1], **fields)

    stream_id = 0
    for step in steps:
        match step:
            case "llm":
                new(type="llm_request", messages=HELLO, stream=True)
            case "guess":
                new(type="llm_request", messages=HELLO, stream=True, speculative=True)
            case "tts":
                new(type="tts_request", text="One. Two.", stream=True)
            case "piecewise":
                new(type="tts_request", text="One.", stream=True, incremental=True)
            case "flush" if asked:
                talk.send(type="tts_flush", request_id=asked[-1])
            case "stt" | "peek":
                stream_id += 1
                talk.send(type="stt_start", stream_id=stream_id)
                talk.audio(stream_id, b"ab")
                new(type="stt_finalize", stream_id=stream_id, speculative=step == "peek")
            case "drop":
                talk.send(type="stt_drop", stream_id=stream_id)
            case "warm":
                new(type="warm", messages=HELLO)
            case "release":
                for link in links:
                    for call in link.calls:
                        call.release(1)
            case "cancel" if asked:
                talk.send(type="cancel", request_id=asked[len(asked) // 2])
            case "adopt" if asked:
                talk.send(type="adopt", request_id=asked[-1])
            case "cancel_all":
                talk.session.receive("__CANCEL__")
            case "break":
                talk.services.llm.error = WorkerDied("gone")
            case "mend":
                talk.services.llm.error = None
            case "turn":
                await settle(3)
    for link in links:
        link.held = False
    for request_id in asked:
        talk.send(type="tts_flush", request_id=request_id)
    for _ in range(20):
        for link in links:
            for call in link.calls:
                call.release()
        await settle(10)
    stray = [m for m in talk.client.of("error") if m.code in ("unknown_request", "unknown_stream")]
    for request_id in asked:
        ends = [m for m in talk.client.ends(request_id) if m not in stray]
        assert len(ends) == 1, (request_id, ends)
        at = talk.client.sent.index(ends[0])
        assert not any(
            getattr(m, "request_id", None) == request_id and m not in stray for m in talk.client.sent[at + 1 :]
        )
    for service in talk.services.switchboard.services:
        assert (service.running, service.waiting) == (0, 0)
    await talk.session.close()
