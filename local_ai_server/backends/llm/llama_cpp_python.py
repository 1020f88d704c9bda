"""llama.cpp by its llama-cpp-python binding, used where that is installed and xllamacpp is not (CUDA builds).

It has one context and no slots: sessions take turns, and each change of session reads its prompt anew.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from typing import Any, Final

from local_ai_server.backends.backend import Backend
from local_ai_server.backends.llm.chat_request import (
    CANARY,
    LLAMA_SAMPLING,
    SpokenText,
    Wishes,
    answer_of,
    to_be_answered,
    without_text,
)
from local_ai_server.backends.llm.gguf_options import Options, plan
from local_ai_server.prompt_forms import TRANSCRIPT_STOPS, TRANSCRIPT_TEMPLATE, PromptForm, plain
from local_ai_server.prompts import Message, PromptFitter
from model_worker.model import Answer, Cancelled
from openai_wire.stream import Outcome

BACKEND: Final[Backend] = Backend(
    kind="llm",
    name="llama_cpp",
    model="local_ai_server.backends.llm.llama_cpp_python:LlamaCppPythonModel",
    options=Options,
    plan=lambda options, machine: plan(BACKEND, options, machine),
    modules=("llama_cpp",),
    extra="llama",
    default_model="SmolLM2-135M-Instruct-Q8_0",
    canary=CANARY,
)

_TEMPLATE_TOKENS: Final = 8
"""Allowed for around each message: the binding renders the template itself and does not say."""


class LlamaCppPythonModel:
    """A GGUF model for one session at a time."""

    def load(
        self,
        *,
        model_path: str,
        context_tokens: int,
        parallel: int = 1,
        threads: int = 1,
        batch_threads: int = 1,
        gpu_layers: int = 0,
        prompt_form: PromptForm = "chat",
    ) -> None:
        """As `LlamaCppModel.load`; `parallel` is taken and has no effect."""
        from llama_cpp import Llama  # noqa: PLC0415 - this process's native stack

        self._llama: Any = Llama(
            model_path,
            n_ctx=context_tokens,
            n_threads=threads,
            n_threads_batch=batch_threads,
            n_gpu_layers=gpu_layers,
            verbose=False,
        )
        self._prompt_form = prompt_form
        self._stops: tuple[str, ...] = ()
        if prompt_form == "transcript":
            from llama_cpp.llama_chat_format import Jinja2ChatFormatter  # noqa: PLC0415

            formatter = Jinja2ChatFormatter(template=TRANSCRIPT_TEMPLATE, eos_token="", bos_token="")
            self._llama.chat_handler = formatter.to_chat_handler()
            self._stops = TRANSCRIPT_STOPS
        self._context_tokens = context_tokens
        self._fitters: dict[str, PromptFitter] = {}
        self._one_at_a_time = threading.Lock()

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
        """As `LlamaCppModel.generate`; the binding does not tell how much of the prompt was cached."""
        wishes = Wishes.of(sampling)
        outcome = Outcome()
        spoken = SpokenText(wishes)
        with self._one_at_a_time:
            fitter = self._fitters.setdefault(session, PromptFitter(context_tokens=self._context_tokens))
            fit = fitter.fit(plain(messages, self._prompt_form), max_tokens=wishes.max_tokens, count=self._count)
            chunks = self._llama.create_chat_completion(
                messages=list(fit.messages),
                max_tokens=fit.max_tokens,
                stream=True,
                response_format=response_format and _llama_format(response_format),
                tools=tools,
                stop=[*(() if response_format else self._stops), *wishes.stop],
                **wishes.renamed(LLAMA_SAMPLING),
            )
            n_tokens = 0
            for chunk in chunks:
                if cancelled.is_set():
                    break
                choice = chunk["choices"][0]
                outcome.finish_reason = choice.get("finish_reason") or outcome.finish_reason
                delta = choice["delta"]
                outcome.take_tool_calls(delta.get("tool_calls") or [])
                n_tokens += bool(delta.get("content"))
                if piece := spoken.feed(delta.get("content") or ""):
                    yield {"text": piece}, b""
        if piece := spoken.rest():
            yield {"text": piece}, b""
        outcome.usage = {"completion_tokens": n_tokens}
        return answer_of(outcome, fit)

    def warm(self, body: bytes, cancelled: Cancelled, *, messages: list[Message], session: str = "") -> Answer:
        """Reads the prompt; the next request of any session that begins the same finds it."""
        ready = to_be_answered(messages)
        return without_text(self.generate(body, cancelled, messages=ready, session=session, sampling={"max_tokens": 1}))

    def forget(self, body: bytes, cancelled: Cancelled, *, session: str) -> Answer:
        self._fitters.pop(session, None)
        return {}, b""

    def _count(self, messages: Sequence[Message]) -> int:
        return sum(len(self._llama.tokenize(m["content"].encode(), add_bos=False)) + _TEMPLATE_TOKENS for m in messages)


def _llama_format(response_format: dict[str, Any]) -> dict[str, Any]:
    schema = response_format.get("json_schema")
    return {"type": "json_object", **({"schema": schema} if schema else {})}
