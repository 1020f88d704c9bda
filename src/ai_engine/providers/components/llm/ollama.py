"""A language model behind Ollama's own API, which takes what its OpenAI-compatible one does not.

`num_ctx`: a prompt longer than the window loses its beginning without a word. `keep_alive`: a model that was unloaded
after five quiet minutes lets the next caller wait for its loading.
Where it is written: docs.ollama.com/api/chat and /api/streaming (lines of JSON, the last with `done`).
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field

from ai_engine.providers.components.component import ToolWanted
from ai_engine.providers.components.llm.pieces import HttpLanguageModel, component_failed
from ai_engine.providers.components.options import Options, read_options
from ai_engine.providers.components.server_options import ServerOptions, http_url
from ai_engine.providers.services import CallScope
from ai_engine.tools.tool import ToolSpec
from openai_wire.client import OpenAiClient
from openai_wire.errors import LlmError, LlmUnavailable
from openai_wire.thinking import ThinkingFilter
from openai_wire.vendors import starts_in_thought
from voice_core.history import Message
from voice_wire.messages import Sampling

_MAX_TOKENS: Final = 160
"""Of an answer whose sampling names no number: a spoken minute is about 200."""
_MOST_LINE_BYTES: Final = 1024 * 1024
_SAMPLING: Final = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "repetition_penalty": "repeat_penalty",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "seed": "seed",
}
"""Its names for overrides."""


class OllamaOptions(ServerOptions):
    """Where the server is and how it is asked."""

    base_url: Annotated[str, AfterValidator(http_url)] = "http://127.0.0.1:11434"
    """Without a path."""
    model: str
    num_ctx: int | None = Field(default=None, ge=512, le=1_048_576)
    """Tokens of the window; None: the server's. Another number than other clients use makes it load the model anew."""
    keep_alive: str | int = Field(default=-1, union_mode="left_to_right")
    """How long the model stays loaded after an answer, as in "30m"; -1: for ever."""
    thinking: bool | None = None
    """True or False where the model can be told; None: as it does by itself. Its thoughts are never spoken."""


class OllamaLanguageModel(HttpLanguageModel):
    """One call's. The first warm-up lets the server load the model."""

    def __init__(self, client: OpenAiClient, options: OllamaOptions) -> None:
        self._client = client
        self._options = options

    async def warm(self, messages: Sequence[Message], *, tools: Sequence[ToolSpec] = ()) -> None:
        """Lets the server load the model and read the prompt."""
        async with aclosing(self._answer(messages, Sampling(max_tokens=1), tools)) as answer:
            async for _ in answer:
                pass

    async def _answer(
        self, messages: Sequence[Message], sampling: Sampling, tools: Sequence[ToolSpec]
    ) -> AsyncGenerator[str | ToolWanted, None]:
        try:
            async with aclosing(self._spoken(self._request(messages, sampling, tools))) as pieces:
                async for piece in pieces:
                    if tools or not isinstance(piece, ToolWanted):
                        yield piece
        except LlmError as error:
            raise component_failed(error) from None

    async def _spoken(self, request: dict[str, Any]) -> AsyncGenerator[str | ToolWanted, None]:
        reader = ChatReader()
        thinking = ThinkingFilter(inside=starts_in_thought(self._options.model))
        begun = False
        async with aclosing(self._client.batches(request, LineDecoder())) as batches:
            async for lines in batches:
                for line in lines:
                    text = reader.read(line)
                    if reader.thoughts_apart:
                        thinking.leave()
                    piece = thinking.feed(text)
                    piece = piece if begun else piece.lstrip()
                    if piece:
                        begun = True
                        yield piece
                if reader.done_reason:
                    break
        if not reader.done_reason:
            raise LlmUnavailable(f"{self._options.base_url} hung up in the middle of its answer; see its log")
        rest = thinking.rest(complete=reader.done_reason != "length")
        if rest := rest if begun else rest.lstrip():
            yield rest
        for wanted in reader.wanted:
            yield wanted

    def _request(self, messages: Sequence[Message], sampling: Sampling, tools: Sequence[ToolSpec]) -> dict[str, Any]:
        given = sampling.model_dump(exclude_none=True)
        options: dict[str, Any] = {_SAMPLING[name]: value for name, value in given.items() if name in _SAMPLING}
        options["num_predict"] = sampling.max_tokens or _MAX_TOKENS
        if sampling.stop:
            options["stop"] = list(sampling.stop)
        if self._options.num_ctx is not None:
            options["num_ctx"] = self._options.num_ctx
        return {
            "model": self._options.model,
            "messages": [_line(message) for message in messages],
            "stream": True,
            "keep_alive": self._options.keep_alive,
            "options": options,
            **({"tools": [spec.as_function() for spec in tools]} if tools else {}),
            **({} if self._options.thinking is None else {"think": self._options.thinking}),
        }


def _line(message: Message) -> dict[str, Any]:
    use = message.tool
    if use is None:
        return {"role": message.role, "content": message.content}
    if message.role == "tool":
        return {"role": "tool", "tool_name": use.name, "content": message.content}
    try:
        given = json.loads(use.arguments)
    except (ValueError, RecursionError):
        given = None
    function = {"name": use.name, "arguments": given if isinstance(given, dict) else {}}
    return {"role": "assistant", "content": "", "tool_calls": [{"function": function}]}


class LineDecoder:
    """Lines of a stream. Pure."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        """The lines that `data` completes. Raises `LlmUnavailable` for one that never ends."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _MOST_LINE_BYTES:
            raise LlmUnavailable(f"the server sent a line of more than {_MOST_LINE_BYTES} bytes")
        return [line.decode("utf-8", "replace") for line in lines if line.strip()]

    def end(self) -> list[str]:
        """The stream has ended: a line that lacked only its end."""
        return self.feed(b"\n")


class ChatReader:
    """One answer: its text, and what it said beside. Pure."""

    def __init__(self) -> None:
        self.done_reason = ""
        """Set with the last line: stop, length, load …"""
        self.thoughts_apart = False
        self.wanted: list[ToolWanted] = []

    def read(self, line: str) -> str:
        """The text of one line. Raises `LlmUnavailable` for an error that the server reports, and for what is none."""
        try:
            chunk = json.loads(line)
            if "error" in chunk:
                said = " ".join(str(chunk["error"]).split())[:300]
                raise LlmUnavailable(f"the server failed while it answered: {said}")
            return self._read(chunk)
        except (ValueError, RecursionError, AttributeError, TypeError, KeyError):
            raise LlmUnavailable(f"the server sent what is no piece of an answer: {line[:80]!r}") from None

    def _read(self, chunk: dict[str, Any]) -> str:
        message = chunk.get("message") or {}
        if message.get("thinking"):
            self.thoughts_apart = True
        for call in message.get("tool_calls") or ():
            function = call["function"]
            self.wanted.append(ToolWanted(str(function["name"]), json.dumps(function.get("arguments") or {})))
        if chunk.get("done"):
            self.done_reason = str(chunk.get("done_reason") or "stop")
        return str(message.get("content") or "")


def ollama_language_model(scope: CallScope, options: Options) -> OllamaLanguageModel:
    """Raises `ConfigError` where the variable that `key` names is not set."""
    what = "ollama language model"
    chosen = read_options(OllamaOptions, options, what)
    key = chosen.key_in(scope, what)

    def connect() -> OpenAiClient:
        return OpenAiClient(
            chosen.base_url, key, silence_s=chosen.timeout_s, names=chosen.names(), path="/api/chat"
        )  # fmt: skip

    return OllamaLanguageModel(scope.services.clients.get(("ollama", chosen, key), connect), chosen)
