"""What the catalogue says of a model's memory holds for its worker, loaded as the server loads it and put to work."""

import asyncio
import struct
import subprocess
import sys

import pytest

from local_ai_server.backends.backend import BackendUnusable, Machine
from local_ai_server.backends.registry import backend
from local_ai_server.catalog import CatalogModel, Kind, ModelMissing, find_model, load_catalog
from model_worker.link import WorkerLink
from model_worker.spec import WorkerSpec

pytestmark = pytest.mark.models

MIB = 1024 * 1024
DEADLINE_S = 100
SPEECH = struct.pack("<160h", *(3000 if i % 40 < 20 else -3000 for i in range(160))) * 500  # 10 s at 8 kHz
TEXT = "We are open from nine to five on weekdays, and on Saturdays from ten to two."
QUESTION = {"role": "user", "content": "When are you open? " * 60}
WORK = {
    "stt": ("transcribe", SPEECH, {"encoding": "linear16", "sample_rate_hz": 8000}),
    "llm": ("generate", b"", {"messages": [QUESTION], "sampling": {"max_tokens": 8}}),
    "tts": ("speak", b"", {"text": TEXT, "encoding": "mulaw", "sample_rate_hz": 8000}),
}
MEASURED = [model for model in load_catalog().models if model.memory_measured]


async def peak_rss_bytes(model: CatalogModel) -> int:
    engine = backend(model.kind, model.backend)
    reason = engine.missing()
    if reason:
        pytest.skip(reason)
    try:
        plan = engine.plan(engine.options(model_path=find_model(model.name)), Machine())
    except (ModelMissing, BackendUnusable) as error:
        pytest.skip(str(error))
    link = WorkerLink(
        WorkerSpec(
            model=engine.model,
            settings=plan.load,
            env=plan.env,
            threads=plan.threads,
            concurrency=plan.concurrency,
            canary=engine.canary,
            load_deadline_s=DEADLINE_S,
            canary_deadline_s=DEADLINE_S,
            call_deadline_s=DEADLINE_S,
        )
    )
    await link.start()
    try:
        await asyncio.gather(*(work(link, model.kind, number) for number in range(plan.concurrency)))
        return link.stats().peak_rss_bytes
    finally:
        await link.stop()


async def work(link: WorkerLink, kind: Kind, number: int) -> None:
    """One call, of a session of its own where there are such."""
    method, body, args = WORK[kind]
    async with link.call(method, args | ({"session": str(number)} if kind == "llm" else {}), body) as stream:
        async for _ in stream:
            pass


@pytest.mark.parametrize("model", [m for m in MEASURED if m.kind != "vad"], ids=lambda model: model.name)
async def test_a_worker_keeps_within_its_stated_memory(model: CatalogModel) -> None:
    peak = await peak_rss_bytes(model)
    sys.stdout.write(f"{model.name}: {peak / MIB:.0f} MiB at most, {model.memory_mib} stated\n")
    assert model.memory_mib / 3 < peak / MIB <= model.memory_mib


def test_every_model_of_a_set_was_measured() -> None:
    catalog = load_catalog()
    assert {m.name for name in catalog.sets for m in catalog.in_set(name)} <= {m.name for m in MEASURED}


VAD = """
import os, sys
import numpy, onnxruntime
from model_worker.memory import peak_rss_bytes
before = peak_rss_bytes(os.getpid())
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
state = numpy.zeros((2, 1, 128), numpy.float32)
for _ in range(50):
    frame = numpy.zeros((1, 320), numpy.float32)
    session.run(None, {"input": frame, "state": state, "sr": numpy.array(8000)})
print((peak_rss_bytes(os.getpid()) - before) / 1024 / 1024)
"""


def test_the_voice_activity_model_adds_no_more_than_stated() -> None:
    try:
        path = find_model("silero_vad")
    except ModelMissing as missing:
        pytest.skip(str(missing))
    added = subprocess.run([sys.executable, "-c", VAD, path], check=True, capture_output=True, text=True).stdout
    assert 0 < float(added) <= load_catalog().model("silero_vad").memory_mib
