"""One backend at work: its worker, the queue of requests in front of it, and where they go when it is retired."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Final, Protocol

from local_ai_server.backends.backend import Backend, Plan
from local_ai_server.backends.options import BackendOptions
from local_ai_server.errors import ServeError
from local_ai_server.request_queue import HeldTooLong, Moved, Place, RequestQueue
from local_ai_server.running_call import Answers, RunningCall
from model_worker.errors import CallFailed, CallTimedOut, WorkerError, WorkerUnavailable
from model_worker.spec import WorkerStats
from voice_wire.messages import ErrorCode

__all__ = ["UNAVAILABLE", "Answers", "Link", "Place", "RunningCall", "Service"]

UNAVAILABLE: Final[Mapping[str, ErrorCode]] = {
    "stt": "stt_unavailable",
    "llm": "llm_unavailable",
    "tts": "tts_unavailable",
}
_HELD_S: Final = 30.0


class Link(Protocol):
    """The parts of `model_worker.WorkerLink` that serve requests."""

    @property
    def state(self) -> str: ...

    @property
    def reason(self) -> str: ...

    def call(
        self, method: str, args: Mapping[str, Any] | None = None, body: bytes = b""
    ) -> AbstractAsyncContextManager[Answers]: ...

    def stats(self) -> WorkerStats: ...

    async def start(self) -> None: ...

    async def stop(self, *, drain_s: float = 5.0) -> int | None: ...


class Service:
    """One engine with one model, behind one queue."""

    def __init__(
        self,
        backend: Backend,
        link: Link,
        *,
        options: BackendOptions,
        plan: Plan,
        max_waiting: int,
        held_s: float = _HELD_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`held_s`: how long a request may wait while the model is being loaded (`hold`)."""
        self.backend = backend
        self.link = link
        self.options = options
        self.plan = plan
        self.successor: Service | None = None
        """What serves instead, once this is retired."""
        self.label: str = backend.kind
        """Of its figures: two services may be of one kind."""
        self.decider: Service | None = None
        """Of an LLM: another one that decides about tools (`tool_model`)."""
        # A long answer may take a minute; of speech all work is short.
        reserved = plan.concurrency // 2 if backend.kind == "llm" else 0
        self.queue = RequestQueue(
            backend.kind, slots=plan.concurrency, max_waiting=max_waiting, held_s=held_s, reserved=reserved
        )
        self.former_voices: frozenset[str] = frozenset()
        """Of TTS: voices of the services before it. Clients that name them have not heard of the switch yet."""
        self.prompts: OrderedDict[str, Any] = OrderedDict()
        """Of an LLM: the last messages of each session that has a place in the prefix cache, the oldest first."""
        self._utterances: set[object] = set()
        self._utterance_ended = asyncio.Event()
        self._clock = clock

    @property
    def model_path(self) -> Path | None:
        """What its model was loaded from."""
        return self.plan.model_path

    @property
    def model_name(self) -> str:
        """The model in a word, for logs and the console."""
        return self.plan.model_path.name if self.plan.model_path else self.backend.name

    @property
    def traits(self) -> Mapping[str, Any]:
        """What is stated of it to clients: `voices`, `context_tokens`."""
        return self.plan.traits

    @property
    def needs_gating(self) -> bool:
        """Caller audio must be withheld while the agent is heard: as this model needs it, else as its engine does."""
        return bool(self.plan.traits.get("needs_gating", self.backend.needs_gating))

    @property
    def ready(self) -> bool:
        return self.link.state == "ready"

    @property
    def deciding(self) -> Service:
        """What decides about tools: the model for that where there is one and it is ready, else this one."""
        return self.decider if self.decider is not None and self.decider.ready else self

    @property
    def waiting(self) -> int:
        return self.queue.waiting

    @property
    def running(self) -> int:
        return self.queue.running

    @asynccontextmanager
    async def call(
        self, method: str, args: Mapping[str, Any], body: bytes = b"", *, place: Place
    ) -> AsyncIterator[RunningCall]:
        """Waits for its turn, then calls the model. Leaving cancels. Raises `ServeError` for all that goes wrong.

        Once this service is retired, its successor serves the call, the parts of an utterance (`stream` in `args`)
        excepted that began here.
        """
        self._remember(method, args)
        utterance = args.get("stream")
        if utterance is not None:
            self._utterances.add(utterance)
        run = RunningCall(self, method, args, body, place, may_move=utterance is None)
        try:
            async with run:
                yield run
        except HeldTooLong:
            kind = self.backend.kind
            message = f"{kind}: another model is being loaded and takes its time; try again shortly"
            raise ServeError(UNAVAILABLE[kind], message, retryable=True) from None
        except WorkerError as error:
            raise _explain(self.backend.kind, error) from error
        finally:
            if method == "drop" or (method == "finish" and not args.get("keep")):
                self._utterances.discard(utterance)
                self._utterance_ended.set()

    @asynccontextmanager
    async def turn(self, place: Place, *, moved: bool, may_move: bool) -> AsyncIterator[None]:
        """The request's time with the model. Raises as `RequestQueue.turn`."""
        began = self._clock()
        try:
            async with self.queue.turn(place, moved=moved, may_move=may_move):
                place.queue_ms += 1000 * (self._clock() - began)
                yield
        except Moved:
            place.queue_ms += 1000 * (self._clock() - began)
            raise

    def retire(self, successor: Service) -> None:
        """What waits, and what comes, goes to `successor`; what runs may end here (`drained`)."""
        self.successor = successor
        self.queue.move_on()

    async def drained(self) -> None:
        """Returns once nothing runs here, and no utterance that a streaming engine hears is open."""
        while True:
            await self.queue.emptied()
            if not self._utterances:
                return
            self._utterance_ended.clear()
            await self._utterance_ended.wait()

    def _remember(self, method: str, args: Mapping[str, Any]) -> None:
        """Its sessions' prompts, so that the next model can have read them before it serves them."""
        session = args.get("session")
        if not session:
            return
        if self.successor is not None:
            self.successor._remember(method, args)
            return
        self.prompts.pop(session, None)
        if method in ("generate", "warm"):
            self.prompts[session] = args["messages"]
            while len(self.prompts) > self.plan.concurrency:
                self.prompts.popitem(last=False)

    def suit(self, args: Mapping[str, Any]) -> Mapping[str, Any]:
        """`args` as this backend can serve them: a voice of the one before it gives way to its own."""
        voices = self.traits.get("voices")
        if "voice" in args and voices and args["voice"] not in voices:
            return {name: value for name, value in args.items() if name != "voice"}
        return args


