"""A version-2 client's words as they are spoken, by an engine that streams."""

from __future__ import annotations

import numpy as np
import pytest
from fake_services import FakeLink, FakeServices, ListClient, make_session

from local_ai_server.backends.backend import Plan
from local_ai_server.backends.options import BackendOptions
from local_ai_server.backends.registry import backend
from local_ai_server.service import Service
from model_worker.errors import CallFailed

RATE = 16_000
SECOND = 2 * RATE


class Engine:
    """A word a half second; keeps what each stream was sent."""

    def __init__(self) -> None:
        self.streams: dict[str, bytearray] = {}
        self.finished: list[bytes] = []
        self.dropped: list[str] = []
        self.link = FakeLink(self.answer)

    def answer(self, method, args, body):
        if method == "transcribe":
            self.finished.append(body)
            return [], {"text": f"whole {len(body)}"}
        key = args["stream"]
        if method == "drop":
            self.streams.pop(key, None)
            self.dropped.append(key)
            return [], {}
        if key not in self.streams and args["position"]:
            raise CallFailed("StreamLost", "not known here")
        heard = self.streams.setdefault(key, bytearray())
        heard += body[len(heard) - args["position"] :]
        if method == "finish" and not args["keep"]:
            self.finished.append(bytes(self.streams.pop(key)))
        return [], {"text": " ".join(["word"] * (2 * len(heard) // SECOND)), "position": len(heard), "confidence": 0.8}


@pytest.fixture
def engine() -> Engine:
    return Engine()


async def talking(engine: Engine, name: str = "vosk"):
    services, client = FakeServices(), ListClient()
    plan = Plan(load={}, concurrency=2)
    services.switchboard._services["stt"] = Service(
        backend("stt", name), engine.link, options=BackendOptions(), plan=plan, max_waiting=8
    )
    session = make_session(services, client)
    session.receive('{"type": "set_mode", "mode": "stt", "call_id": "c", "segment_silence_ms": 200}')
    return session, client


def voiced(seconds: float) -> bytes:
    n = round(RATE * seconds)
    return (8000 * np.sin(np.arange(n) * 0.1)).astype("<i2").tobytes()


def finals(client: ListClient) -> list:
    return [m for m in client.of("stt_result") if m.is_final]


async def speak(session, audio: bytes, piece_s: float = 0.1) -> None:
    step = 2 * round(RATE * piece_s)
    for at in range(0, len(audio), step):
        session.receive(audio[at : at + step])


async def test_words_are_told_as_they_are_spoken_and_the_end_has_all_of_it(engine):
    session, client = await talking(engine)
    said = voiced(1.6)
    for at in range(0, len(said), 6400):
        session.receive(said[at : at + 6400])
        await client.until(lambda: True)
    partials = await client.until(lambda: [m for m in client.of("stt_result") if m.is_partial])
    assert partials[0].stt_backend == "vosk"
    assert partials[0].call_id == "c"
    assert not partials[0].is_final
    await speak(session, bytes(SECOND))
    (final,) = await client.until(lambda: finals(client))
    assert final.text == "word word word"
    assert final.confidence == 0.8
    assert not final.is_partial
    assert engine.finished[0].startswith(said[:1000]), "from its first sample on"
    assert said in engine.finished[0]
    after = client.of("stt_result")[client.of("stt_result").index(final) + 1 :]
    assert not after, "nothing follows the end"
    await session.close()
    assert not engine.streams


async def test_each_utterance_has_a_stream_of_its_own(engine):
    session, client = await talking(engine)
    first, second = voiced(0.7), voiced(1.2)
    await speak(session, first + bytes(SECOND // 2))
    await client.until(lambda: len(finals(client)) == 1)
    await speak(session, second + bytes(SECOND // 2))
    await client.until(lambda: len(finals(client)) == 2)
    assert first in engine.finished[0]
    assert second in engine.finished[1]
    assert second not in engine.finished[0]
    assert not engine.streams
    await session.close()


async def test_two_utterances_in_one_message_are_both_transcribed(engine):
    session, client = await talking(engine)
    session.receive(voiced(0.5) + bytes(SECOND // 2) + voiced(0.8) + bytes(SECOND // 2))
    await client.until(lambda: len(finals(client)) == 2)
    assert len(engine.finished) == 2
    await session.close()


async def test_a_client_that_leaves_or_begins_anew_mid_word_leaves_no_stream(engine):
    session, client = await talking(engine)
    await speak(session, voiced(0.8))
    await client.until(lambda: engine.streams)
    session.receive('{"type": "set_mode", "mode": "stt"}')
    await client.until(lambda: engine.dropped)
    await speak(session, voiced(0.8))
    await client.until(lambda: engine.streams)
    await session.close()
    assert not engine.streams


async def test_an_engine_that_does_not_stream_gets_whole_utterances(engine):
    session, client = await talking(engine, "faster_whisper")
    await speak(session, voiced(0.8) + bytes(SECOND // 2))
    (final,) = await client.until(lambda: finals(client))
    assert final.text.startswith("whole")
    assert [m for m in client.of("stt_result") if m.is_partial] == []
    await session.close()
