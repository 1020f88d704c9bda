"""A streaming engine for real, in its worker process, under a version-3 session.

The model is made for the test (`made_zipformer`): it counts chunks of 160 ms in which it is loud.
"""

import asyncio
import json
import os
import signal

import pytest
from fake_services import FakeServices, ListClient, make_session

from local_ai_server.backends.backend import Machine
from local_ai_server.backends.stt import sherpa
from local_ai_server.service import Service
from model_worker.link import WorkerLink
from model_worker.spec import WorkerSpec
from voice_wire.audio import MULAW_8K, PCM_8K, convert
from voice_wire.messages import pack_frame

pytest.importorskip("onnx", reason="the model of this test is made with onnx: pip install 'parley[dev]'")
pytestmark = pytest.mark.skipif(sherpa.BACKEND.missing() is not None, reason="pip install 'parley[sherpa]'")
from tests.local_ai_server.backends.stt.made_zipformer import loud, make_zipformer, quiet  # noqa: E402

FRAME = 160
DEADLINE_S = 20.0


class Talk:
    def __init__(self, folder):
        options = sherpa.Options(model_path=folder)
        plan = sherpa.plan(options, Machine())
        spec = WorkerSpec(model=sherpa.BACKEND.model, settings=plan.load, canary=sherpa.BACKEND.canary, ready_wait_s=15)
        self.link = WorkerLink(spec)
        services = FakeServices()
        service = Service(sherpa.BACKEND, self.link, options=options, plan=plan, max_waiting=8)
        services.switchboard.assign("stt", service)
        self.client = ListClient()
        self.session = make_session(services, self.client)
        self.sequence = 0

    def send(self, **fields):
        self.session.receive(json.dumps(fields))

    def say(self, mulaw):
        for at in range(0, len(mulaw), FRAME):
            self.session.receive(pack_frame(1, self.sequence, mulaw[at : at + FRAME]))
            self.sequence += 1

    async def until(self, met):
        return await self.client.until(met, within_s=DEADLINE_S)

    def texts(self):
        return [m.text for m in self.client.of("stt_result") if m.is_partial]

    async def ask(self, request_id, *, speculative):
        self.send(type="stt_finalize", stream_id=1, request_id=request_id, speculative=speculative)
        await self.until(lambda: self.client.ends(request_id))
        return next(m for m in self.client.of("stt_result") if m.request_id == request_id)


@pytest.fixture
async def talk(tmp_path):
    talk = Talk(make_zipformer(tmp_path / "model"))
    await talk.link.start()
    talk.send(type="auth", protocol_version=3)
    talk.send(type="stt_start", stream_id=1, encoding="mulaw", sample_rate_hz=8000, partials=True)
    yield talk
    await talk.session.close()
    await talk.link.stop()


def mulaw(pcm):
    return convert(pcm, PCM_8K, MULAW_8K)


async def test_words_come_while_the_caller_speaks(talk):
    assert talk.client.of("stt_started")[0].partials
    talk.say(mulaw(quiet(0.5, 8000) + loud(0.5, 8000)))
    await talk.until(lambda: talk.texts()[-1:] == ["One two three"])
    guess = await talk.ask("a", speculative=True)
    assert (guess.stt_backend, guess.is_final) == ("sherpa", False)
    assert guess.text.startswith("One two three")
    talk.say(mulaw(loud(0.5, 8000)))
    final = await talk.ask("b", speculative=False)
    assert final.is_final
    assert final.text.startswith(f"{guess.text} ")
    assert talk.texts() == sorted(set(talk.texts()), key=len), "each is told once, and each goes on with the one before"


async def test_a_worker_that_is_killed_mid_utterance_costs_no_word(talk):
    speech = mulaw(quiet(0.3, 8000) + loud(0.5, 8000) + quiet(0.3, 8000))
    talk.say(speech)
    await talk.until(lambda: any(text.startswith("One two three") for text in talk.texts()))
    whole = (await talk.ask("a", speculative=True)).text
    os.kill(talk.link.stats().pid, signal.SIGKILL)
    async with asyncio.timeout(DEADLINE_S):
        while talk.link.state == "ready":
            await asyncio.sleep(0.01)
    talk.say(mulaw(quiet(0.2, 8000)))
    final = await talk.ask("b", speculative=False)
    assert final.text == whole
