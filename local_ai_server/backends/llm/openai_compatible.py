"""Any server of OpenAI's chat completions that runs already: llama-server, vLLM, TensorRT-LLM, Ollama, a cloud.

Its model class lives in a worker like the others: a slow, broken or malicious server stalls and crashes nothing here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator

from local_ai_server.backends.backend import Backend, BackendUnusable, Machine, Plan
from local_ai_server.backends.llm.chat_request import CANARY
from local_ai_server.backends.options import ApiKey, BackendOptions, variable


def _http_url(url: str) -> str:
    parts = urlsplit(url.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("write it as http://host:port/v1")
    if parts.username or parts.password:
        raise ValueError("leave the key out of the address and set LOCAL_LLM_API_KEY")
    return url.strip().rstrip("/")


class Options(BackendOptions):
    """Where the server is and how it is asked."""

    model_path: Path | None = variable("LOCAL_LLM_MODEL_PATH")
    """Of `llama_cpp`; passed over here, so that one may go from one to the other by LOCAL_LLM_BACKEND alone."""
    base_url: Annotated[str, AfterValidator(_http_url)] | None = variable("LOCAL_LLM_API_BASE_URL")
    """With its version, as in http://127.0.0.1:8000/v1."""
    api_key: ApiKey | None = variable("LOCAL_LLM_API_KEY")
    model: str | None = variable("LOCAL_LLM_API_MODEL")
    """As the server names it; the first that it lists where this is not set."""
    parallel: int = variable("LOCAL_LLM_API_PARALLEL", default=16, ge=1, le=256)
    """Requests at once; more wait here, where they keep their order."""
    context_tokens: int | None = variable("LOCAL_LLM_API_CONTEXT", ge=256)
    """Of one session; what the server states, else 4096, where it is not set."""
    first_token_s: float = variable("LOCAL_LLM_API_TIMEOUT", default=20.0, gt=0)
    """Longest silence before the first token, and between two."""
    start_wait_s: float = variable("LOCAL_LLM_API_START_WAIT", default=10.0, ge=0)
    """How long a server that does not answer yet is waited for; within SERVICE_TIMEOUT."""
    thinking: bool = variable("LOCAL_LLM_API_THINKING", default=False)
    """Let a reasoning model think before it answers. Its thoughts are never spoken, but the caller waits for them."""


def _plan(options: Options, machine: Machine) -> Plan:
    if options.base_url is None:
        raise BackendUnusable(
            "openai_compatible needs a server: set LOCAL_LLM_API_BASE_URL, as in http://127.0.0.1:8000/v1"
        )
    load = {
        "base_url": options.base_url,
        "api_key": options.api_key.get_secret_value() if options.api_key else None,
        "model": options.model,
        "context_tokens": options.context_tokens,
        "first_token_s": options.first_token_s,
        "start_wait_s": options.start_wait_s,
        "thinking": options.thinking,
    }
    traits: dict[str, object] = {
        "base_url": options.base_url,
        "model": options.model,
        "parallel": options.parallel,
        "object_schemas_only": True,  # the strictest of them refuses a schema whose root is anything else
    }
    if options.context_tokens is not None:
        traits["context_tokens"] = options.context_tokens
    return Plan(load=load, concurrency=options.parallel, traits=traits, memory_bytes=100 * 1024 * 1024)


BACKEND: Final = Backend(
    kind="llm",
    name="openai_compatible",
    model="local_ai_server.backends.llm.openai_model:OpenAiModel",
    options=Options,
    plan=_plan,
    modules=("httpx",),
    extra="server",
    canary=CANARY,
)