_REFUSALS: Final[dict[str, tuple[ErrorCode, bool]]] = {
    "PromptTooLong": ("prompt_too_long", False),
    "AudioFormatError": ("invalid_message", False),
    "LlmUnavailable": ("llm_unavailable", True),
    "LlmMisconfigured": ("llm_unavailable", False),
    "LlmBusy": ("server_at_capacity", True),
    "LlmTimeout": ("timeout", True),
    "LlmRefused": ("invalid_message", False),
    "LlamaError": ("worker_failed", True),
    "UnknownLanguage": ("invalid_message", False),
    "TaskNotSupported": ("not_supported", False),
    "UnknownVoice": ("invalid_message", False),
    "SpeechRefused": ("invalid_message", False),
    "TtsUnavailable": ("tts_unavailable", True),
    "TtsMisconfigured": ("tts_unavailable", False),
    "TtsBusy": ("server_at_capacity", True),
    "TtsTimeout": ("timeout", True),
}
"""By the name of what a model raised: the code, and whether another attempt may succeed."""


def _explain(kind: str, error: WorkerError) -> ServeError:
    code: ErrorCode = "worker_failed"
    if isinstance(error, WorkerUnavailable):
        code = UNAVAILABLE[kind]
    elif isinstance(error, CallTimedOut):
        code = "timeout"
    elif isinstance(error, CallFailed):
        code, retryable = _REFUSALS.get(error.kind, ("internal_error", False))
        return ServeError(code, f"{kind}: {error.message}", retryable=retryable)
    # The worker's last words are for the log: they may hold what a caller said.
    return ServeError(code, f"{kind}: {str(error).splitlines()[0]}", retryable=True)
