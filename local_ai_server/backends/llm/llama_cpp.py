"""llama.cpp by its xllamacpp binding: its own server as a library, with slots, continuous batching and prompt cache.

The library also opens an HTTP port that anybody on the machine could talk to. It is given a unix socket in a directory
of its own (mode 0700) and a random key instead, and is used only by this process, to count tokens.
"""

from __future__ import annotations

import http.client
import json
import os
import queue
import secrets
import shutil
import socket
import tempfile
import threading
from collections.abc import Generator, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
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
from local_ai_server.backends.llm.errors import LlmError, LlmRefused
from local_ai_server.backends.llm.gguf_options import Options, plan
from local_ai_server.backends.llm.llama_slots import Slots
from local_ai_server.prompt_forms import TRANSCRIPT_STOPS, TRANSCRIPT_TEMPLATE, PromptForm, plain
from local_ai_server.prompts import Message
from model_worker.model import Answer, Cancelled
from openai_wire.stream import Outcome

BACKEND: Final[Backend] = Backend(
    kind="llm",
    name="llama_cpp",
    model="local_ai_server.backends.llm.llama_cpp:LlamaCppModel",
    options=Options,
    plan=lambda options, machine: plan(BACKEND, options, machine),
    modules=("xllamacpp",),
    extra="llama",
    default_model="SmolLM2-135M-Instruct-Q8_0",
    canary=CANARY,
)
_BAD_REQUEST: Final = 400
_SOCKET_PREFIX: Final = "parley-llm-"
_CPU_BATCH_TOKENS: Final = 64
"""Of prompts, read at once. While a batch is read the other sessions stand still and no cancel is seen: 0.12 s for 64
tokens on two cores, and 1 s for the library's 512; the whole prompt takes as long either way."""


class LlamaError(LlmError):
    """llama.cpp failed; its own words."""


