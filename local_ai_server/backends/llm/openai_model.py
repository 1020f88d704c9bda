"""The worker's side of `openai_compatible`: asks a server over HTTP and reads its stream.

All connections live on one event loop in a thread of its own. There a request that nobody wants any more is a task that
is cancelled, whatever it waits for (a connection, the headers, the next token), and its stream is closed at once.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Coroutine, Generator, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

from local_ai_server.backends.llm.chat_request import SpokenText, Wishes, answer_of, to_be_answered, without_text
from local_ai_server.backends.llm.errors import LlmPromptTooLong, LlmUnavailable
from local_ai_server.prompt_forms import plain
from local_ai_server.prompts import Message, PromptFitter, PromptTooLong
from model_worker.model import Answer, Cancelled
from openai_wire.chat import chat_request, choose_model
from openai_wire.client import OpenAiClient
from openai_wire.setting_names import SettingNames
from openai_wire.stream import Outcome
from openai_wire.vendors import context_of, starts_in_thought, vendor_of

_T = TypeVar("_T")
_DEFAULT_CONTEXT: Final = 4096
_CANCEL_POLL_S: Final = 0.02
"""How late a cancel may be seen; a token is seen at once."""
_CHARACTERS_A_TOKEN: Final = 3.0
"""Fewer than English has (about 4), so that the estimate is on the safe side."""
_TOKENS_A_MESSAGE: Final = 8
_MAX_SESSIONS: Final = 1024
_RETRY_S: Final = 0.5
_NAMES: Final = SettingNames(
    url="LOCAL_LLM_API_BASE_URL",
    key="LOCAL_LLM_API_KEY",
    model="LOCAL_LLM_API_MODEL",
    timeout="LOCAL_LLM_API_TIMEOUT",
    context="LOCAL_LLM_API_CONTEXT",
)


class OpenAiModel:
    """A model on another server."""

    def load(
        self,
        *,
        base_url: str,
        api_key: str | None = None,
        model: str | None = None,
        context_tokens: int | None = None,
        first_token_s: float = 20.0,
        start_wait_s: float = 0.0,
        thinking: bool = False,
    ) -> None:
        """Asks the server for its models. Raises `LlmError` that says what was tried and what mends it."""
        self._url = base_url.rstrip("/")
        self._thinking = thinking
        self._fitters: dict[str, PromptFitter] = {}
        self._fitting = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="http", daemon=True)
        self._thread.start()
        self._client = OpenAiClient(self._url, api_key or "", silence_s=first_token_s, names=_NAMES)
        try:
            listing, headers = self._models(start_wait_s)
            entry = choose_model(listing, model, url=self._url, names=_NAMES)
        except BaseException:
            self.unload()
            raise
        self._vendor = vendor_of(listing, headers)
        self._model = str(entry["id"])
        self._context_tokens = context_tokens or context_of(entry) or _DEFAULT_CONTEXT
        self._starts_in_thought = starts_in_thought(self._model)

    def unload(self) -> None:
        """Closes all connections."""
        if self._loop.is_closed():
            return
        self._wait(self._client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def describe(self, body: bytes, cancelled: Cancelled) -> Answer:
        """What was found: {"model", "vendor", "context_tokens"}."""
        return {"model": self._model, "vendor": self._vendor.name, "context_tokens": self._context_tokens}, b""

    def generate(
        self,
        body: bytes,
        cancelled: Cancelled,
        *,
        messages: list[Message],
        session: str = "",
        sampling: dict[str, Any] | None = None,
        response_format: dict[str, Any] | None = None,
        tools: list[dict[str, Any]] | None = None,
    ) -> Generator[Answer, None, Answer]:
        """As `LlamaCppModel.generate`; cached tokens are told where the server tells them."""
        wishes = Wishes.of(sampling)
        with self._fitting:
            fit = self._fitter(session).fit(plain(messages, "chat"), max_tokens=wishes.max_tokens, count=_estimate)
        request = self._request(fit.messages, wishes, fit.max_tokens)
        if response_format is not None:
            request["response_format"] = _json_format(response_format)
        if tools:
            request["tools"] = tools
        outcome = Outcome()
        spoken = SpokenText(wishes, inside_thoughts=self._starts_in_thought)
        for text in self._stream(request, cancelled, outcome):
            if outcome.thoughts_apart:
                spoken.thoughts_are_apart()
            if piece := spoken.feed(text):
                yield {"text": piece}, b""
        if piece := spoken.rest(complete=outcome.finish_reason != "length"):
            yield {"text": piece}, b""
        return answer_of(outcome, fit)

    def warm(self, body: bytes, cancelled: Cancelled, *, messages: list[Message], session: str = "") -> Answer:
        """Lets the server read the prompt, where it keeps what it read."""
        if not self._vendor.caches_prefix:
            return {"prompt_tokens": _estimate(messages), "cached_tokens": 0, "completion_tokens": 0}, b""
        ready = to_be_answered(messages)
        return without_text(self.generate(body, cancelled, messages=ready, session=session, sampling={"max_tokens": 1}))

    def forget(self, body: bytes, cancelled: Cancelled, *, session: str) -> Answer:
        """The session has ended."""
        with self._fitting:
            self._fitters.pop(session, None)
        return {}, b""

    # --- the request

    def _fitter(self, session: str) -> PromptFitter:
        while len(self._fitters) >= _MAX_SESSIONS:
            self._fitters.pop(next(iter(self._fitters)))
        return self._fitters.setdefault(session, PromptFitter(context_tokens=self._context_tokens))

    def _request(self, messages: Sequence[Message], wishes: Wishes, max_tokens: int) -> dict[str, Any]:
        return chat_request(
            self._vendor,
            self._model,
            messages,
            max_tokens=max_tokens,
            stop=wishes.stop,
            sampling=wishes.overrides,
            thinking=self._thinking,
        )

    def _stream(self, request: dict[str, Any], cancelled: Cancelled, outcome: Outcome) -> Iterator[str]:
        """Pieces of text as they come. However it is left, the connection is free or closed before it returns."""
        pieces: queue.SimpleQueue[str | None] = queue.SimpleQueue()

        async def run() -> None:
            try:
                async for text in self._client.answer(request, outcome):
                    pieces.put(text)
            finally:
                pieces.put(None)

        asking = asyncio.run_coroutine_threadsafe(run(), self._loop)
        try:
            while not cancelled.is_set():
                try:
                    text = pieces.get(timeout=_CANCEL_POLL_S)
                except queue.Empty:
                    continue
                if text is None:
                    asking.result()
                    return
                if text:
                    yield text
        except LlmPromptTooLong as error:
            raise PromptTooLong(str(error)) from None
        finally:
            asking.cancel()

    def _models(self, wait_s: float) -> tuple[Mapping[str, Any], Mapping[str, str]]:
        """What /models answers; a server that is still starting is asked again for `wait_s`."""
        until = time.monotonic() + wait_s
        while True:
            try:
                return self._wait(self._client.models())
            except LlmUnavailable:
                if time.monotonic() >= until:
                    raise
                time.sleep(min(_RETRY_S, max(0.0, until - time.monotonic())))

    def _wait(self, doing: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(doing, self._loop).result()


def _json_format(response_format: Mapping[str, Any]) -> dict[str, Any]:
    if response_format["type"] != "json_schema":
        return {"type": response_format["type"]}
    schema = response_format.get("json_schema") or {}
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def _estimate(messages: Sequence[Message]) -> int:
    """Tokens of a prompt; nobody here knows the model's vocabulary."""
    return sum(int(len(m["content"]) / _CHARACTERS_A_TOKEN) + _TOKENS_A_MESSAGE for m in messages)
