"""The server's own routes for speech over a real socket: recordings to text, texts to speech."""

import asyncio
import io
import socket
import wave
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
from chat_server import serving
from sound_samples import RATE_HZ, compressed, pcm16, silence, speech_wav, tone, wav

from local_ai_server.request_queue import Place
from model_worker.errors import CallFailed, WorkerDied
from model_worker.spec import Priority
from tests.local_ai_server.fake_services import FakeServices


@pytest.fixture
def services():
    return FakeServices()


@asynccontextmanager
async def asking(services, **variables):
    async with (
        serving(services.switchboard, **variables) as url,
        httpx.AsyncClient(base_url=url.removesuffix("/v1"), timeout=60, trust_env=False) as http,
    ):
        yield http


def form(data, **fields):
    return {"files": {"file": ("../../etc/passwd", data)}, "data": fields}


def heard(**more):
    """A model that tells how much it was given."""

    def transcribe(method, args, body):
        return [], {"text": f"{len(body) // 32} ms", "language": "en", **more}

    return transcribe


async def until(met):
    async with asyncio.timeout(20):
        while not met():
            await asyncio.sleep(0.01)


async def test_a_recording_is_transcribed(services):
    services.stt.answer = heard(confidence=0.9)
    async with asking(services) as http:
        answer = await http.post("/transcribe", **form(speech_wav(2), language="en-GB", include_segments="true"))
    body = answer.json()
    assert body.pop("processing_time") >= 0
    segments = [{"start": 0.0, "end": 2.0, "text": "2000 ms"}]
    assert body == {"text": "2000 ms", "language": "en", "duration": 2.0, "segments": segments}
    (call,) = services.stt.calls
    assert (call.method, call.args) == (
        "transcribe",
        {"encoding": "linear16", "sample_rate_hz": RATE_HZ, "language": "en"},
    )


async def test_segments_are_told_when_asked_for(services):
    async with asking(services) as http:
        assert "segments" not in (await http.post("/transcribe", **form(speech_wav()))).json()


async def test_silence_says_nothing_and_costs_nothing(services):
    async with asking(services) as http:
        body = (await http.post("/transcribe", **form(wav(pcm16(silence(40)))))).json()
    assert (body["text"], body["duration"], services.stt.calls) == ("", 40.0, [])


@pytest.mark.parametrize("seconds", [5, 39])
async def test_calls_go_before_a_recording_that_waits(services, seconds):
    services.stt.answer = heard()
    services.stt.held = True
    service = services.switchboard.service("stt")

    async def call(who):
        async with service.call("transcribe", {"who": who}, b"", place=Place(Priority.FINAL)) as answers:
            await answers.finish()

    async with asking(services) as http:
        first = asyncio.create_task(call("first"))
        await until(lambda: service.running == 1)
        recording = asyncio.create_task(http.post("/transcribe", **form(speech_wav(seconds))))
        await until(lambda: service.waiting == 1)
        second = asyncio.create_task(call("second"))
        await until(lambda: service.waiting == 2)
        services.stt.held = False
        services.stt.calls[0].release()
        await asyncio.gather(first, second)
        assert (await recording).status_code == 200
    assert [call.args.get("who") for call in services.stt.calls[:3]] == ["first", "second", None]


async def test_a_long_recording_goes_in_pieces(services):
    services.stt.answer = heard()
    samples = np.concatenate([part for _ in range(6) for part in (tone(6), silence(0.5))])
    async with asking(services) as http:
        body = (await http.post("/transcribe", **form(wav(pcm16(samples)), include_segments="1"))).json()
    spans = [(segment["start"], segment["end"]) for segment in body["segments"]]
    assert len(spans) == 3
    for begin, end in spans:  # they begin and end with a tone, at its true time
        assert begin % 6.5 == pytest.approx(0, abs=0.03)
        assert end % 6.5 == pytest.approx(6, abs=0.03)
    assert body["text"].count("ms") == 3


async def test_other_forms_than_wav(services):
    async with asking(services) as http:
        data = compressed(tone(1, 48_000), "mp3", "libmp3lame")
        assert (await http.post("/transcribe", **form(data))).json()["duration"] == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    ("fields", "status", "code", "message"),
    [
        ({"task": "translate"}, 400, "not_supported", "does not translate"),
        ({"task": "sing"}, 400, "invalid_message", "task: Input should be 'transcribe' or 'translate'"),
        ({"language": "de"}, 400, "not_supported", "understands en only"),
        ({"language": "English, please"}, 400, "invalid_message", "ISO 639-1"),
        ({"include_segments": "perhaps"}, 400, "invalid_message", "include_segments"),
        ({"langauge": "en"}, 400, "invalid_message", "langauge: Extra inputs"),
        ({f"x{n}": "1" for n in range(50)}, 400, "invalid_message", "Too many fields"),
        ({"language": "x" * 20_000}, 400, "invalid_message", "exceeded maximum size"),
    ],
)
async def test_what_is_wrong_with_a_request_is_said(services, monkeypatch, fields, status, code, message):
    services.stt.answer = heard()
    if fields == {"task": "translate"}:
        service = services.switchboard.service("stt")
        services.stt.error = CallFailed("TaskNotSupported", "this model does not translate")
        assert service.backend.translates
    async with asking(services) as http:
        answer = await http.post("/transcribe", **form(speech_wav(), **fields))
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert message in answer.json()["error"]["message"]


