"""A language model behind OpenAI's chat completions: llama-server, vLLM, Ollama, a cloud.

The server is asked once which models it has; its vendor's ways follow from that (`openai_wire.vendors`). A prompt that
does not fit its window loses the older half of the conversation and is asked again. Thoughts of reasoning models are
never part of the answer.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final

import structlog

from ai_engine.providers.components.component import ToolWanted
from ai_engine.providers.components.llm.fitting import until_it_fits
from ai_engine.providers.components.llm.pieces import HttpLanguageModel, component_failed
from ai_engine.providers.components.options import Options, read_options
from ai_engine.providers.components.server_options import ServerOptions
from ai_engine.providers.services import CallScope
from ai_engine.tools.tool import ToolSpec
from openai_wire.chat import chat_request, choose_model, ends_in_a_question
from openai_wire.client import OpenAiClient
from openai_wire.errors import LlmError, LlmMisconfigured, LlmRefused
from openai_wire.stream import Outcome
from openai_wire.thinking import ThinkingFilter
from openai_wire.vendors import REASONING_EFFORTS, Vendor, starts_in_thought, vendor_of
from voice_core.history import Message
from voice_wire.messages import Sampling

log = structlog.get_logger(__name__)

_MAX_TOKENS: Final = 160
"""Of an answer whose sampling names no number: a spoken minute is about 200."""
_UNSUPPORTED: Final = re.compile(r"unsupported (?:value|parameter): '(\w+)'", re.IGNORECASE)
"""How OpenAI says which field a model does not take (reasoning models no temperature), or which value of its effort."""
_NEEDED: Final = {"model", "messages", "stream"}
_PLAIN_OVERRIDES: Final = {"max_tokens", "stop", "sanitize_output"}


class OpenAiOptions(ServerOptions):
    """Where the server is and how it is asked."""

    model: str | None = None
    """As the server names it; may be left out where it has but one."""
    thinking: bool = False
    """Let a reasoning model think before it answers. Its thoughts are never spoken, but the caller waits for them."""


class ModelServer:
    """One server and model, shared by all calls."""

    def __init__(self, options: OpenAiOptions, key: str) -> None:
        self.options = options
        self.vendor: Vendor | None = None
        """None until the server has told."""
        self.model = options.model or ""
        self._names = options.names()
        self.client = OpenAiClient(options.base_url, key, silence_s=options.timeout_s, names=self._names)
        self.not_taken: set[str] = set()
        """Fields that it refused, and that are left out since."""
        self._asking = asyncio.Lock()
        self._failure: LlmError | None = None
        self._failed_at = 0.0

    async def ready(self) -> Vendor:
        """Its vendor, asked for once. Raises `LlmError`: all who waited for one attempt, for that attempt's failure."""
        now = asyncio.get_running_loop().time
        came_at = now()
        async with self._asking:
            if self.vendor is None:
                if self._failure is not None and self._failed_at >= came_at:
                    raise type(self._failure)(str(self._failure))
                try:
                    self.vendor = await self._find()
                except LlmError as error:
                    self._failure, self._failed_at = error, now()
                    raise
            return self.vendor

    async def _find(self) -> Vendor:
        listing, headers = await self.client.models()
        options = self.options
        entry = choose_model(listing, options.model, url=options.base_url, names=self._names, only_one=True)
        self.model = str(entry["id"])
        vendor = vendor_of(listing, headers)
        log.info("language_model_found", model=self.model, vendor=vendor.name, url=options.base_url)
        return vendor

    def forget(self) -> None:
        """It is asked anew who it is: another may have been started at its address."""
        self.vendor = None
        self.not_taken.clear()

    def learned(self, error: LlmError) -> bool:
        """Whether `error` is the refusal of a field that can be left out, and that was not known.

        After one that speaks against the server as such, it is asked anew who it is.
        """
        if isinstance(error, LlmMisconfigured):
            self.forget()
        found = _UNSUPPORTED.search(str(error)) if isinstance(error, LlmRefused) else None
        if found is None:
            return False
        field = "reasoning_effort" if found[1] in REASONING_EFFORTS else found[1]
        if field in _NEEDED | self.not_taken:
            return False
        log.info("field_not_taken", model=self.model, field=field)
        self.not_taken.add(field)
        return True

    async def close(self) -> None:
        """Closes all connections."""
        await self.client.close()


