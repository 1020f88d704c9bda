"""Text-to-speech backends for tests: each in a worker process of its own, planned as the server plans it."""

import json
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from local_ai_server.backends.backend import BackendUnusable, Machine
from local_ai_server.catalog import find_model
from model_worker.link import WorkerLink
from model_worker.spec import WorkerSpec
from voice_wire.audio import decode

STAND_INS = Path(__file__).parent / "stand_ins"


def installed(backend):
    """Skips where the weights or the engine are not here, with the reason."""
    if reason := backend.missing():
        pytest.skip(reason)
    try:
        find_model(backend.default_model)
    except (FileNotFoundError, LookupError) as error:
        pytest.skip(str(error))
    return backend


def torch_folder(folder):
    """What `kokoro` loads, by its names; the stand-in does not look inside."""
    for name in ("config.json", "kokoro-v1_0.pth", "voices/ef_dora.pt", "voices/em_alex.pt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
    return folder


def melo_folder(folder):
    folder.mkdir(parents=True, exist_ok=True)
    fields = {"data": {"sampling_rate": 44_100, "spk2id": {"EN-US": 0, "EN-BR": 1, "EN_INDIA": 2}}}
    (folder / "config.json").write_text(json.dumps(fields))
    (folder / "checkpoint.pth").write_text("")
    return folder


def spec_of(backend, plan, **env):
    return WorkerSpec(
        model=backend.model,
        settings=plan.load,
        env={**plan.env, **env},
        threads=plan.threads,
        concurrency=plan.concurrency,
        canary=backend.canary,
        canary_deadline_s=90,
        load_deadline_s=90,
        call_deadline_s=90,
    )


def plan_on_stand_ins(backend, options, monkeypatch):
    """The plan made where the stand-in modules can be found, and the worker's environment with them."""
    monkeypatch.syspath_prepend(str(STAND_INS))
    return backend.plan(options, Machine()), {"PYTHONPATH": str(STAND_INS)}


@asynccontextmanager
async def working(spec):
    link = WorkerLink(spec)
    await link.start()
    try:
        yield link
    finally:
        await link.stop(drain_s=0)


async def spoken(link, text, **args):
    """(chunks, what the call returned)."""
    chunks = []
    async with link.call("speak", {"text": text, **args}) as answers:
        async for header, audio in answers:
            chunks.append((header, audio))
        result, _ = await answers.finish()
    return chunks, result


async def samples(link, text, **args):
    """All of it in 16 kHz, [-1, 1]."""
    chunks, _ = await spoken(link, text, encoding="linear16", sample_rate_hz=16_000, **args)
    return decode(b"".join(audio for _, audio in chunks), "linear16").astype(np.float32) / 32768


def unusable(backend, options):
    with pytest.raises(BackendUnusable) as refused:
        backend.plan(options, Machine())
    return str(refused.value)
