"""Kokoro's API mode against a server that fails in all the ways servers do."""

import asyncio
import json
import threading
import time

import numpy as np
import pytest
from voices_under_test import samples, spec_of, spoken, unusable, working

from local_ai_server.backends.backend import Machine
from local_ai_server.backends.tts import kokoro
from local_ai_server.backends.tts.errors import TtsBusy, TtsMisconfigured, TtsTimeout, TtsUnavailable
from local_ai_server.backends.tts.kokoro_http import KokoroHttp
from model_worker.model import Cancelled
from tests.speech_stand_in import DROP, HANG, SpeechStandIn, tone, wav
from voice_wire.audio import decode

KEY = "sk-very-secret-8812"


@pytest.fixture
def server():
    stand_in = SpeechStandIn()
    yield stand_in
    stand_in.stop()


@pytest.fixture
def load():
    """Loads the model in this process; it is unloaded at the end."""
    loaded = []

    def loading(server, **settings):
        model = KokoroHttp()
        model.load(**{"base_url": server.url, "voice": "af_heart", "silence_s": 20.0, **settings})
        loaded.append(model)
        return model

    yield loading
    for model in loaded:
        model.unload()


def speak(model, text="Hello there.", cancelled=None, **args):
    args = {"encoding": "linear16", "sample_rate_hz": 24_000, **args}
    chunks = [audio for _, audio in model.speak(b"", cancelled or Cancelled(), text=text, **args)]
    return decode(b"".join(chunks), "linear16").astype(np.float32) / 32768


class TestWhatIsAskedOfTheServer:
    def test_the_text_the_voice_and_the_speed(self, server, load):
        speak(load(server, model="kokoro-v1", speed=1.2), "**Good** day 😀", voice="bm_george")
        assert server.asked == [
            {
                "model": "kokoro-v1",
                "input": "Good day",
                "voice": "bm_george",
                "speed": 1.2,
                "response_format": "pcm",
                "stream": True,
            }
        ]

    def test_its_voices_are_listed_in_either_form(self, server, load):
        assert list(load(server).voices) == ["af_heart", "bm_george"]
        server.voices = {"voices": ["af_heart", "am_puck"]}
        assert list(load(server).voices) == ["af_heart", "am_puck"]

    def test_a_server_without_a_list_decides_itself(self, server, load):
        server.voices_status = 404
        model = load(server, voice="alloy")
        assert speak(model, voice="nova").size
        assert server.asked[0]["voice"] == "nova"

    def test_the_key_is_sent(self, server, load):
        server.key = KEY
        assert speak(load(server, api_key=KEY)).size


class TestAudio:
    def test_silence_around_the_voice_is_trimmed_and_levelled_after_the_first_text(self, server, load):
        server.script = [tone(1.0, quiet_s=1.0, amplitude=0.02)]
        model = load(server)
        speak(model)
        second = speak(model)
        assert second.size / 24_000 == pytest.approx(1.235, abs=0.02)
        assert np.sqrt(np.mean(second[1000:20_000] ** 2)) == pytest.approx(0.1, rel=0.05)

    @pytest.mark.parametrize("size", [None, 0xFFFFFFFF])
    def test_wav_is_taken_too_its_size_left_open_or_not(self, server, load, size):
        pcm = tone(0.5, rate_hz=16_000)
        server.script, server.content_type = [wav(pcm, rate_hz=16_000, size=size)], "audio/wav"
        assert speak(load(server)).size / 24_000 == pytest.approx(0.735, abs=0.02)

    def test_a_rate_in_the_content_type_counts(self, server, load):
        server.script, server.content_type = [tone(0.5, rate_hz=48_000)], "audio/L16; rate=48000; channels=1"
        assert speak(load(server)).size / 24_000 == pytest.approx(0.735, abs=0.02)

    def test_what_has_come_is_passed_on_while_the_server_still_speaks(self, server, load):
        server.script = [tone(1.0), HANG]
        stream = load(server).speak(b"", Cancelled(), text="One. Two.")
        passed_on_ms = 0.0
        while passed_on_ms < 200:  # in pieces as the socket happened to deliver them
            header, audio = next(stream)
            assert audio
            passed_on_ms += header["audio_ms"]
        stream.close()
        assert server.hung_up.wait(20)

    async def test_several_texts_are_spoken_at_once(self, server):
        server.script = [tone(0.5), HANG]
        plan = kokoro.BACKEND.plan(kokoro.Options(api_base_url=server.url), Machine())
        spec = spec_of(kokoro.BACKEND, plan)
        server.script = None
        async with working(spec) as link:
            server.script = [tone(0.5), HANG]
            async with link.call("speak", {"text": "One."}) as first:
                assert await anext(aiter(first))
                server.script = None
                assert (await samples(link, "Two.")).size


class TestCancel:
    @pytest.mark.parametrize("script", [[HANG], [tone(0.5), HANG]], ids=["before the headers", "mid-stream"])
    def test_a_cancel_hangs_up_at_once_whatever_is_waited_for(self, server, load, script):
        model = load(server, silence_s=600.0)
        server.script = script
        cancelled = Cancelled()
        threading.Timer(0.2, cancelled.set).start()
        speak(model, cancelled=cancelled)
        assert server.hung_up.wait(20)

    async def test_in_the_worker_too(self, server):
        plan = kokoro.BACKEND.plan(kokoro.Options(api_base_url=server.url, api_timeout_s=600), Machine())
        async with working(spec_of(kokoro.BACKEND, plan)) as link:
            server.script = [tone(0.5), HANG]
            async with link.call("speak", {"text": "One."}) as answers:
                await anext(aiter(answers))
            assert await asyncio.to_thread(server.hung_up.wait, 20)
            server.script = None
            assert (await spoken(link, "Two."))[0]


