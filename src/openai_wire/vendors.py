"""How servers that speak OpenAI's chat completions differ, as data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

STANDARD_SAMPLING: Final = frozenset({"temperature", "top_p", "presence_penalty", "frequency_penalty", "seed"})
"""Known to all of them by these names."""


@dataclass(frozen=True, slots=True)
class Vendor:
    """One server's ways."""

    name: str
    sampling: Mapping[str, str] = field(default_factory=dict)
    """Its names for sampling overrides beyond the standard; what is in neither is left out."""
    no_thinking: Mapping[str, Any] = field(default_factory=dict)
    """Request fields that keep a reasoning model from thinking aloud before it answers."""
    max_tokens: str = "max_tokens"
    cache_key: str | None = None
    """Its field for the name of a conversation, whose prompts it keeps in a place of their own."""
    caches_prefix: bool = True
    """A warm-up is worth its cost: the server keeps prompts and nobody pays by the token."""
    tools_lead: bool = True
    """Tools stand at the beginning of the prompt, where a warm-up reads them."""


_TEMPLATE_NO_THINKING: Final = {"chat_template_kwargs": {"enable_thinking": False}}
LLAMA_SERVER: Final = Vendor(
    "llama-server",
    sampling={"top_k": "top_k", "min_p": "min_p", "repetition_penalty": "repeat_penalty"},
    no_thinking=_TEMPLATE_NO_THINKING,
)
VLLM: Final = Vendor(
    "vllm",
    sampling={"top_k": "top_k", "min_p": "min_p", "repetition_penalty": "repetition_penalty"},
    no_thinking=_TEMPLATE_NO_THINKING,
)
TENSORRT_LLM: Final = Vendor(
    "tensorrt-llm",
    sampling={"top_k": "top_k", "min_p": "min_p", "repetition_penalty": "repetition_penalty"},
    no_thinking=_TEMPLATE_NO_THINKING,
)
PARLEY: Final = Vendor(
    "parley",
    sampling={"top_k": "top_k", "min_p": "min_p", "repetition_penalty": "repetition_penalty"},
    cache_key="prompt_cache_key",
    tools_lead=False,
)
"""local_ai_server itself, by its `/v1`. It keeps models from thinking."""
OLLAMA: Final = Vendor("ollama", no_thinking={"reasoning_effort": "none"})
OPENAI: Final = Vendor("openai", max_tokens="max_completion_tokens", caches_prefix=False)
UNKNOWN: Final = Vendor("unknown", caches_prefix=False)

REASONING_EFFORTS: Final = frozenset({"none", "minimal", "low", "medium", "high", "xhigh"})
_LEAST_EFFORT: Final = (
    (re.compile(r"gpt-5\.\d+(-mini|-nano)?(-\d|$)"), "none"),
    (re.compile(r"gpt-5(-mini|-nano)?(-\d|$)"), "minimal"),
    (re.compile(r"o\d(-mini)?(-\d|$)"), "low"),
)
"""Of OpenAI's own models, by their names: without it they think for seconds. Others take no such field."""

_OWNERS: Final = {
    "llamacpp": LLAMA_SERVER,
    "vllm": VLLM,
    "tensorrt_llm": TENSORRT_LLM,
    "parley": PARLEY,
    "library": OLLAMA,
    "openai": OPENAI,
    "openai-internal": OPENAI,
    "system": OPENAI,
}
_STARTS_IN_THOUGHT: Final = re.compile(r"deepseek-?r1|qwq|qwen3[^/]*thinking", re.IGNORECASE)


def without_thinking(vendor: Vendor, model: str) -> Mapping[str, Any]:
    """Request fields that keep `model` from thinking before it answers, or let it think as little as it can."""
    if vendor is OPENAI:
        return next(({"reasoning_effort": least} for name, least in _LEAST_EFFORT if name.match(model)), {})
    return vendor.no_thinking


def vendor_of(listing: Mapping[str, Any], headers: Mapping[str, str]) -> Vendor:
    """Whose /v1/models this is: by `owned_by` of its first model, else by the Server header."""
    entries = listing.get("data")
    first = entries[0] if isinstance(entries, list) and entries else {}
    owner = str(first.get("owned_by", "")).lower() if isinstance(first, Mapping) else ""
    if owner in _OWNERS:
        return _OWNERS[owner]
    return LLAMA_SERVER if "llama.cpp" in headers.get("server", "").lower() else UNKNOWN


def context_of(entry: Mapping[str, Any]) -> int | None:
    """Tokens of one session's window, where a model's entry tells it (vLLM, llama-server, some proxies)."""
    meta = entry.get("meta")
    meta = meta if isinstance(meta, Mapping) else {}
    for value in (entry.get("max_model_len"), meta.get("n_ctx"), entry.get("context_length")):
        if isinstance(value, int) and value > 0:
            return value
    return None


def starts_in_thought(model: str) -> bool:
    """Its template opens the thought itself, so that only the end of it is seen in the answer."""
    return _STARTS_IN_THOUGHT.search(model) is not None
