"""A language model behind Anthropic's Messages API.

Its thoughts are never part of the answer. Samplings other than the length and the stops are not sent: present models
take none. Nothing is primed ahead of a question: who pays by the token would pay for it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from ai_engine.providers.components.component import ToolWanted
from ai_engine.providers.components.llm.anthropic_messages import (
    VERSION,
    MessageDecoder,
    MessageReader,
    messages_request,
)
from ai_engine.providers.components.llm.fitting import until_it_fits
from ai_engine.providers.components.llm.pieces import HttpLanguageModel
from ai_engine.providers.components.options import Options, read_options
from ai_engine.providers.components.server_options import ServerOptions, http_url
from ai_engine.providers.services import CallScope
from ai_engine.tools.tool import ToolSpec
from openai_wire.client import OpenAiClient
from openai_wire.errors import LlmPromptTooLong, LlmRefused, LlmUnavailable
from voice_core.history import Message
from voice_wire.messages import Sampling

_MAX_TOKENS: Final = 160
"""Of an answer whose sampling names no number: a spoken minute is about 200."""
_THOUGHT_TOKENS: Final = 2048
"""More, where it may think: thoughts count as well, and an answer that is too long is broken off anyway."""


class AnthropicOptions(ServerOptions):
    """Which model, and how it is asked."""

    base_url: Annotated[str, AfterValidator(http_url)] = "https://api.anthropic.com/v1"
    key: str | None = Field(default="ANTHROPIC_API_KEY", pattern=r"^[A-Z][A-Z0-9_]*$")
    model: str
    thinking: bool | None = None
    """True: it thinks first and the caller waits; False: it does not; None: as the model does by itself."""


class AnthropicLanguageModel(HttpLanguageModel):
    """One call's."""

    def __init__(self, client: OpenAiClient, options: AnthropicOptions) -> None:
        self._client = client
        self._options = options

    async def warm(self, messages: Sequence[Message], *, tools: Sequence[ToolSpec] = ()) -> None:
        """Not done: it would be paid for."""

    def _answer(
        self, messages: Sequence[Message], sampling: Sampling, tools: Sequence[ToolSpec]
    ) -> AsyncGenerator[str | ToolWanted, None]:
        return until_it_fits(lambda some: self._spoken(some, sampling, tools), messages)

    async def _spoken(
        self, messages: Sequence[Message], sampling: Sampling, tools: Sequence[ToolSpec]
    ) -> AsyncGenerator[str | ToolWanted, None]:
        options = self._options
        request = messages_request(
            options.model,
            messages,
            max_tokens=(sampling.max_tokens or _MAX_TOKENS) + (0 if options.thinking is False else _THOUGHT_TOKENS),
            stop=sampling.stop or (),
            tools=tools,
            thinking=options.thinking,
        )
        reader = MessageReader()
        begun = False
        async with aclosing(self._client.batches(request, MessageDecoder())) as batches:
            async for events in batches:
                for event in events:
                    piece = reader.read(event)
                    piece = piece if begun else piece.lstrip()
                    if piece:
                        begun = True
                        yield piece
                if reader.complete:
                    break
        if not reader.complete:
            raise LlmUnavailable(f"{options.base_url} hung up in the middle of its answer")
        self._complain(reader.stop_reason, begun=begun)
        for wanted in reader.wanted if tools else ():
            yield wanted

    def _complain(self, stop_reason: str, *, begun: bool) -> None:
        """An end before anything was said, that another model or a shorter prompt may spare the caller."""
        if begun:
            return
        if stop_reason == "model_context_window_exceeded":
            raise LlmPromptTooLong(f"the prompt fills the window of {self._options.model}")
        if stop_reason == "refusal":
            raise LlmRefused(f"{self._options.model} declined to answer")


def anthropic_language_model(scope: CallScope, options: Options) -> AnthropicLanguageModel:
    """Raises `ConfigError` where the variable that `key` names is not set."""
    what = "anthropic language model"
    chosen = read_options(AnthropicOptions, options, what)
    key = chosen.key_in(scope, what)

    def connect() -> OpenAiClient:
        return OpenAiClient(
            chosen.base_url,
            key,
            silence_s=chosen.timeout_s,
            names=chosen.names(),
            path="/messages",
            headers={"anthropic-version": VERSION, **({"x-api-key": key} if key else {})},
        )

    return AnthropicLanguageModel(scope.services.clients.get(("anthropic", chosen, key), connect), chosen)