class LlamaCppModel:
    """A GGUF model. `parallel` sessions run at once, each on a slot of its own with `context_tokens` to itself."""

    def load(
        self,
        *,
        model_path: str,
        context_tokens: int,
        parallel: int = 4,
        threads: int = 1,
        batch_threads: int = 1,
        gpu_layers: int = 0,
        prompt_form: PromptForm = "chat",
    ) -> None:
        """`threads` decode, `batch_threads` read prompts. `gpu_layers`: -1 puts all of the model on the GPU."""
        import xllamacpp  # noqa: PLC0415 - this process's native stack

        _remove_stale_sockets()
        self._directory = Path(tempfile.mkdtemp(prefix=f"{_SOCKET_PREFIX}{os.getpid()}-"))
        self._socket_path = str(self._directory / "llama.sock")
        self._key = secrets.token_urlsafe(32)
        params = xllamacpp.CommonParams()
        params.model.path = model_path
        params.n_parallel = parallel
        params.n_ctx = context_tokens * parallel
        if not gpu_layers:
            params.n_batch = params.n_ubatch = _CPU_BATCH_TOKENS
        params.n_gpu_layers = gpu_layers
        params.cpuparams.n_threads = threads
        params.cpuparams_batch.n_threads = batch_threads
        params.hostnames = [self._socket_path]
        params.api_keys = [self._key]
        params.ui = False
        params.endpoint_slots = False
        params.fit_params = False  # the context is what the settings say, not what a guess about memory leaves
        params.swa_full = True  # a sliding-window cache cannot be rewound to a common prefix
        params.cache_ram_mib = 0  # slots belong to sessions; a second cache of 8 GiB in main memory is not asked for
        params.cache_idle_slots = False
        params.verbosity = 0
        self._prompt_form = prompt_form
        self._stops: tuple[str, ...] = ()
        if prompt_form == "transcript":
            params.chat_template = TRANSCRIPT_TEMPLATE
            self._stops = TRANSCRIPT_STOPS
        self._server: Any = xllamacpp.Server(params)
        self._context_tokens = context_tokens
        self._slots = Slots(parallel=parallel, context_tokens=context_tokens)
        self._count_text = lru_cache(maxsize=4096)(self._tokenize)
        self._measure_template()

    def unload(self) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)

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
        """Chunks {"text"}; at the end {"finish_reason", "prompt_tokens", "cached_tokens", "completion_tokens", ...}."""
        wishes = Wishes.of(sampling)
        with self._slots.session(session) as mine:
            fit = mine.fitter.fit(plain(messages, self._prompt_form), max_tokens=wishes.max_tokens, count=self._count)
            request: dict[str, Any] = {
                "messages": fit.messages,
                # A schema says itself where the answer ends, and JSON may have lines.
                "stop": [*(() if response_format else self._stops), *wishes.stop],
                "max_tokens": fit.max_tokens,
                "stream": True,
                "stream_options": {"include_usage": True},
                "cache_prompt": True,
                # One chunk for each batch of the prompt that was read: there a cancel is seen.
                "return_progress": True,
                "id_slot": mine.slot,
                # A reasoning model would use up the answer's tokens with its thoughts, which nobody hears.
                "chat_template_kwargs": {"enable_thinking": False},
                **wishes.renamed(LLAMA_SAMPLING),
            }
            if response_format is not None:
                request["response_format"] = _llama_format(response_format)
            if tools:
                request["tools"] = tools
            outcome = Outcome()
            spoken = SpokenText(wishes)
            for text in self._stream(request, cancelled, outcome):
                if piece := spoken.feed(text):
                    yield {"text": piece}, b""
            if piece := spoken.rest():
                yield {"text": piece}, b""
            return answer_of(outcome, fit)

    def warm(self, body: bytes, cancelled: Cancelled, *, messages: list[Message], session: str = "") -> Answer:
        """Reads the prompt into the session's slot and generates nothing (llama.cpp: one token, thrown away)."""
        ready = to_be_answered(messages)
        return without_text(self.generate(body, cancelled, messages=ready, session=session, sampling={"max_tokens": 1}))

    def forget(self, body: bytes, cancelled: Cancelled, *, session: str) -> Answer:
        """The session has ended; its slot is the next to be given away."""
        self._slots.forget(session)
        return {}, b""

    def _stream(self, request: dict[str, Any], cancelled: Cancelled, outcome: Outcome) -> Iterator[str]:
        """Pieces of text as llama.cpp makes them. Its call blocks, so it has a thread of its own until it ends."""
        chunks: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        unwanted = threading.Event()

        def take(chunk: str) -> bool:
            chunks.put(chunk)
            return unwanted.is_set() or cancelled.is_set()

        def run() -> None:
            try:
                self._server.handle_chat_completions(json.dumps(request), take)
            except ValueError as error:  # a schema that it cannot follow
                chunks.put(json.dumps({"error": {"code": _BAD_REQUEST, "message": str(error)}}))
            except RuntimeError as error:
                chunks.put(json.dumps({"error": {"message": str(error)}}))
            finally:
                chunks.put(None)

        thread = threading.Thread(target=run, name="generate", daemon=True)
        thread.start()
        try:
            while (chunk := chunks.get()) is not None:
                if cancelled.is_set():
                    break
                if text := _read_chunk(json.loads(chunk), outcome):
                    yield text
        finally:
            unwanted.set()
            # The slot is free only when llama.cpp has seen it: at the next token, or after the prompt it is reading.
            thread.join()

    def _measure_template(self) -> None:
        """What the chat template adds around each message and around them all, by rendering empty ones."""
        system: Message = {"role": "system", "content": ""}
        user: Message = {"role": "user", "content": ""}
        assistant: Message = {"role": "assistant", "content": ""}
        one_turn = self._rendered([system, user])
        self._tokens_a_message = (self._rendered([system, user, assistant, user]) - one_turn + 1) // 2
        self._tokens_around = one_turn - 2 * self._tokens_a_message
        # Some templates put in a system prompt of their own where there is none.
        self._tokens_without_system = self._rendered([user]) - self._tokens_a_message - self._tokens_around

    def _count(self, messages: Sequence[Message]) -> int:
        """Tokens of the rendered prompt; texts that were seen before are not counted again."""
        around = self._tokens_around
        if not messages or messages[0]["role"] != "system":
            around += self._tokens_without_system
        return around + sum(self._count_text(message["content"]) + self._tokens_a_message for message in messages)

    def _rendered(self, messages: list[Message]) -> int:
        return self._tokenize(self._ask("/apply-template", {"messages": messages})["prompt"])

    def _tokenize(self, text: str) -> int:
        return len(self._ask("/tokenize", {"content": text, "parse_special": True})["tokens"])

    def _ask(self, path: str, question: dict[str, Any]) -> dict[str, Any]:
        connection = _UnixConnection(self._socket_path)
        try:
            headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
            connection.request("POST", path, json.dumps(question), headers)
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        if "error" in answer:
            raise LlamaError(answer["error"].get("message", str(answer["error"])))
        return answer


def _read_chunk(chunk: dict[str, Any], outcome: Outcome) -> str:
    """The text in one chunk of the stream; the end's figures go to `outcome`. Raises `LlmRefused`, `LlamaError`."""
    if "error" in chunk:
        kind = LlmRefused if chunk["error"].get("code") == _BAD_REQUEST else LlamaError
        raise kind(chunk["error"].get("message", "llama.cpp gave no reason"))
    if chunk.get("usage"):
        outcome.usage = chunk["usage"]
    text = ""
    for choice in chunk.get("choices", ()):
        outcome.finish_reason = choice.get("finish_reason") or outcome.finish_reason
        delta = choice.get("delta", {})
        text += delta.get("content") or ""
        outcome.take_tool_calls(delta.get("tool_calls") or [])
    return text


def _llama_format(response_format: dict[str, Any]) -> dict[str, Any]:
    if response_format["type"] != "json_schema":
        return {"type": response_format["type"]}
    return {"type": "json_schema", "json_schema": {"schema": response_format.get("json_schema") or {}}}


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _remove_stale_sockets() -> None:
    """Directories of workers that were killed before they could tidy up."""
    for directory in Path(tempfile.gettempdir()).glob(f"{_SOCKET_PREFIX}*-*"):
        pid = directory.name.removeprefix(_SOCKET_PREFIX).partition("-")[0]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            shutil.rmtree(directory, ignore_errors=True)