async def test_a_body_that_is_no_form_says_what_would_be(services):
    async with asking(services) as http:
        for content, kind in ((speech_wav(), "audio/wav"), (b"--x", "multipart/form-data; boundary=x"), (b"", "")):
            answer = await http.post("/transcribe", content=content, headers={"Content-Type": kind})
            assert answer.status_code == 400, kind
        two = [("file", ("a", b"1")), ("file", ("b", b"2"))]
        assert "Too many files" in (await http.post("/transcribe", files=two)).json()["error"]["message"]


async def test_a_model_that_knows_no_such_language_is_no_failure_of_the_server(services):
    services.stt.error = CallFailed("UnknownLanguage", "Whisper knows no language 'xx'")
    async with asking(services) as http:
        answer = await http.post("/transcribe", **form(speech_wav(), language="xx"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_message")


async def test_too_long_and_too_many(services):
    services.stt.held = True
    async with asking(services, LOCAL_HTTP_MAX_AUDIO="1") as http:
        assert (await http.post("/transcribe", **form(speech_wav(2)))).status_code == 413
        waiting = [asyncio.create_task(http.post("/transcribe", **form(speech_wav()))) for _ in range(5)]
        service = services.switchboard.service("stt")
        await until(lambda: service.running + service.waiting == 5)
        answer = await http.post("/transcribe", **form(speech_wav()))
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "server_at_capacity")
        assert int(answer.headers["retry-after"]) >= 1
        services.stt.held = False
        services.stt.calls[0].release()
        assert {(await one).status_code for one in waiting} == {200}


async def test_a_worker_that_dies_is_asked_again(services):
    async with asking(services) as http:
        services.stt.error = WorkerDied("it crashed", ("the caller said Ann",))
        answer = await http.post("/transcribe", **form(speech_wav()))
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "worker_failed")
    assert "Ann" not in answer.text


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_who_leaves_ends_the_work_and_every_file_is_given_back(services):
    async with asking(services) as http:
        await http.post("/transcribe", **form(speech_wav()))
        before = open_files()
        services.stt.held = True
        data = wav(pcm16(np.concatenate([tone(100)])))  # larger than what is kept in memory
        leaving = asyncio.create_task(http.post("/transcribe", **form(data)))
        await until(lambda: len(services.stt.calls) == 2)
        assert open_files() > before
        leaving.cancel()
        await until(lambda: services.stt.calls[1].cancelled)
        await until(lambda: open_files() <= before)
        metrics = (await http.get("/metrics")).text
    assert 'local_ai_requests_total{operation="http_stt",outcome="done"} 1.0' in metrics
    assert 'operation="http_stt",outcome="cancelled"} 1.0' in metrics


async def test_what_was_said_is_in_no_log(services, caplog, capfd):
    services.stt.answer = lambda method, args, body: ([], {"text": "my name is Ann"})
    async with asking(services) as http:
        await http.post("/transcribe", **form(speech_wav()))
        await http.post("/synthesize", json={"text": "Dear Ann.", "voice": "nobody"})
    out, err = capfd.readouterr()
    assert "Ann" not in caplog.text + out + err


async def test_an_address_inside_is_refused_without_asking_it(services):
    async with asking(services) as http:
        url = f"{http.base_url}/metrics"
        answer = await http.post("/transcribe/url", json={"url": url})
        assert answer.status_code == 400
        assert "nothing could be fetched" in answer.json()["error"]["message"]
        answer = await http.post("/transcribe/url", json={"url": "file:///etc/passwd"})
        assert answer.json()["error"]["message"] == "url: write it as https://host/path"


async def test_an_address_that_is_allowed_is_transcribed(services):
    async def give(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + speech_wav(2))
        await writer.drain()
        writer.close()

    async with (
        await asyncio.start_server(give, "127.0.0.1") as server,
        asking(services, LOCAL_HTTP_FETCH_ALLOW=" 10.9.0.0/16, 127.0.0.1 ") as http,
    ):
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/call.wav"
        answer = await http.post("/transcribe/url", json={"url": url, "include_segments": True})
    assert (answer.json()["duration"], len(answer.json()["segments"])) == (2.0, 1)


# --- speech


def says(method, args, body):
    """A voice that says each word as 100 ms of tone."""
    chunk = np.frombuffer(pcm16(tone(0.1, args["sample_rate_hz"])), "<i2").tobytes()
    return [({"audio_ms": 100.0}, chunk) for _ in args["text"].split()], {}


