"""A language model of the catalogue in this process, by xllamacpp. It opens a port on loopback while it lives."""

from __future__ import annotations

import json
from typing import Any, Self

from local_ai_server.catalog import find_model
from local_ai_server.prompt_forms import TRANSCRIPT_STOPS, TRANSCRIPT_TEMPLATE, PromptForm

_CONTEXT_TOKENS = 2048
_MAX_TOKENS = 40


class SmallLlm:
    """Use as a context manager. Raises `local_ai_server.catalog.ModelMissing`, whose message says what to run."""

    def __init__(self, model: str, prompt_form: PromptForm | str, *, threads: int = 2) -> None:
        import xllamacpp  # noqa: PLC0415 - native code, only when asked for

        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(find_model(model))
        parameters.n_ctx = _CONTEXT_TOKENS
        parameters.n_parallel = 1
        parameters.cpuparams.n_threads = threads
        self._stops: list[str] = []
        if prompt_form == "transcript":
            parameters.chat_template = TRANSCRIPT_TEMPLATE
            self._stops = list(TRANSCRIPT_STOPS)
        self._server: Any = xllamacpp.Server(parameters)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server = None  # ends the server and closes its port

    def reply(self, messages: list[dict[str, str]], **sampling: float) -> str:
        """The whole reply to `messages`, at most 40 tokens."""
        pieces: list[str] = []

        def take(event: dict[str, Any] | str) -> bool:
            event = json.loads(event) if isinstance(event, str) else event
            if "choices" not in event:
                raise RuntimeError(f"the language model failed: {event}")
            pieces.append(event["choices"][0].get("delta", {}).get("content") or "")
            return False

        request = {"messages": messages, "stream": True, "max_tokens": _MAX_TOKENS, "cache_prompt": True, **sampling}
        if self._stops:
            request["stop"] = self._stops
        self._server.handle_chat_completions(request, take)
        return "".join(pieces).strip()
