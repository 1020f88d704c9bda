"""Services whose workers are functions in this process, and a client that is a list.

Stands for `model_worker.link.WorkerLink` as docs in that module describe it: an async context that sends the call,
gives chunks and a result, raises the errors of `model_worker.errors`, and cancels when it is left early.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from local_ai_server.backends.backend import Plan
from local_ai_server.backends.options import BackendOptions
from local_ai_server.backends.registry import backend
from local_ai_server.errors import ServeError
from local_ai_server.metrics import ServerMetrics
from local_ai_server.service import Service
from local_ai_server.session import Session
from local_ai_server.settings import Settings
from local_ai_server.switchboard import Switchboard
from model_worker.spec import WorkerStats

Chunk = tuple[dict[str, Any], bytes]


class FakeCall:
    """One call: `release` lets it give its next chunk; without `held` it gives all at once."""

    def __init__(self, link: "FakeLink", method: str, args: dict[str, Any], body: bytes) -> None:
        self.method, self.args, self.body = method, args, body
        self.result: dict[str, Any] = {}
        self.cancelled = False
        self._link = link
        self._gate = asyncio.Semaphore(0 if link.held else 10_000)
        self._chunks: list[Chunk] = []

    def release(self, n: int = 10_000) -> None:
        for _ in range(n):
            self._gate.release()

    async def __aenter__(self) -> "FakeCall":
        if self._link.error is not None:
            raise self._link.error
        self._chunks, self.result = self._link.answer(self.method, self.args, self.body)
        self._link.calls.append(self)
        return self

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        self.cancelled = kind is not None

    async def __aiter__(self) -> AsyncIterator[Chunk]:
        for chunk in self._chunks:
            await self._gate.acquire()
            if self._link.error is not None:
                raise self._link.error
            yield chunk
        await self._gate.acquire()
        if self._link.error is not None:
            raise self._link.error

    async def finish(self) -> Chunk:
        bodies = [body async for _, body in self]
        return self.result, b"".join(bodies)


class FakeLink:
    def __init__(self, answer: Callable[[str, dict[str, Any], bytes], tuple[list[Chunk], dict[str, Any]]]) -> None:
        self.answer = answer
        self.calls: list[FakeCall] = []
        self.held = False
        self.error: Exception | None = None
        self.state = "ready"
        self.reason = ""
        self.rss = 1

    def call(self, method: str, args: Mapping[str, Any] | None = None, body: bytes = b"") -> FakeCall:
        return FakeCall(self, method, dict(args or {}), body)

    def stats(self) -> WorkerStats:
        return WorkerStats(
            state="ready",
            pid=None,
            rss_bytes=self.rss,
            calls_started=len(self.calls),
            calls_in_flight=0,
            queue_depth=0,
            restarts=0,
        )

    async def start(self) -> None: ...

    async def stop(self, *, drain_s: float = 5.0) -> int | None:
        return 0


def transcribes(method: str, args: dict[str, Any], body: bytes) -> tuple[list[Chunk], dict[str, Any]]:
    return [], {"text": f"{len(body)} bytes", "confidence": 0.9, "no_speech_probability": 0.01, "audio_ms": 1.0}


def generates(method: str, args: dict[str, Any], body: bytes) -> tuple[list[Chunk], dict[str, Any]]:
    if method == "generate":
        words = f"You said {args['messages'][-1]['content']}.".split(" ")
        chunks = [({"text": word if i == 0 else f" {word}"}, b"") for i, word in enumerate(words)]
        return chunks, {
            "finish_reason": "stop",
            "prompt_tokens": 9,
            "cached_tokens": 7,
            "completion_tokens": len(words),
        }
    return [], {"prompt_tokens": 9, "cached_tokens": 0, "completion_tokens": 0}


def speaks(method: str, args: dict[str, Any], body: bytes) -> tuple[list[Chunk], dict[str, Any]]:
    sentences = [s for s in args["text"].split(".") if s.strip()]
    return [({"audio_ms": 20.0}, s.strip().encode()) for s in sentences], {"audio_ms": 20.0 * len(sentences)}


class FakeServices:
    """A switchboard over three fake workers."""

    def __init__(self, *, max_waiting: int = 4, without: tuple[str, ...] = ()) -> None:
        self.stt, self.llm, self.tts = FakeLink(transcribes), FakeLink(generates), FakeLink(speaks)
        services, absent = {}, {}
        for kind, name, link, slots, traits in (
            ("stt", "faster_whisper", self.stt, 1, {}),
            ("llm", "llama_cpp", self.llm, 2, {"context_tokens": 768}),
            ("tts", "piper", self.tts, 1, {"voices": ["joe"]}),
        ):
            if kind in without:
                absent[kind] = ServeError(f"{kind}_unavailable", f"no {kind} here", retryable=False)  # type: ignore[arg-type]
            else:
                plan = Plan(load={}, model_path=Path("m"), concurrency=slots, traits=traits)
                services[kind] = Service(
                    backend(kind, name), link, options=BackendOptions(), plan=plan, max_waiting=max_waiting
                )
        self.switchboard = Switchboard(services, absent=absent)


class ListClient:
    """Keeps what was sent, and lets a test wait for it."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.closed: tuple[int, str] | None = None
        self._news = asyncio.Event()

    def send(self, message: Any) -> None:
        self.sent.append(message)
        self._news.set()

    def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)

    def of(self, *types: str) -> list[Any]:
        return [m for m in self.sent if not isinstance(m, bytes) and m.type in types]

    def audio(self) -> list[bytes]:
        return [m for m in self.sent if isinstance(m, bytes)]

    def ends(self, request_id: str) -> list[Any]:
        return [m for m in self.of("done", "error") if m.request_id == request_id]

    async def until(self, met: Callable[[], Any], *, within_s: float = 2.0) -> Any:
        async with asyncio.timeout(within_s):
            while not (found := met()):
                self._news.clear()
                await self._news.wait()
        return found

    async def end_of(self, request_id: str) -> Any:
        return (await self.until(lambda: self.ends(request_id)))[0]


def make_session(services: FakeServices, client: ListClient, **settings: Any) -> Session:
    return Session(
        settings=Settings.model_validate(settings),
        switchboard=services.switchboard,
        metrics=ServerMetrics(services.switchboard),
        client=client,
    )


async def settle(turns: int = 20) -> None:
    """Lets every task that can run do so."""
    for _ in range(turns):
        await asyncio.sleep(0)


Step = Callable[[], Awaitable[None]]