async def test_speech_as_wav(services):
    services.tts.answer = says
    async with asking(services) as http:
        answer = await http.post(
            "/synthesize", json={"text": "Two words. And three more.", "voice": "joe", "speed": 1.5}
        )
    assert answer.headers["content-type"] == "audio/wav"
    with wave.open(io.BytesIO(answer.content)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (24_000, 1, 2)
        assert len(file.readframes(10**6)) == 5 * 2400 * 2
    assert [call.args["text"] for call in services.tts.calls] == ["Two words.", "And three more."]
    assert services.tts.calls[0].args == {
        "text": "Two words.",
        "encoding": "linear16",
        "sample_rate_hz": 24_000,
        "voice": "joe",
        "speed": 1.5,
    }


@pytest.mark.parametrize(
    ("asked", "encoding", "rate_hz", "kind"),
    [
        ({"format": "pcm", "sample_rate": 16000}, "linear16", 16_000, "audio/pcm;rate=16000"),
        ({"format": "mulaw"}, "mulaw", 8000, "audio/PCMU;rate=8000"),
        ({"format": "alaw"}, "alaw", 8000, "audio/PCMA;rate=8000"),
    ],
)
async def test_raw_speech(services, asked, encoding, rate_hz, kind):
    async with asking(services) as http:
        answer = await http.post("/synthesize", json={"text": "One. Two.", **asked})
    assert (answer.headers["content-type"], answer.content) == (kind, b"OneTwo")
    assert (services.tts.calls[0].args["encoding"], services.tts.calls[0].args["sample_rate_hz"]) == (encoding, rate_hz)


async def test_the_first_phrase_is_sent_before_the_second_is_made_and_leaving_ends_it(services):
    services.tts.held = True
    async with asking(services) as http:
        request = http.stream("POST", "/synthesize", json={"text": "One. Two. Three.", "format": "pcm"})
        entering = asyncio.create_task(request.__aenter__())
        await until(lambda: services.tts.calls)
        services.tts.calls[0].release(1)
        response = await entering
        pieces = response.aiter_raw()
        assert await anext(pieces) == b"One"
        await request.__aexit__(None, None, None)
        await until(lambda: services.tts.calls[0].cancelled)
        await until(lambda: services.switchboard.service("tts").running == 0)
    assert len(services.tts.calls) == 1


async def test_a_client_that_reads_nothing_does_not_keep_the_voice_from_others(services):
    services.tts.answer = lambda method, args, body: ([({}, bytes(200_000))] * 100, {})
    async with asking(services) as http:
        where = (http.base_url.host, http.base_url.port)
        asked = b'{"text": "Hello."}'
        head = "POST /synthesize HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        head += f"Content-Length: {len(asked)}\r\n\r\n"
        deaf = socket.socket()
        with deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.connect(where)
            deaf.sendall(head.encode() + asked)
            await until(lambda: services.tts.calls)
            async with asyncio.timeout(20):
                answer = await http.post("/synthesize", json={"text": "Hello.", "format": "pcm"})
    assert len(answer.content) == 20_000_000


async def test_who_leaves_before_the_first_sound_ends_the_work_too(services):
    services.tts.held = True
    async with asking(services) as http:
        leaving = asyncio.create_task(http.post("/synthesize", json={"text": "One."}))
        await until(lambda: services.tts.calls)
        leaving.cancel()
        await until(lambda: services.tts.calls[0].cancelled)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"text": "Hi.", "voice": "ann"}, "there is no voice 'ann' here; there are: joe"),
        ({"text": "Hi.", "speed": 9}, "speed: Input should be less than or equal to 2"),
        ({"text": "Hi.", "sample_rate": 12345}, "sample rate 12345 is not one of"),
        ({"text": "Hi.", "format": "opus", "sample_rate": 44100}, "opus has 8000"),
        ({"text": "Hi.", "format": "midi"}, "format: Input should be"),
        ({"text": " "}, "nothing to say"),
        ({"text": "x" * 20_001}, "at most 20000 characters"),
        ({}, "text: Field required"),
    ],
)
async def test_what_cannot_be_said_says_why(services, asked, message):
    async with asking(services) as http:
        answer = await http.post("/synthesize", json=asked)
    assert answer.status_code == 400
    assert message in answer.json()["error"]["message"]


async def test_without_models_it_is_503(services):
    absent = FakeServices(without=("stt", "tts"))
    async with asking(absent) as http:
        for answer in (
            await http.post("/transcribe", **form(speech_wav())),
            await http.post("/synthesize", json={"text": "Hi."}),
        ):
            assert answer.status_code == 503


async def test_a_token_is_asked_for(services):
    async with asking(services, LOCAL_WS_AUTH_TOKEN="word") as http:
        for path in ("/transcribe", "/transcribe/url", "/synthesize", "/v1/audio/speech", "/v1/audio/transcriptions"):
            assert (await http.post(path)).status_code == 401
            assert (await http.post(path, headers={"X-API-Key": "word"})).status_code == 400
