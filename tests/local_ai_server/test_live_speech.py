"""Utterances that a streaming engine hears as they arrive: over a worker in memory that follows `StreamingModel`."""

import asyncio
import json

import pytest
from fake_services import FakeLink, FakeServices, ListClient, make_session, settle
from hypothesis import given, settings
from hypothesis import strategies as st

from local_ai_server import speech_requests
from local_ai_server.backends.backend import Plan
from local_ai_server.backends.options import BackendOptions
from local_ai_server.backends.registry import backend
from local_ai_server.live_speech import BATCH_MS
from local_ai_server.service import Service
from model_worker.errors import CallFailed, WorkerDied, WorkerUnavailable
from voice_wire.messages import pack_frame

BATCH = 8 * BATCH_MS
"""Bytes of mu-law that are handed over at once."""
WORD = 4 * BATCH


class Engine:
    """A word for every `WORD` bytes; remembers its streams until it dies."""

    def __init__(self, name="w"):
        self.name = name
        self.streams = {}
        self.dies_over = None
        self.link = FakeLink(self.answer)

    def answer(self, method, args, body):
        if method == self.dies_over:
            self.dies_over = None
            self.die()
            raise WorkerDied("ended with signal 9")
        if method == "transcribe":
            return [], self.result(body)
        key = args["stream"]
        if method == "drop":
            self.streams.pop(key, None)
            return [], {}
        heard = self.streams.get(key)
        if heard is None:
            if args["position"]:
                raise CallFailed("StreamLost", "not known here")
            heard = self.streams[key] = bytearray()
        assert args["position"] <= len(heard), "no gaps"
        heard += body[len(heard) - args["position"] :]
        result = self.result(heard)
        if method == "finish" and not args["keep"]:
            del self.streams[key]
        return [], result

    def result(self, heard):
        assert bytes(heard) == sound(len(heard)), "all of it, in order"
        text = " ".join([self.name] * (len(heard) // WORD))
        return {"text": text, "position": len(heard), "confidence": 0.5, "audio_ms": 1.0}

    def die(self):
        self.streams.clear()

    def methods(self):
        return [call.method for call in self.link.calls]


def sound(n, at=0):
    return bytes((at + i) % 251 for i in range(n))


def service_of(engine, name="vosk", *, slots=2, **traits):
    plan = Plan(load={}, concurrency=slots, traits=traits)
    return Service(backend("stt", name), engine.link, options=BackendOptions(), plan=plan, max_waiting=8)


class Talk:
    """A version-3 session whose speech-to-text streams."""

    def __init__(self, *, slots=2, **traits):
        self.engine = Engine()
        self.services = FakeServices()
        self.board = self.services.switchboard
        self.board.assign("stt", service_of(self.engine, slots=slots, **traits))
        self.client = ListClient()
        self.session = make_session(self.services, self.client)
        self.sent = {}
        self.sequence = {}
        self.send(type="auth", protocol_version=3)

    def send(self, **fields):
        self.session.receive(json.dumps(fields))

    def start(self, stream_id=1, *, partials=True):
        self.send(type="stt_start", stream_id=stream_id, encoding="mulaw", sample_rate_hz=8000, partials=partials)
        self.sent[stream_id] = self.sequence[stream_id] = 0
        return self.client.of("stt_started")[-1]

    def say(self, n_bytes, stream_id=1, piece=160):
        for at in range(self.sent[stream_id], self.sent[stream_id] + n_bytes, piece):
            n = min(piece, self.sent[stream_id] + n_bytes - at)
            self.session.receive(pack_frame(stream_id, self.sequence[stream_id], sound(n, at)))
            self.sequence[stream_id] += 1
        self.sent[stream_id] += n_bytes

    async def ask(self, request_id, *, speculative=False, stream_id=1):
        self.send(type="stt_finalize", stream_id=stream_id, request_id=request_id, speculative=speculative)
        end = await self.client.end_of(request_id)
        assert end.type == "done", end
        return next(m for m in self.client.of("stt_result") if m.request_id == request_id)

    def partials(self):
        return [m.text for m in self.client.of("stt_result") if m.is_partial]

    async def heard(self, n_bytes):
        await self.client.until(lambda: any(len(s) >= n_bytes for s in self.engine.streams.values()))


@pytest.fixture
async def talk():
    talk = Talk()
    yield talk
    await talk.session.close()
    assert not talk.engine.streams, "nothing is left in the worker"
    assert not talk.board.service("stt")._utterances


async def fed(talk, n_bytes):
    """Until the worker has heard that much."""
    async with asyncio.timeout(3):
        while not any(len(heard) >= n_bytes for heard in talk.engine.streams.values()):
            await asyncio.sleep(0)


async def test_audio_is_heard_as_it_comes_and_its_words_are_told_once(talk):
    started = talk.start()
    assert (started.stt_backend, started.needs_gating, started.partials) == ("vosk", False, True)
    for words in range(1, 4):
        for _ in range(4):
            talk.say(BATCH)
            await fed(talk, talk.sent[1])
        await settle()
        assert talk.partials() == ["w", "w w", "w w w"][:words]
    partial = talk.client.of("stt_result")[0]
    assert (partial.is_final, partial.stream_id, partial.request_id, partial.stt_backend) == (False, 1, None, "vosk")
    final = await talk.ask("a")
    assert (final.text, final.is_final, final.is_partial, final.confidence) == ("w w w", True, False, 0.5)
    assert talk.engine.methods()[-1] == "finish"
    assert talk.engine.link.calls[-1].body == b"", "it had heard all"


async def test_pieces_are_batched_and_the_rest_comes_with_the_end(talk):
    talk.start()
    talk.say(BATCH - 160)
    await settle()
    assert not talk.engine.link.calls
    talk.say(160 + 80)
    await fed(talk, BATCH)
    await settle()
    assert talk.engine.methods() == ["feed"]
    await talk.ask("a")
    assert [len(call.body) for call in talk.engine.link.calls] == [BATCH + 80, 0]


async def test_one_piece_is_in_flight_at_a_time_and_the_end_waits_for_it(talk):
    talk.engine.link.held = True
    talk.start()
    talk.say(3 * BATCH)
    await settle()
    talk.say(WORD)
    asking = asyncio.create_task(talk.ask("a"))
    await settle()
    assert talk.engine.methods() == ["feed"]
    talk.engine.link.held = False
    talk.engine.link.calls[0].release()
    assert (await asking).text == "w"
    assert talk.engine.methods() == ["feed", "finish"]


async def test_what_a_guess_has_told_is_not_told_again(talk):
    talk.start()
    talk.say(WORD)
    await talk.ask("a", speculative=True)
    told = talk.partials()
    talk.say(2 * BATCH)
    await fed(talk, WORD + 2 * BATCH)
    await settle()
    assert talk.partials() == told


async def test_who_is_waited_for_goes_before_those_who_only_speak():
    talk = Talk(slots=1)
    talk.engine.link.held = True
    for stream_id in (1, 2, 3):
        talk.start(stream_id)
        talk.say(BATCH, stream_id)
        await settle()
    asking = asyncio.create_task(talk.ask("a", stream_id=3))
    await settle()
    talk.engine.link.held = False
    talk.engine.link.calls[0].release()
    await asking
    await settle()
    calls = [(call.method, call.args["stream"]) for call in talk.engine.link.calls if call.method != "drop"]
    third = next(stream for method, stream in calls if method == "finish")
    assert calls[1] == ("feed", third), "though the second came before it"
    assert len({stream for _, stream in calls}) == 3, "who has his turn after it"
    await talk.session.close()


async def test_partials_are_sent_only_to_who_asked_and_not_after_the_end(talk):
    assert talk.start(1, partials=False).partials is False
    talk.say(WORD)
    await fed(talk, WORD)
    await settle()
    assert not talk.partials()
    talk.start(2)
    talk.engine.link.held = True
    talk.say(WORD, 2)
    await settle()
    talk.send(type="stt_finalize", stream_id=2, request_id="b")
    await settle()
    talk.engine.link.held = False
    for call in talk.engine.link.calls:
        call.release()
    await talk.client.end_of("b")
    assert not talk.partials()


async def test_a_guess_leaves_the_stream_open_and_the_real_one_takes_it_over(talk):
    talk.start()
    talk.say(WORD + 80)
    guess = await talk.ask("a", speculative=True)
    assert (guess.text, guess.is_final) == ("w", False)
    talk.say(WORD)
    assert (await talk.ask("b", speculative=True)).text == "w w"
    finishes = talk.engine.methods().count("finish")
    assert (await talk.ask("c")).text == "w w", "the same audio"
    assert talk.engine.methods().count("finish") == finishes
    await settle()
    assert talk.engine.methods()[-1] == "drop"


async def test_a_cancelled_guess_costs_nothing(talk):
    talk.engine.link.held = True
    talk.start()
    talk.say(80)
    talk.send(type="stt_finalize", stream_id=1, request_id="a", speculative=True)
    await settle()
    talk.send(type="cancel", request_id="a")
    await settle()
    assert talk.engine.link.calls[0].cancelled
    talk.engine.link.held = False
    talk.say(WORD)
    assert (await talk.ask("b")).text == "w", "though the worker had more than was known"


async def test_a_dropped_stream_is_dropped_in_the_worker(talk):
    talk.start()
    talk.say(BATCH)
    await fed(talk, BATCH)
    talk.send(type="stt_drop", stream_id=1)
    await settle()
    assert talk.engine.methods()[-1] == "drop"
    assert not talk.engine.streams


async def test_a_worker_that_was_restarted_hears_all_of_it_again(talk):
    talk.start()
    talk.say(WORD)
    await fed(talk, WORD)
    talk.engine.die()
    talk.say(WORD)
    await fed(talk, 2 * WORD)
    assert (await talk.ask("a")).text == "w w"
    talk.start(2)
    talk.say(WORD, 2)
    await fed(talk, WORD)
    talk.engine.die()
    assert (await talk.ask("b", stream_id=2)).text == "w"


@pytest.mark.parametrize("speculative", [False, True])
async def test_a_worker_that_dies_over_the_end_loses_nothing(talk, speculative):
    talk.start()
    talk.say(WORD)
    await fed(talk, WORD)
    talk.engine.dies_over = "finish"
    assert (await talk.ask("a", speculative=speculative)).text == "w"
    assert [len(call.body) for call in talk.engine.link.calls if call.method == "finish"] == [WORD], "all of it again"


async def test_a_worker_that_dies_over_a_whole_utterance_decodes_it_again():
    talk = Talk(streams=False)
    talk.start()
    talk.say(WORD)
    talk.engine.dies_over = "transcribe"
    assert (await talk.ask("a")).text == "w"
    await talk.session.close()


async def test_an_utterance_stays_with_the_engine_that_it_began_on_until_it_ends(talk):
    old, new = talk.board.service("stt"), Engine("new")
    talk.start()
    talk.say(WORD)
    await fed(talk, WORD)
    old.retire(service_of(new, "sherpa"))
    talk.board.assign("stt", old.successor)
    drained = asyncio.create_task(old.drained())
    talk.start(2)
    talk.say(WORD, 2)
    talk.say(WORD)
    first = await talk.ask("a")
    assert (first.text, first.stt_backend) == ("w w", "vosk")
    second = await talk.ask("b", stream_id=2)
    assert (second.text, second.stt_backend) == ("new", "sherpa")
    await asyncio.wait_for(drained, 2)


@pytest.mark.parametrize(("name", "heard"), [("sherpa", "new new"), ("faster_whisper", "new new")])
async def test_an_engine_that_is_stopped_hands_its_utterances_to_the_next(talk, name, heard):
    new = Engine("new")
    talk.start()
    talk.say(WORD)
    await fed(talk, WORD)
    talk.engine.link.error = WorkerUnavailable("it was stopped")
    talk.board.assign("stt", service_of(new, name))
    talk.say(WORD)
    result = await talk.ask("a")
    assert (result.text, result.stt_backend) == (heard, name)
    assert not new.streams
    talk.engine.die()


async def test_a_model_that_does_not_stream_is_given_whole_utterances():
    talk = Talk(streams=False, needs_gating=True)
    started = talk.start()
    assert (started.needs_gating, started.partials) == (True, False)
    talk.say(WORD)
    await settle()
    assert (await talk.ask("a")).text == "w"
    assert talk.engine.methods() == ["transcribe"]
    await talk.session.close()


async def test_a_full_queue_delays_the_words_and_loses_none(talk):
    service = talk.board.service("stt")
    service.queue.hold()
    talk.start()
    for stream_id in range(2, 11):
        talk.start(stream_id)
    for stream_id in range(1, 11):
        talk.say(WORD, stream_id)
    await settle()
    assert not talk.engine.link.calls
    service.queue.open()
    await settle()
    assert [(await talk.ask(f"r{n}", stream_id=n)).text for n in range(1, 11)] == ["w"] * 10


async def test_all_utterances_of_a_session_share_one_budget(monkeypatch):
    monkeypatch.setattr(speech_requests, "_MAX_SESSION_AUDIO_BYTES", 1000)
    services, client = FakeServices(), ListClient()
    session = make_session(services, client, LOCAL_MAX_UTTERANCE="0.01")
    session.receive('{"type": "auth", "protocol_version": 3}')

    def begin(stream_id):
        session.receive(f'{{"type": "stt_start", "stream_id": {stream_id}, "sample_rate_hz": 48000}}')
        session.receive(pack_frame(stream_id, 0, b"x" * 900))

    begin(1)
    begin(2)
    assert [m.stream_id for m in client.of("error")] == [2]
    session.receive('{"type": "stt_finalize", "stream_id": 2, "request_id": "a"}')
    await client.end_of("a")
    session.receive('{"type": "stt_drop", "stream_id": 1}')
    begin(3)
    assert len(client.of("error")) == 1
    session.receive('{"type": "stt_finalize", "stream_id": 3, "request_id": "b"}')
    await client.end_of("b")
    assert [m.text for m in client.of("stt_result")] == ["100 bytes", "900 bytes"]
    await session.close()


STEPS = st.lists(
    st.sampled_from(
        ("say", "say a word", "guess", "cancel", "die", "break", "mend", "hold", "go on", "turn", "switch")
    ),
    max_size=25,
)


@settings(deadline=None, max_examples=60)
@given(STEPS)
def test_whatever_happens_the_end_has_all_words(steps):
    asyncio.run(_the_end_has_all_words(steps))


async def _the_end_has_all_words(steps):
    talk = Talk()
    engines = [talk.engine]
    talk.start()
    guesses = 0
    for step in steps:
        engine = engines[-1]
        match step:
            case "say":
                talk.say(100)
            case "say a word":
                talk.say(WORD)
            case "guess":
                guesses += 1
                talk.send(type="stt_finalize", stream_id=1, request_id=f"g{guesses}", speculative=True)
            case "cancel":
                talk.send(type="cancel", request_id=f"g{guesses}")
            case "die":
                engine.die()
            case "break":
                engine.link.error = WorkerDied("gone")
                engine.die()
            case "mend":
                engine.link.error = None
            case "hold":
                engine.link.held = True
            case "go on":
                engine.link.held = False
                for call in engine.link.calls:
                    call.release()
            case "turn":
                await settle(5)
            case "switch":
                engines.append(Engine())
                old = talk.board.service("stt")
                old.retire(service_of(engines[-1], "sherpa"))
                talk.board.assign("stt", old.successor)
    for engine in engines:
        engine.link.error, engine.link.held = None, False
        for call in engine.link.calls:
            call.release()
    final = await talk.ask("end")
    assert final.text == " ".join(["w"] * (talk.sent[1] // WORD))
    for number in range(1, guesses + 1):
        await talk.client.end_of(f"g{number}")
        assert len(talk.client.ends(f"g{number}")) == 1
    await talk.session.close()
    assert not any(engine.streams for engine in engines)
