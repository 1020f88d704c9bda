"""What Kokoro's ONNX mode says is what a listener understands: the embedded Whisper, at telephone quality."""

import dataclasses
import difflib
import re
import threading
from pathlib import Path

import pytest
import pytest_asyncio
from voices_under_test import installed, spec_of, spoken, working

from local_ai_server.backends.backend import Machine
from local_ai_server.backends.stt import faster_whisper
from local_ai_server.backends.tts import kokoro
from local_ai_server.backends.tts.kokoro_model import KokoroModel

pytestmark = [pytest.mark.models, pytest.mark.asyncio(loop_scope="module")]

SENTENCES = (
    "Hello, how can I help you today?",
    "I will be glad to take a message for you, if you like.",
    "There is free parking behind the building, near the garden.",
    "Please choose between a morning and an evening visit.",
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def voice():
    backend = installed(kokoro.BACKEND)
    async with working(spec_of(backend, backend.plan(kokoro.Options(mode="onnx"), Machine()))) as link:
        yield link


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ear():
    backend = installed(faster_whisper.BACKEND)
    async with working(spec_of(backend, backend.plan(faster_whisper.Options(), Machine()))) as link:
        yield link


def words(text):
    return re.sub(r"[^a-z' ]", " ", text.lower()).split()


@pytest.mark.parametrize("name", ["af_heart", "bm_george"])
async def test_its_words_are_understood(voice, ear, name):
    said, heard = [], []
    for sentence in SENTENCES:
        audio = b"".join(audio for _, audio in (await spoken(voice, sentence, voice=name))[0])
        answer, _ = await ear.request("transcribe", {"encoding": "mulaw", "sample_rate_hz": 8000}, audio)
        said += words(sentence)
        heard += words(answer["text"])
    matching = sum(
        block.size for block in difflib.SequenceMatcher(None, said, heard, autojunk=False).get_matching_blocks()
    )
    assert matching >= 0.9 * len(said), " ".join(heard)


async def test_phrases_follow_each_other_in_order(voice, ear):
    chunks, _ = await spoken(voice, "Good morning. Thank you for calling. Our office is closed on Sunday.")
    assert len(chunks) == 3
    audio = b"".join(audio for _, audio in chunks)
    answer, _ = await ear.request("transcribe", {"encoding": "mulaw", "sample_rate_hz": 8000}, audio)
    heard = words(answer["text"])
    assert [word for word in heard if word in ("morning", "calling", "closed")] == ["morning", "calling", "closed"]


async def test_a_long_phrase_that_nobody_wants_any_more_is_broken_off_in_the_network():
    backend = installed(kokoro.BACKEND)
    plan = backend.plan(kokoro.Options(mode="onnx"), Machine())
    here = {"PYTHONPATH": str(Path(__file__).parent)}
    spec = dataclasses.replace(spec_of(backend, plan, **here), model=f"{__name__}:Watched")
    async with working(spec) as link:
        assert (await link.request("break_off"))[0] == {"whole": True, "broken_off": True}


class Watched(KokoroModel):
    """In the worker: looks at what the network gives where its caller waits, and where he does not."""

    def break_off(self, body, cancelled):
        engine = self._engine
        style = engine._style("af_heart")
        cancelled_before = threading.Event()
        cancelled_before.set()
        whole = engine._synthesise([0, *[43, 16] * 10, 0], style, 1.0, threading.Event())
        broken = engine._synthesise([0, *[43, 16] * 250, 0], style, 1.0, cancelled_before)
        return {"whole": whole.size > 0, "broken_off": broken is None}, b""