class TestFailures:
    def refused(self, model, kind, match):
        with pytest.raises(kind, match=match) as failed:
            speak(model)
        assert KEY not in str(failed.value)
        assert KEY not in repr(failed.value.__cause__)

    def test_nobody_answers(self, server, load):
        server.stop()
        server.stop = lambda: None
        with pytest.raises(TtsUnavailable, match="start the server there, or correct KOKORO_API_BASE_URL"):
            load(server)

    def test_a_wrong_key_is_said_and_never_shown(self, server, load):
        server.key = "another"
        with pytest.raises(TtsMisconfigured, match="correct KOKORO_API_KEY") as failed:
            load(server, api_key=KEY)
        assert KEY not in str(failed.value)

    def test_a_key_that_the_server_repeats_is_not_repeated(self, server, load):
        model = load(server, api_key=KEY)
        server.script = 500, {}, json.dumps({"detail": f"cannot use {KEY}"}).encode()
        self.refused(model, TtsUnavailable, r"the key")

    def test_a_wrong_address(self, server, load):
        with pytest.raises(TtsMisconfigured, match=r"as in http://127.0.0.1:8880/v1"):
            speak(load(server, base_url=server.url.removesuffix("/v1") + "/v9"))

    def test_something_else_than_a_speech_server(self, server, load):
        server.voices = ["a page"]
        with pytest.raises(TtsMisconfigured, match="something else than a list of voices"):
            load(server)

    def test_a_voice_that_it_does_not_have(self, server, load):
        with pytest.raises(TtsMisconfigured, match=r"set KOKORO_VOICE to one of: af_heart, bm_george"):
            load(server, voice="af_nobody")

    @pytest.mark.parametrize(
        ("status", "kind", "match"),
        [
            (400, "SpeechRefused", "too loud"),
            (401, "TtsMisconfigured", "KOKORO_API_KEY"),
            (404, "TtsMisconfigured", "is not there"),
            (422, "SpeechRefused", "too loud"),
            (429, "TtsBusy", "no room"),
            (500, "TtsUnavailable", "too loud"),
            (503, "TtsUnavailable", "too loud"),
        ],
    )
    def test_each_status_is_an_error_of_its_own(self, server, load, status, kind, match):
        model = load(server)
        server.script = status, {}, json.dumps({"detail": {"error": "x", "message": "too loud"}}).encode()
        with pytest.raises(Exception, match=match) as failed:
            speak(model)
        assert type(failed.value).__name__ == kind

    def test_a_page_where_audio_was_asked_for(self, server, load):
        model = load(server)
        server.script = 200, {"content-type": "text/html; charset=utf-8"}, b"<html>Welcome</html>"
        self.refused(model, TtsMisconfigured, "answered with 'text/html' where audio/pcm was asked for")

    def test_audio_of_another_kind(self, server, load):
        model = load(server)
        server.script = 200, {"content-type": "audio/mpeg"}, b"ID3"
        self.refused(model, TtsMisconfigured, "audio/mpeg")
        server.script = 200, {"content-type": "audio/wav"}, wav(tone(0.1), channels=2)
        self.refused(model, TtsMisconfigured, "16-bit mono PCM is needed")
        server.script = 200, {"content-type": "audio/pcm; rate=11025"}, tone(0.1)
        self.refused(model, TtsMisconfigured, "11025 Hz")

    def test_a_connection_that_breaks_off_after_some_audio(self, server, load):
        model = load(server)
        server.script = [tone(0.5), DROP]
        chunks = []
        with pytest.raises(TtsUnavailable, match="broke off while it spoke"):
            chunks.extend(model.speak(b"", Cancelled(), text="Hello."))
        server.script = None
        assert speak(model).size

    def test_an_answer_that_is_shorter_than_it_says(self, server, load):
        model = load(server)
        server.script = [DROP]
        self.refused(model, TtsUnavailable, "broke off")

    @pytest.mark.parametrize("script", [[HANG], [tone(0.2), HANG]], ids=["headers", "audio"])
    def test_silence_has_a_limit(self, server, load, script):
        model = load(server, silence_s=0.3)
        server.script = script
        began = time.monotonic()
        self.refused(model, TtsTimeout, "KOKORO_API_TIMEOUT")
        assert time.monotonic() - began < 20
        assert server.hung_up.wait(20)

    def test_too_much_to_do_is_told_apart(self, server, load):
        model = load(server)
        server.script = 429, {}, b"slow down"
        self.refused(model, TtsBusy, "slow down")

    def test_a_connection_closed_while_idle_is_opened_anew(self, server, load):
        model = load(server)
        server.script = 200, {"content-type": "audio/pcm", "connection": "close"}, tone(0.3)
        assert speak(model).size
        assert speak(model).size


def test_nothing_is_sent_anywhere_unless_an_address_is_set(monkeypatch):
    monkeypatch.setattr(kokoro, "_installed_onnx", lambda: None)
    options = kokoro.Options(api_key="x")
    assert kokoro.mode_of(options) != "api"
    assert "set KOKORO_API_BASE_URL" in unusable(kokoro.BACKEND, kokoro.Options(mode="api", api_key="x"))


def test_the_key_stands_in_no_text_of_the_options():
    options = kokoro.Options(api_base_url="https://tts.example/v1", api_key=KEY)
    assert KEY not in repr(options)
    assert KEY not in json.dumps(dict(kokoro.BACKEND.plan(options, Machine()).traits))
    with pytest.raises(ValueError, match="leave the key out of the address"):
        kokoro.Options(api_base_url=f"https://me:{KEY}@tts.example/v1")
