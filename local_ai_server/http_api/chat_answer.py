"""One chat completion at work: what the language model said, and what that cost."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from local_ai_server.errors import ServeError
from local_ai_server.http_api.chat_asked import Asked
from local_ai_server.metrics import ServerMetrics
from local_ai_server.running_call import Answers
from local_ai_server.service import Place, Service
from local_ai_server.tool_calls import choose
from model_worker.spec import Priority
from voice_wire.messages import LlmToolRequest


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call that the model wants."""

    name: str
    arguments: str
    """JSON of an object."""
    id: str = field(default_factory=lambda: f"call_{uuid.uuid4().hex[:24]}")


class Answer:
    """One answer. What stands in it is complete once `pieces` has ended."""

    def __init__(self, asked: Asked, *, llm: Service, metrics: ServerMetrics, in_conversation: bool) -> None:
        """`in_conversation`: the request names one; it goes as an answer in a call does, others give way to those."""
        self.finish_reason = "stop"
        self.dropped_messages = 0
        self.cut = False
        self._asked = asked
        self._llm = _Metered(llm)
        self._decider = _Metered(llm.deciding, account=self._llm)
        self._place = Place(Priority.FINAL if in_conversation else Priority.BATCH)
        self._metrics = metrics
        self._began = time.monotonic()
        self._first = True

    @property
    def usage(self) -> dict[str, Any]:
        """OpenAI's figures, of all that the model was asked for this answer."""
        used = self._llm
        return {
            "prompt_tokens": used.prompt_tokens,
            "completion_tokens": used.completion_tokens,
            "total_tokens": used.prompt_tokens + used.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": used.cached_tokens},
        }

    async def pieces(self, session: str) -> AsyncGenerator[str | ToolCall, None]:
        """Text as it comes, or calls of tools. Raises `ServeError`; leaving it ends the generation."""
        if self._asked.tools is not None:
            calls = await self._calls(self._asked.tools, session)
            if calls:
                self.finish_reason = "tool_calls"
                self._tell_first()
                for call in calls:
                    yield call
                return
        args = {
            "messages": self._asked.messages,
            "session": session,
            "sampling": self._asked.sampling,
            **self._asked.form,
        }
        async with self._llm.call("generate", args, place=self._place) as answers:
            async for header, _ in answers:
                self._tell_first()
                yield header["text"]
            result = answers.result
        self.finish_reason = "length" if result.get("finish_reason") == "length" else "stop"
        self.dropped_messages, self.cut = result.get("dropped_messages", 0), bool(result.get("cut"))

    def ended(self, outcome: str) -> None:
        """Counts the request."""
        self._metrics.request_ended("chat", outcome, time.monotonic() - self._began)

    async def _calls(self, wanted: LlmToolRequest, session: str) -> list[ToolCall]:
        chosen = await choose(
            self._decider,
            messages=self._asked.messages,
            message=wanted,
            session_key=session,
            place=self._place,
            sampling=self._asked.sampling,
        )
        if not chosen.tool_calls and wanted.tool_choice == "required":
            raise ServeError("worker_failed", "llm: it called no tool, and tool_choice demands one", retryable=True)
        calls = chosen.tool_calls[:1] if self._asked.one_call else chosen.tool_calls
        return [ToolCall(call["name"], json.dumps(call["parameters"], ensure_ascii=False)) for call in calls]

    def _tell_first(self) -> None:
        if self._first:
            self._metrics.first_output("llm", time.monotonic() - self._began)
            self._first = False


class _Metered:
    """The language model, and what it was asked so far."""

    def __init__(self, llm: Service, *, account: _Metered | None = None) -> None:
        """`account`: whose figures its own are added to."""
        self._llm = llm
        self._account = account or self
        self.prompt_tokens = 0
        self.cached_tokens = 0
        self.completion_tokens = 0

    @property
    def traits(self) -> Mapping[str, Any]:
        return self._llm.traits

    @asynccontextmanager
    async def call(
        self, method: str, args: Mapping[str, Any], body: bytes = b"", *, place: Place
    ) -> AsyncIterator[Answers]:
        """As `Service.call`."""
        async with self._llm.call(method, args, body, place=place) as answers:
            yield answers
            for name in ("prompt_tokens", "cached_tokens", "completion_tokens"):
                setattr(self._account, name, getattr(self._account, name) + answers.result.get(name, 0))