class OpenAiLanguageModel(HttpLanguageModel):
    """One call's."""

    def __init__(self, server: ModelServer) -> None:
        self._server = server
        self._conversation = uuid.uuid4().hex
        """Names the call to servers that keep prompts by a name; it tells nothing of who calls."""

    async def start(self) -> None:
        try:
            await self._server.ready()
        except LlmError as error:
            raise component_failed(error) from None

    async def warm(self, messages: Sequence[Message], *, tools: Sequence[ToolSpec] = ()) -> None:
        """Lets the server read the prompt, where it keeps what it read and nobody pays for it."""
        try:
            vendor = await self._server.ready()
            if not vendor.caches_prefix:
                return
            request = self._request(vendor, messages, Sampling(max_tokens=1), tools if vendor.tools_lead else ())
            request["messages"] = ends_in_a_question(request["messages"])
            async with aclosing(self._server.client.answer(request, Outcome())) as answer:
                async for _ in answer:
                    pass
        except LlmError as error:
            raise component_failed(error) from None

    def _answer(
        self, messages: Sequence[Message], sampling: Sampling, tools: Sequence[ToolSpec]
    ) -> AsyncGenerator[str | ToolWanted, None]:
        def ask(some: Sequence[Message]) -> AsyncGenerator[str | ToolWanted, None]:
            return self._spoken(some, sampling, tools)

        return until_it_fits(ask, messages, may_repeat=self._server.learned)

    async def _spoken(
        self, messages: Sequence[Message], sampling: Sampling, tools: Sequence[ToolSpec]
    ) -> AsyncGenerator[str | ToolWanted, None]:
        vendor = await self._server.ready()
        outcome = Outcome()
        thinking = ThinkingFilter(inside=starts_in_thought(self._server.model))
        begun = False
        request = self._request(vendor, messages, sampling, tools)
        async with aclosing(self._server.client.answer(request, outcome)) as answer:
            async for text in answer:
                if outcome.thoughts_apart:
                    thinking.leave()
                piece = thinking.feed(text)
                piece = piece if begun else piece.lstrip()
                if piece:
                    begun = True
                    yield piece
                elif outcome.tool_calls:
                    yield ""  # the arguments of a tool are on their way: whoever waits sees that it works
        rest = thinking.rest(complete=outcome.finish_reason != "length")
        if rest := rest if begun else rest.lstrip():
            yield rest
        for wanted in outcome.tool_calls if tools else ():
            yield ToolWanted(wanted["name"], wanted["arguments"])

    def _request(
        self, vendor: Vendor, messages: Sequence[Message], sampling: Sampling, tools: Sequence[ToolSpec]
    ) -> dict[str, Any]:
        chat: list[Mapping[str, Any]] = [_line(message) for message in messages]
        request = chat_request(
            vendor,
            self._server.model,
            chat,
            max_tokens=sampling.max_tokens or _MAX_TOKENS,
            stop=sampling.stop or (),
            sampling=sampling.model_dump(exclude_none=True, exclude=_PLAIN_OVERRIDES),
            thinking=self._server.options.thinking,
            tools=[tool.as_function() for tool in tools],
            conversation=self._conversation,
        )
        return {name: value for name, value in request.items() if name not in self._server.not_taken}


def _line(message: Message) -> dict[str, Any]:
    use = message.tool
    if use is None:
        return {"role": message.role, "content": message.content}
    if message.role == "tool":
        return {"role": "tool", "tool_call_id": use.call_id, "content": message.content}
    function = {"name": use.name, "arguments": use.arguments}
    return {"role": "assistant", "tool_calls": [{"id": use.call_id, "type": "function", "function": function}]}


def openai_language_model(scope: CallScope, options: Options) -> OpenAiLanguageModel:
    """Raises `ConfigError` where the variable that `key` names is not set."""
    what = "openai language model"
    chosen = read_options(OpenAiOptions, options, what)
    key = chosen.key_in(scope, what)
    return OpenAiLanguageModel(scope.services.clients.get(("llm", chosen, key), lambda: ModelServer(chosen, key)))
